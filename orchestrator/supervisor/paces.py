"""How long items of each job last, so how many starts may be queued behind one: most gain where items last a few milliseconds.

Invariant: only plain items are ever queued: those that need nothing but a slot, ask for nothing when their turn has come, and
whose success nobody has to confirm; and only while the last ones on average were plainly shorter than what is queued behind one
waits for it. None is after one that did not end well, until others have ended well.
"""

from __future__ import annotations

from orchestrator.attempts.flight import Flight
from orchestrator.core.events import PaceTold
from orchestrator.engines.engine import queue_seconds
from orchestrator.jobsfile.model import CommandAction, Job, LandAction, ShellAction
from orchestrator.supervisor.run import Run
from orchestrator.workers.protocol import AttemptClass, Outcome

_SHARE_OF_LAST = 0.125
"""What the last item counts in the average."""

_SHORT_SHARE = 0.6
"""What an item may last on average, of the time after which what is queued behind it is given back: of longer ones too many would
be."""


class Paces:
    """Of one run. `most_queued`: as many as its engine takes. `is_alone`: it needs nothing that other runs have, too."""

    def __init__(self, run: Run, most_queued: int, *, is_alone: bool) -> None:
        self._run = run
        self._most_queued = most_queued if is_alone and run.jobs_file.run.min_free_memory is None else 0
        self._most_seconds = queue_seconds()
        # Before one has ended it is taken for a long one: some ten short ones in a row bring the average down.
        self._unknown = 2 * self._most_seconds
        self._average = [self._unknown] * len(run.jobs)
        """By job, in seconds."""
        self._told = [0] * len(run.jobs)
        self._may_be_queued = [self._most_queued > 0 and _is_plain(job) for job in run.jobs]

    def attempt_ended(self, flight: Flight, outcome: Outcome) -> None:
        """Note how long an attempt lasted that came to this."""
        order = flight.item[0]
        if not self._may_be_queued[order]:
            return
        average = self._average[order]
        average += (outcome.duration_seconds - average) * _SHARE_OF_LAST
        if outcome.attempt_class is not AttemptClass.OK:
            average = self._unknown
        self._average[order] = min(average, self._unknown)
        queue_length = self._most_queued if average <= self._most_seconds * _SHORT_SHARE else 0
        if queue_length != self._told[order]:
            self._told[order] = queue_length
            self._run.happened(PaceTold(order, queue_length))


_FREE = {"id", "action", "inputs", "needs", "for_each", "label", "max_concurrency", "lane", "priority", "continue_on_error"}
_FREE |= {"max_failures", "attempts", "retry", "limits", "cwd", "env", "pass_env", "stdin"}
"""What a plain job may say as it likes. All else is asked or taken at a start, and its answer may change until then; or it looks
at what an attempt has done: then its worker does not know whether that was well."""

_PLAINEST = Job(id="", action=LandAction(job=""))


def _is_plain(job: Job) -> bool:
    """Whether an item of the job needs nothing but a slot, and its attempt is well if its command is."""
    if not isinstance(job.action, CommandAction | ShellAction) or job.limits.memory_bytes is not None:
        return False
    return all(getattr(job, name) == getattr(_PLAINEST, name) for name in Job.__struct_fields__ if name not in _FREE)
