"""Runs that ask for tokens, without a supervisor around them: each holds its supervisor lock and has a desk of its own.

Locks are of open files, not of processes, so several runs may live in one test. A killed run is one whose locks are let go and
whose session's lock is free, with all that it wrote left on disk, as the kernel would leave it.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec

from drivers.store_samples import new_run
from orchestrator.core.states import ItemRef
from orchestrator.jobsfile.model import CommandAction, Job
from orchestrator.shared.tokens.answers import Answer, Asking, Granted, Joins, Told, Wanted
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.shared.tokens.record import TokenFiles, TokenRecord, encode_record
from orchestrator.store.outcomes import DoneHere
from orchestrator.store.records import Record, Started, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import RunStore
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.faultpoints import arm
from orchestrator.workers.log import LOG_NAME, LogWriter, begin_log
from orchestrator.workers.processes.identity import boot_id, start_ticks
from orchestrator.workers.protocol import LIVENESS_LOCK_NAME, AttemptClass, Begun, Capture, Ended, Outcome, Spawned

TOKEN = "ship"
ITEM: ItemRef = (0, 0)


def job(**keys: Any) -> Job:
    return Job(id="port", action=CommandAction(argv=()), **keys)


def outcome(attempt_class: AttemptClass = AttemptClass.OK, said: str = "done") -> Outcome:
    stdout = Capture(size=len(said), inline=said.encode())
    return Outcome(attempt_class=attempt_class, started_at=1.0, finished_at=2.0, duration_seconds=1.0, stdout=stdout)


FAILED = outcome(AttemptClass.COMMAND_FAILED)
HOUR = 3600.0


def granted(answer: Answer) -> Granted:
    assert isinstance(answer, Granted), answer
    return answer


def kinds(told: list[Told]) -> list[type]:
    return [type(each) for each in told]


class Worker:
    """A worker's folder, as a living worker keeps it: its liveness lock (held until `die`) and its log."""

    def __init__(self, home: Path, run_id: str, number: int = 0) -> None:
        self.folder = RunDir(home / "runs" / run_id).worker_folder(number)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log = LogWriter(str(self.folder / "log"))
        self._lock = try_lock(self.folder / LIVENESS_LOCK_NAME)
        assert self._lock is not None

    def begins(self, mark: str, sequence: int = 0) -> None:
        self._log.append(Begun(sequence=sequence, boot_id=boot_id(), mark=mark))

    def spawned(self, pid: int, ticks: int, sequence: int = 0) -> None:
        # As of a spawn that lasted into its next tick.
        self._log.append(Spawned(sequence=sequence, pid=pid, start_ticks=ticks - 1, ticks_more=1))

    def ends(self, what: Outcome, sequence: int = 0) -> None:
        self._log.append(Ended(sequence=sequence, outcome=what))

    def die(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._log.close()
            self._lock = None


class Run:
    """One run of the home with the items port:0, port:1, … of one job. `is_itself`: this process is its supervisor."""

    def __init__(
        self, home: Path, run_id: str, *, is_fresh: bool = False, ancestors: tuple[str, ...] = (), is_itself: bool = False
    ) -> None:
        self.home = home
        self.run_id = run_id
        self.job = job()
        self.done: dict[str, DoneHere] = {}
        self.kept: list[ItemRef] = []
        """Items that another run's outcome was kept for."""
        self.can_keep = True
        self._ahead = 0.0
        self.workers: list[Worker] = []
        self.run_dir = RunDir(home / "runs" / run_id)
        if not self.run_dir.path.exists():
            new_run(home, run_id)
        self._supervisor_lock = try_lock(self.run_dir.supervisor_lock)
        assert self._supervisor_lock is not None
        self.desk = TokenDesk(home, run_id, is_fresh=is_fresh, ancestors=ancestors, done_here=self.done.get, keep=self._keep)
        # Several runs of a test live in its own process; a session is told by a process, so each has one that stands for it.
        self._session: subprocess.Popen[bytes] | None = None
        if not is_itself:
            self._session = subprocess.Popen(["sleep", "600"])
            pid = self._session.pid
            own = self.desk._holdings.session
            self.desk._holdings.session = msgspec.structs.replace(own, pid=pid, start_ticks=start_ticks(pid) or -1)

    def ask(self, number: int = 0, *, payload: str = "p", token: str = TOKEN, **keys: Any) -> Answer:
        return self.desk.ask_for_token(self.asking(number, payload=payload, token=token, **keys))

    def asking(
        self, number: int = 0, *, payload: str = "p", token: str = TOKEN, answer_schema: str | None = None, **keys: Any
    ) -> Asking:
        return self.desk.make_asking(
            (0, number), f"port:{number}", job(**keys), Wanted(token=token, payload=payload, schema=answer_schema)
        )

    def mark(self, number: int = 0, attempt: int = 1) -> str:
        return f"{self.run_id}.n/port:{number}/{attempt}"

    def takes(self, number: int = 0, **keys: Any) -> Granted:
        """Ask, be granted the token, begin."""
        answer = granted(self.ask(number, **keys))
        self.begins(number)
        return answer

    def begins(self, number: int = 0, *, attempt: int = 1, worker: int = 0, sequence: int = 0) -> None:
        """The attempt is about to be sent to a worker, whose log stands from before it was started."""
        folder = self.run_dir.worker_folder(worker)
        folder.mkdir(parents=True, exist_ok=True)
        begin_log(str(folder / LOG_NAME))
        self.desk.begin_attempt((0, number), attempt=attempt, worker=worker, sequence=sequence, mark=self.mark(number, attempt))

    def joins(self, number: int = 0, **keys: Any) -> Joins:
        joins = self.ask(number, **keys)
        assert isinstance(joins, Joins), joins
        return joins

    def worker(self, number: int = 0) -> Worker:
        """A worker of this run; it dies with `close`."""
        self.workers.append(Worker(self.home, self.run_id, number))
        return self.workers[-1]

    def ends(self, number: int = 0, what: Outcome | None = None, status: Status | None = None, by: str | None = None) -> None:
        """The item ended, and what came of it is published (unless it waits for another attempt)."""
        what = what or outcome()
        if status is None:
            status = Status.SUCCEEDED if what.attempt_class is AttemptClass.OK else Status.FAILED
        self.desk.settle_item((0, number), status, what, by)
        if status is not Status.WAITING:
            self.desk.finish_publishing()

    def adopts(self, number: int = 0, payload: str = "p", token: str = TOKEN) -> None:
        start = Started(job="port", index=number, attempt=1, sequence=0, worker=0, at=1.0, payload=payload, token=token)
        self.desk.adopt_attempt((0, number), f"port:{number}", start)

    def hears(self, seconds: float = 2.0) -> list[Told]:
        """What its items are told by one more look, that many seconds later on the desk's clock: 1 or more is a real look."""
        self._ahead += seconds
        return self.desk.poll(time.monotonic() + self._ahead)

    def hears_in_time(self, limit: float = 60.0) -> list[Told]:
        """What its items are told first by looks in real time, with the loop's part done."""
        deadline = time.monotonic() + limit
        while not (told := self.desk.poll(time.monotonic())):
            assert time.monotonic() < deadline, f"nothing was told within {limit:g} s"
            ready, _, _ = select.select(self.desk.filenos(), [], [], 0.02)
            for fileno in ready:
                self.desk.take_in(fileno)
        return told

    def dies(self) -> None:
        """SIGKILL of its supervisor; its workers live on."""
        if self._supervisor_lock is not None:
            if self._session is not None:
                self._session.kill()
                self._session.wait(60)
            self.desk.close()
            os.close(self._supervisor_lock)
            self._supervisor_lock = None

    def close(self) -> None:
        for worker in self.workers:
            worker.die()
        self.dies()

    def records(self, *facts: Record) -> None:
        """What its supervisor has written into the journal."""
        store = RunStore.open(self.run_dir)
        store.append(facts)
        store.close()

    def record(self, token: str = TOKEN) -> TokenRecord | None:
        return TokenFiles(self.home).find_record(token)

    def rewrite(self, **changes: Any) -> None:
        """The record as if it had come to that."""
        known = self.record()
        assert known is not None
        TokenFiles(self.home).record_path(TOKEN).write_bytes(encode_record(msgspec.structs.replace(known, **changes)))

    def _keep(self, item: ItemRef, what: Outcome) -> Outcome | None:
        self.kept.append(item)
        return what if self.can_keep else None


class DeskRuns:
    """Runs of one home, which end with the test."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._made: list[Run] = []

    def __call__(self, run_id: str, **keys: Any) -> Run:
        """A run with this id; a second one with the same is its resume. `keys`: of `Run`."""
        self._made.append(Run(self._home, run_id, **keys))
        return self._made[-1]

    def killed_while_it_runs(self, **keys: Any) -> Run:
        """The run `a`, whose worker has begun port:0; the supervisor is dead, the worker lives. `keys`: of what it asked."""
        run = self("a")
        worker = run.worker()
        run.takes(**keys)
        worker.begins(run.mark())
        run.dies()
        return run

    def close(self) -> None:
        arm(None)
        for run in self._made:
            run.close()
