"""Child runs (`workflow`): which run does an item's work, and what its end means for the item.

A child is a nested run: it borrows the slots of its item, has records of its own, and survives what its parent survives. The
process of its item's attempt is its supervisor.

Promise: an item that is tried again, or resumed, goes on with its child run: what has succeeded there never runs again. Only an
item that begins anew (it has succeeded before, a round of its loop has ended, it is given other inputs) gets a new child run.
It refuses to handle: asking a child to end (`supervisor/child_asks`).
"""

from __future__ import annotations

import msgspec

from orchestrator.attempts.flight import Flight
from orchestrator.attempts.rendering import ChildWork
from orchestrator.errors import ExitCode, UserError
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.checkpoint import read_header
from orchestrator.store.records import AttemptEnded, Status
from orchestrator.store.run_dir import LONGEST_RUN_ID, RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.store.settings_records import RunOptions
from orchestrator.store.spending import children_of
from orchestrator.store.spending_records import AgentSpent, Spent
from orchestrator.system.digests import sha256_hex
from orchestrator.views.happenings import OpenQuestion
from orchestrator.workers.protocol import AttemptClass, EndReason, Outcome

_HASH_LETTERS = 12


def child_id(parent: str, item: str, attempt: int) -> str:
    """The id of the child run that `attempt` of an item begins: always the same one. `item`: `JOB:INDEX` or `JOB`."""
    # Two items of a run never share an id: it is the parent's with the item's name behind a dot.
    name = f"{parent}.{item.replace(':', '.')}" + (f"-{attempt}" if attempt > 1 else "")
    if len(name) <= LONGEST_RUN_ID and ".." not in name:  # a run's id may end in a dot
        return name
    return f"{name[: LONGEST_RUN_ID - _HASH_LETTERS - 1].replace('..', '.')}-{sha256_hex(name.encode())[:_HASH_LETTERS]}"


class ChildRuns:
    """The child runs of one run. `options`: what its command line chose, as far as it holds for child runs.

    `is_update`: child runs that go on take their files as they are now, as their parent did.
    """

    def __init__(self, reader: RunReader, options: RunOptions, *, is_update: bool = False) -> None:
        self._reader = reader
        self._run_id = reader.run_dir.run_id
        self._run_dir = reader.run_dir
        chosen = (("--keep-going", options.keep_going), ("--fresh", options.fresh), ("--update", is_update))
        self._arguments = [word for word, is_so in chosen if is_so]

    def arguments(self, child: str, item: str) -> list[str]:
        """The words of a child's command line behind its file. `item`: `JOB:INDEX` or `JOB`."""
        header = self._reader.history.header
        kept = ["--kept", str(self._run_dir.kept_files(header.revision))] if header.kept_crc is not None else []
        return ["--run-id", child, "--parent", f"{self._run_id}/{item}", *kept, *self._arguments]

    def run_of(self, job_id: str, index: int, attempt: int, work: ChildWork) -> str:
        """The id of the child run in which `attempt` of the item does its work."""
        # The latest attempt that is known, whether its end is recorded or not.
        past = self._reader.history.jobs[job_id]
        ended, unended = past.last_end(index), past.unended.get(index)
        last = unended if unended is not None and (ended is None or unended.attempt > ended.attempt) else ended
        # Its child run goes on, unless that work is done, or the inputs are others now.
        is_done = isinstance(last, AttemptEnded) and (last.status is Status.SUCCEEDED or last.round > 0)
        if last is not None and last.child and not is_done and self._is_same(last.child, work):
            return last.child
        return child_id(self._run_id, self._reader.item_name(job_id, index), attempt)

    def read_end(self, flight: Flight, outcome: Outcome) -> Outcome:
        """The outcome, with what the end of the child run's supervisor means for the item."""
        child = self._run_dir.beside(flight.start.child)
        if outcome.attempt_class is not AttemptClass.COMMAND_FAILED or not child.exists:
            return outcome
        try:
            history = RunReader.read(child).history
        except UserError as error:
            # Its records are its own: that they are damaged is no reason to end this run.
            way_out = f"mend it, or move {child.path} away to begin it anew"
            words = f"child run {child.run_id} cannot be read ({way_out}): {error.message}"
            return _replace(outcome, AttemptClass.PROTOCOL_ERROR, words)
        return child_outcome(outcome, history, self._run_id)

    def questions_of(self, flight: Flight) -> list[OpenQuestion]:
        """The questions that the child run of an ended attempt waits for."""
        from orchestrator.reading.open_questions import open_questions

        return list(open_questions(self._reader.child(flight.start.child)))

    def is_answered_since(self, flight: Flight, outcome: Outcome) -> bool:
        """Whether a question of that child run was answered while it paused: too late for this attempt to act on it."""
        history = RunReader.read(self._run_dir.beside(flight.start.child)).history
        return any(
            gate.answer is not None and gate.answer.at >= outcome.started_at and past.status(index) is Status.WAITING
            for past in history.jobs.values()
            for index, gate in past.gates.items()
        )

    def _is_same(self, child: str, work: ChildWork) -> bool:
        """Whether that run does this work, or nobody can tell, or it was never born: then its id is free."""
        run_dir = self._run_dir.beside(child)
        if not run_dir.exists:
            return True
        try:
            header = read_header(run_dir.checkpoint)
        except UserError:
            # A new one would do, and pay for, all its work again. So the attempt fails, and says what is wrong with it.
            return True
        given = {name: value for name, value in header.inputs.items() if name in work.given}
        return header.jobs_file == work.path and given == work.given


def spent_by_child(child: RunDir) -> list[AgentSpent]:
    """What the agents of a child run, and of its own child runs, have cost so far. Raises StateRefusedError."""
    if not child.exists:
        return []
    jobs = [job.spending.whole() for job in RunReader.read(child).history.jobs.values()]
    return children_of(Spent(children={"": [spent for job in jobs for spent in (*job.agents, *children_of(job))]}))


def child_outcome(outcome: Outcome, child: RunHistory, parent: str) -> Outcome:
    """The outcome of an attempt that was to supervise the run `child`, and ended with an exit code other than 0."""
    # The exit codes of `orchestrate child`. A child that is paused or stopped waits, as a gate does, for the parent's resume.
    run_id = child.header.run_id
    go_on = f"then orchestrate resume {parent}"
    match outcome.exit_code:
        case None:
            return _replace(outcome, AttemptClass.LOST, f"the supervisor of child run {run_id} was killed: {outcome.message}")
        case ExitCode.PAUSED:
            return _replace(outcome, AttemptClass.PAUSED, f"child run {run_id} is paused: orchestrate status {run_id}, {go_on}")
        case ExitCode.HANGUP | ExitCode.INTERRUPTED | ExitCode.TERMINATED:
            return _replace(outcome, AttemptClass.PAUSED, f"child run {run_id} was stopped: orchestrate resume {parent}")
        case ExitCode.CANCELLED:
            cancelled = msgspec.structs.replace(outcome, ended_by=EndReason.CANCEL)
            return _replace(cancelled, AttemptClass.CANCELLED, f"child run {run_id} was cancelled")
        case ExitCode.REJECTED:
            return _replace(outcome, AttemptClass.REJECTED, f"child run {run_id} was rejected{_error_of(child)}")
        case ExitCode.FAILED:
            return msgspec.structs.replace(outcome, message=f"child run {run_id} failed{_error_of(child)}")
        case code:
            return msgspec.structs.replace(outcome, message=f"child run {run_id}: exit code {code}")


def _replace(outcome: Outcome, attempt_class: AttemptClass, message: str) -> Outcome:
    return msgspec.structs.replace(outcome, attempt_class=attempt_class, message=message)


def _error_of(child: RunHistory) -> str:
    ended = child.ended
    if ended is None or ended.error_message is None:
        return ""
    return f": {ended.error_item}: {ended.error_message}" if ended.error_item else f": {ended.error_message}"
