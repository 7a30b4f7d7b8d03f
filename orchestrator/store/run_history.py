"""The fold: what a run's records, from its checkpoint and then its journal, come to.

Invariant: a checkpoint of this history, and all records that came before it, fold to the same. Nothing is decided here: a record
is a fact, also if a rule of today would not have made it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from typing import assert_never

import msgspec

from orchestrator.errors import ExitCode
from orchestrator.store.gate_records import GateAnswered, GateAsked
from orchestrator.store.job_history import JobHistory, tells_more
from orchestrator.store.lines import EndLine, JournalHeader, Line, SettledLine
from orchestrator.store.list_records import ListGrew
from orchestrator.store.places import JOURNAL, Sources
from orchestrator.store.records import (
    AttemptEnded,
    CancelTold,
    Commit,
    Fact,
    ItemsChosen,
    ItemSettled,
    ItemsListed,
    JobClosed,
    ListingFailed,
    ListOutdated,
    QueuedBegan,
    QueuedReturned,
    Record,
    Reopened,
    RetryAsked,
    RunEnded,
    RunHeader,
    Started,
    Status,
    SupervisorStarted,
    WorkerStarted,
)
from orchestrator.store.settings_records import BudgetSet, Selection, SlotsSet
from orchestrator.store.spending_records import JobSpent


class RunHistory:
    """What a run's records say, up to the last record applied.

    `jobs` has every job of the run in file order, and behind them the jobs that an update removed.
    """

    def __init__(self, header: RunHeader, generation: int, sources: Sources) -> None:
        self.header = header
        self.generation = generation
        self.supervisor: SupervisorStarted | None = None
        self.workers: dict[int, WorkerStarted] = {}
        self.ended: RunEnded | None = None
        self.jobs = {job_id: JobHistory(job_id, sources) for job_id in header.jobs}
        self.open_starts: dict[tuple[str, int], Started] = {}
        self.queued: dict[tuple[str, int], Started] = {}
        """Starts that were queued, until it is recorded that they began or ended, or were given back."""
        self.cancelling: dict[tuple[str, int], CancelTold] = {}
        """Items that were cancelled while they ran, until their ends are recorded."""
        self.next_sequence = 0
        self.next_worker = 0
        self.slots_set: int | None = None
        self.budgets_set: dict[tuple[str, str], BudgetSet] = {}
        """By job id ("": the run) and kind."""
        self.selection = header.options.selection
        self.done_tokens: dict[str, tuple[str, int]] = {}
        """Token -> (job id, index) of the item of this run that did its work, and succeeded."""
        self.sources = sources

    def apply(self, record: Record | Line, source: int, offset: int, length: int) -> None:
        """Fold in one record, whose line stands at `offset` of `source`."""
        match record:  # the most frequent first: a hundred thousand items are two hundred thousand of these
            case EndLine() | AttemptEnded():
                if self.cancelling:
                    self.cancelling.pop((record.job, record.index), None)
                self.open_starts.pop((record.job, record.index), None)
                if self.queued:
                    self.queued.pop((record.job, record.index), None)
                self._job(record.job).attempt_ended(record, source, offset, length)
                if record.token is not None and record.deduped_from is None:
                    self._note_token(record)
            case Started():
                if record.sequence >= self.next_sequence:
                    self.next_sequence = record.sequence + 1
                if record.is_queued:
                    self.queued[record.job, record.index] = record
                else:
                    is_open = (record.job, record.index) in self.open_starts
                    self.open_starts[record.job, record.index] = record
                    self._job(record.job).started(record, is_new=source == JOURNAL, is_open=is_open)
            case SettledLine() | ItemSettled():
                self.cancelling.pop((record.job, record.index), None)
                start = self.open_starts.pop((record.job, record.index), None)
                self.queued.pop((record.job, record.index), None)
                self._job(record.job).settled(record, start, source, offset, length)
            case _:
                self._apply_fact(record)

    @property
    def starts_without_end(self) -> dict[tuple[str, int], Started]:
        """By item every start that may have begun and whose end is not recorded."""
        return self.open_starts | self.queued

    def apply_all(self, lines: Sequence[Line], source: int, offsets: Sequence[int], lengths: Sequence[int]) -> None:
        """As `apply` for each of these lines, in order. Of items that succeeded, one after the other, many are folded at once."""
        at = 0
        while at < len(lines):
            plain = _plain_ends(lines, at)
            end = at + (len(plain) or 1)
            job = self._job(plain[0].job) if plain and not (self.queued or self.cancelling) else None
            # Of its items nothing is known yet, by a start either: their ends take nothing back.
            if job is not None and plain[0].index >= job.known:
                job.have_succeeded(plain[0].index, [each.attempt for each in plain], source, offsets[at:end], lengths[at:end])
            else:
                for number in range(at, end):
                    self.apply(lines[number], source, offsets[number], lengths[number])
            at = end

    def holds_token(self, job_id: str, index: int) -> bool:
        """Whether the item is at work under a token, or keeps one until its next attempt. Who waits for another's does not."""
        if (start := self.open_starts.get((job_id, index))) is not None:
            return start.token is not None
        job = self.jobs[job_id]
        last = job.record(index) if job.status(index) is Status.WAITING else None
        return isinstance(last, AttemptEnded) and last.token is not None

    def _apply_fact(self, record: Fact | Commit | JournalHeader) -> None:
        match record:
            case RunHeader():
                self._updated(record)
            case SupervisorStarted():
                self.supervisor = record
                self.ended = None
                for job in self.jobs.values():
                    job.closed = None
                serving = {start.worker for start in self.starts_without_end.values()}
                # A worker that serves no open start is of no use to a new supervisor: its attempts have ended.
                self.workers = {number: worker for number, worker in self.workers.items() if number in serving}
            case WorkerStarted():
                self.workers[record.worker] = record
                self.next_worker = max(self.next_worker, record.worker + 1)
            case GateAsked() | GateAnswered() | Reopened() | RetryAsked():
                self._apply_choice(record)
            case SlotsSet() | BudgetSet() | Selection():
                self._apply_setting(record)
            case ItemsListed() | ListGrew() | ListOutdated() | ItemsChosen() | ListingFailed() | JobSpent() | JobClosed():
                self._job(record.job).apply(record)
            case CancelTold() | QueuedBegan() | QueuedReturned():
                self._apply_motion(record)
            case RunEnded():
                self.ended = record
            case Commit() | JournalHeader():
                raise AssertionError(f"{record!r} is the journal's own")
            case _:
                assert_never(record)

    def _apply_motion(self, record: CancelTold | QueuedBegan | QueuedReturned) -> None:
        """What is told of a start that has no end yet."""
        match record:
            case CancelTold(job=""):
                # If nobody says more, it has ended so: what was told holds also if the supervisor is killed then.
                self.ended = RunEnded(status="cancelled", at=record.at, exit_code=ExitCode.CANCELLED)
            case CancelTold():
                self.cancelling[record.job, record.index] = record
            case QueuedBegan():
                if (start := self.queued.pop((record.job, record.index), None)) is not None:
                    self.apply(msgspec.structs.replace(start, is_queued=False, at=record.at), JOURNAL, 0, 0)
            case QueuedReturned():
                self.queued.pop((record.job, record.index), None)
                # It never began, so there is nothing to end. If it was cancelled, that is recorded as its end.
                self.cancelling.pop((record.job, record.index), None)

    def _apply_setting(self, record: SlotsSet | BudgetSet | Selection) -> None:
        match record:
            case SlotsSet():
                self.slots_set = record.slots
            case BudgetSet():
                self.budgets_set[record.job, record.kind] = record
            case Selection():
                self.selection = record

    def _updated(self, header: RunHeader) -> None:
        """The run goes on with another jobs file. What is a fan-out now and was none, or the other way round, begins anew."""
        known = {**self.header.removed, **self.header.jobs}
        # A job that was removed before anything of it was recorded has no history to go on with.
        anew = {
            job_id for job_id, is_fan_out in header.jobs.items() if known.get(job_id) is not is_fan_out or job_id not in self.jobs
        }
        self.begin_anew(anew)
        past = dict(self.jobs)
        self.jobs = {job_id: past.pop(job_id) for job_id in header.jobs} | past
        for job in self.jobs.values():
            job.closed = None
        self.ended = None
        self.header = header

    def begin_anew(self, job_ids: Collection[str]) -> None:
        """Forget what is known of the items of these jobs, as if nothing of them had begun. Money that was spent stays spent."""
        for job_id in job_ids:
            past, new = self.jobs.get(job_id), JobHistory(job_id, self.sources)
            if past is not None:
                new.spending = past.spending.begin_anew()
            self.jobs[job_id] = new
        self.open_starts = {key: start for key, start in self.open_starts.items() if key[0] not in job_ids}
        self.queued = {key: start for key, start in self.queued.items() if key[0] not in job_ids}
        self.cancelling = {key: told for key, told in self.cancelling.items() if key[0] not in job_ids}
        self.done_tokens = {token: item for token, item in self.done_tokens.items() if item[0] not in job_ids}

    def _apply_choice(self, record: GateAsked | GateAnswered | Reopened | RetryAsked) -> None:
        job = self._job(record.job)
        match record:
            case GateAsked():
                job.asked(record)
            case GateAnswered():
                job.answered(record)
            case RetryAsked():
                job.retries[record.index] = record
            case Reopened(indices=indices):
                job.reopened(indices)
                # The work of these items is to be done again: their tokens must not find it done.
                again = {(record.job, index) for index in indices}
                self.done_tokens = {token: item for token, item in self.done_tokens.items() if item not in again}

    def _note_token(self, record: EndLine | AttemptEnded) -> None:
        """Within one run the same work is done once, however long ago: remember the item that did it."""
        assert record.token is not None
        if record.status is Status.SUCCEEDED:
            self.done_tokens[record.token] = (record.job, record.index)
        elif self.done_tokens.get(record.token) == (record.job, record.index):
            del self.done_tokens[record.token]

    def _job(self, job_id: str) -> JobHistory:
        job = self.jobs.get(job_id)
        if job is None:
            job = self.jobs[job_id] = JobHistory(job_id, self.sources)
        return job


def _plain_ends(lines: Sequence[Line], at: int) -> list[EndLine]:
    """The ends that stand at `at` and behind it, of items of one job in the order of its list: of successes of which there is no
    more to be known."""
    plain: list[EndLine] = []
    first = lines[at]
    if not isinstance(first, EndLine):
        return plain
    job, index = first.job, first.index
    for line in islice(lines, at, None):
        if (
            type(line) is not EndLine
            or line.index != index
            or line.job != job
            or line.status is not Status.SUCCEEDED
            or line.token is not None
            or line.spent is not None
            or line.round
            or tells_more(line.outcome)
        ):
            break
        plain.append(line)
        index += 1
    return plain
