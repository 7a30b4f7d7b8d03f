"""What happens to a run that another process supervises, told from its records in the words of its supervisor.

Promise: after each look all listeners know what the records say, whatever came between two looks. What an item went through
meanwhile is told as one step: of an item that failed and was tried again nobody hears but that it runs.

What is not recorded is not told: what waits for a pool or a rate, notes, how an account is spared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from orchestrator.errors import ExitCode, StateRefusedError
from orchestrator.reading.failure_tails import FailureTails
from orchestrator.reading.follower import RunFollower
from orchestrator.reading.item_result import shown_result
from orchestrator.reading.money.ledger import Ledger, ledger_of
from orchestrator.reading.open_questions import open_questions
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_summary import run_summary
from orchestrator.reading.seen_statuses import job_counts
from orchestrator.reading.told_records import asked_elsewhere, charged, item_started
from orchestrator.store.gate_records import GateAnswered, GateAsked
from orchestrator.store.lines import EndLine, SettledLine
from orchestrator.store.list_records import ListGrew
from orchestrator.store.records import OVER, ItemsListed, QueuedBegan, Reopened, RunHeader, Started, Status
from orchestrator.views import happenings
from orchestrator.views.happenings import Happening

Item = tuple[str, int]

MOST_ONE_BY_ONE = 500
"""Items that ended since the last look and are told one by one. Of more than that the failures are, and all are counted."""
_MOST_FAILURES = 100


class Retelling:
    """One run and those who `hear` of it."""

    def __init__(self, follower: RunFollower, hear: Callable[[Happening], None]) -> None:
        self._follower = follower
        self._hear = hear
        self._running: dict[Item, Started] = {}
        """The starts that were told, and their ends not yet."""
        self._failed: set[Item] = set()
        """The failures that were told."""
        self._asking: set[tuple[str, str]] = set()
        """By run and gate the questions that were told."""
        self._closed: set[str] = set()
        self._why_closed: set[str] = set()
        self._charged = Ledger()
        self._tails: tuple[RunReader, FailureTails] | None = None

    @property
    def _reader(self) -> RunReader:
        return self._follower.reader

    def begin(self, slots: int) -> None:
        """Tell how the run stands: what failed, what runs, what asks. `slots`: how many items run at once; 0: inline."""
        header, supervisor = self._reader.history.header, self._reader.history.supervisor
        self._hear(
            happenings.RunBegan(
                run_id=header.run_id,
                name=header.name,
                jobs=[*header.jobs],
                slots=slots,
                at=header.created_at if supervisor is None else supervisor.at,
                is_resumed=False,
            )
        )
        self._tell_all()

    def look(self) -> bool:
        """Tell what was recorded since the last look; whether somebody supervises the run. Raises UserError: it was pruned."""
        # The lock first: whatever a supervisor recorded before it let go is then seen.
        is_alive = self._reader.is_alive
        appended = self._follower.take_in_appended()
        if appended is None:
            self._tell_all()
            return is_alive
        jobs = self._reader.history.header.jobs
        items: dict[Item, None] = {}
        is_counted_anew = asks = False
        for line in appended:
            match line:
                case GateAnswered():
                    self._tell_answer(line)
                case GateAsked():
                    asks = True
                # Of a job that was listed, or of which items run once more, all is counted anew.
                case ItemsListed() | Reopened() | RunHeader():
                    is_counted_anew = True
                case ListGrew():
                    self._hear(happenings.JobGrew(job=line.job, count=line.count, is_growing=True))
                # That a success is stale now is no other end of it.
                case EndLine() | Started() | QueuedBegan() | SettledLine(stale=False) if line.job in jobs:
                    items[line.job, line.index] = None
        if is_counted_anew or len(items) > MOST_ONE_BY_ONE:
            self._tell_all()
        elif appended:
            for item in items:
                self._tell(item)
            self._tell_rest(asks=asks)
        return is_alive

    def finish(self) -> int:
        """The last word on a run that nobody supervises any more; its exit code."""
        reader = self._reader
        ended = reader.history.ended
        summary = run_summary(reader)
        exit_code = int(ExitCode.INTERRUPTED) if ended is None else ended.exit_code
        error = {} if ended is None else {name: getattr(ended, name) for name in ("error_label", "error_attempts", "error_class")}
        self._hear(
            happenings.RunFinished(
                run_id=summary["run_id"], status=summary["status"], exit_code=exit_code, summary=summary, at=time.time(), **error
            )
        )
        return exit_code

    def _tell_all(self) -> None:
        """Tell how all stands, whatever was told before."""
        for item in [*self._running]:
            self._tell(item)
        for item in self._untold_failures():
            self._tell_end(item)
        # Behind the ends: what is counted now counts them.
        for job_id, past in self._reader.history.jobs.items():
            if job_id in self._reader.history.header.jobs and past.count is not None:
                counts = job_counts(self._reader, job_id)
                self._hear(happenings.JobListed(job=job_id, count=self._reader.count(job_id), counts=counts))
                if past.growing is not None:
                    self._hear(happenings.JobGrew(job=job_id, count=past.growing.count, is_growing=True))
        self._closed.clear()
        for item in self._reader.history.open_starts:
            self._tell(item)
        self._tell_rest(asks=True)

    def _untold_failures(self) -> Iterator[Item]:
        for job_id in self._reader.history.header.jobs:
            for index in self._reader.history.jobs[job_id].indices(Status.FAILED):
                if len(self._failed) >= _MOST_FAILURES:
                    return
                if (job_id, index) not in self._failed:
                    yield job_id, index

    def _tell(self, item: Item) -> None:
        """Tell what the item does now, if that is not what was told."""
        start, told = self._reader.history.open_starts.get(item), self._running.pop(item, None)
        if start is not None and told is not None and start.sequence == told.sequence:
            self._running[item] = told
            return
        status = self._reader.history.jobs[item[0]].status(item[1])
        if status in OVER and start is None:
            self._tell_end(item)
        elif told is not None:
            name = self._reader.item_name(*item)
            self._hear(happenings.ItemWaiting(item=name, job=item[0], label=told.label, message="", at=time.time()))
        if start is None:
            return
        self._failed.discard(item)
        self._running[item] = start
        self._hear(item_started(self._reader.item_name(*item), start))

    def _tell_end(self, item: Item) -> None:
        result = shown_result(self._reader, *item, with_output=False)
        if result["status"] == "failed":
            self._failed.add(item)
        self._hear(
            happenings.ItemEnded(
                item=result["item"],
                job=item[0],
                label=result["label"],
                status=result["status"],
                attempts=result["attempts"],
                message=result["error"] or "",
                duration_s=result["duration_s"],
                exit_code=result["exit_code"],
                at=result["finished_at"] or time.time(),
                deduped_from=result["deduped_from"],
                attempt_class=result["class"],
                session_id=result["session_id"],
                agent=result["agent"],
                model=result["model"],
                tail=self._tail_of(item) if result["status"] == "failed" else None,
            )
        )

    def _tail_of(self, item: Item) -> list[str] | None:
        reader = self._reader
        ended = reader.history.jobs[item[0]].last_end(item[1])
        # Made once: it finds out what is secret. After an update of the run there is another reader, with another jobs file.
        if self._tails is None or self._tails[0] is not reader:
            try:
                self._tails = reader, FailureTails(reader.run_dir, reader.jobs_file)
            except StateRefusedError:
                return None  # its jobs file is lost, and with it what is a secret there
        return None if ended is None else self._tails[1].of(ended) or None

    def _tell_answer(self, answered: GateAnswered) -> None:
        past, name = self._reader.history.jobs[answered.job], self._reader.item_name(answered.job, answered.index)
        self._asking.discard((self._reader.run_dir.run_id, name))
        gate = past.gates.get(answered.index)
        self._hear(
            happenings.GateAnswered(
                item=name,
                job=answered.job,
                label=gate.question.label if gate is not None and gate.question is not None else None,
                choice=answered.choice,
                message=answered.message,
                at=answered.at,
            )
        )

    def _tell_rest(self, *, asks: bool) -> None:
        """What the run asks, if it may ask something new, which jobs are over, what was spent."""
        for asked in open_questions(self._reader) if asks else ():
            if (asked.run_id, asked.gate) in self._asking:
                continue
            self._asking.add((asked.run_id, asked.gate))
            self._hear(asked_elsewhere(asked.item, asked.item.partition(":")[0], asked.label, asked))
        for job_id in self._reader.history.header.jobs:
            past = self._reader.history.jobs[job_id]
            if past.closed is None or job_id in self._closed:
                continue
            why = "" if job_id in self._why_closed else past.listing_failed or past.skipped_because or ""
            self._closed.add(job_id)
            self._why_closed.add(job_id)
            self._hear(happenings.JobClosed(job=job_id, status=past.closed, message=why))
        ledger = ledger_of(self._reader.history)
        if ledger != self._charged:
            self._charged = ledger
            self._hear(charged(None, None, None, ledger))
