"""How long items of each job last, so how many starts may be queued behind one: most gain where items last a few milliseconds.

Invariant: only plain items are ever queued: those that need nothing but a slot, ask for nothing when their turn has come, and
whose success nobody has to confirm; and only while the last ones on average were plainly shorter than what is queued behind one
waits for it. None is after one that did not end well, until others have ended well.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.attempts.flight import Flight
from orchestrator.core.events import MoreAsked, PaceTold
from orchestrator.engines.engine import queue_seconds
from orchestrator.jobsfile.model import CommandAction, Job, LandAction, ShellAction
from orchestrator.supervisor.run import Run
from orchestrator.workers.protocol import AttemptClass, Outcome

_MANY = 8
"""The average is that of the first ends, up to so many; from then on the last one counts as one of so many."""

_ENOUGH = 2
"""Of so many that have ended well it is known how long they last."""

_SHORT_SHARE = 0.6
"""What an item may last on average, of the time after which what is queued behind it is given back: of longer ones too many would
be."""


class Paces:
    """Of one run. `most_queued`: as many as its engine takes. `is_alone`: it needs nothing that other runs have, too."""

    def __init__(self, run: Run, flights: Iterable[Flight], most_queued: int, *, is_alone: bool) -> None:
        self._run = run
        self._flights = flights
        self._most_queued = most_queued if is_alone and run.jobs_file.run.min_free_memory is None else 0
        self._most_seconds = queue_seconds()
        # As after one that did not end well: some ten short ones in a row bring the average down.
        self._unknown = 2 * self._most_seconds
        self._average = [self._unknown] * len(run.jobs)
        """By job, in seconds."""
        self._ended = [0] * len(run.jobs)
        """By job how many have ended well; `_MANY` after one that did not."""
        self._told = [0] * len(run.jobs)
        self._may_be_queued = [self._most_queued > 0 and _is_plain(job) for job in run.jobs]

    def attempt_ended(self, flight: Flight, outcome: Outcome) -> None:
        """Note how long an attempt lasted that came to this."""
        order = flight.item[0]
        if not self._may_be_queued[order]:
            return
        if outcome.attempt_class is AttemptClass.OK:
            self._ended[order] += 1
            average = self._average[order]
            average += (outcome.duration_seconds - average) / min(self._ended[order], _MANY)
        else:
            self._ended[order], average = _MANY, self._unknown
        self._average[order] = min(average, self._unknown)
        is_short = self._ended[order] >= _ENOUGH and average <= self._most_seconds * _SHORT_SHARE
        queue_length = self._most_queued if is_short else 0
        if queue_length != self._told[order]:
            self._told[order] = queue_length
            self._run.happened(PaceTold(order, queue_length))
            # What runs alone need not wait until it has ended.
            alone = (each for each in self._flights if queue_length and each.item[0] == order and _runs_alone(each))
            self._run.happened(*(MoreAsked(each.item) for each in alone))


def _runs_alone(flight: Flight) -> bool:
    """Whether others may be queued behind it: its worker can be spoken to, and it is not likely to fail as it did before."""
    return not (flight.is_over or flight.is_adopted or flight.is_queued) and flight.start.attempt == 1


_FREE = {"id", "action", "inputs", "needs", "for_each", "label", "max_concurrency", "lane", "priority", "continue_on_error"}
_FREE |= {"max_failures", "halt", "attempts", "retry", "limits", "shell_program", "cwd", "env", "pass_env", "stdin"}
"""What a plain job may say as it likes. All else is asked or taken at a start, and its answer may change until then; or it looks
at what an attempt has done: then its worker does not know whether that was well."""

_PLAINEST = Job(id="", action=LandAction(job=""))


def _is_plain(job: Job) -> bool:
    """Whether an item of the job needs nothing but a slot, and its attempt is well if its command is."""
    if not isinstance(job.action, CommandAction | ShellAction) or job.limits.memory_bytes is not None:
        return False
    return all(getattr(job, name) == getattr(_PLAINEST, name) for name in Job.__struct_fields__ if name not in _FREE)
