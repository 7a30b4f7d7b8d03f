"""An engine of this machine, spoken to as a supervisor does, and that of the next supervisor. Its attempts are real processes."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import msgspec

from drivers.processes import LIMIT_SECONDS
from orchestrator.engines.engine import AttemptLost, AttemptOver, Engine, EngineEvent, Noted, OutcomeArrived
from orchestrator.engines.inline import InlineEngine
from orchestrator.engines.local import LocalEngine
from orchestrator.store.records import Started, WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.held import HeldLocks
from orchestrator.workers.protocol import Limits, Start

MakeEngine = type[LocalEngine] | type[InlineEngine]


class OneAttempt(msgspec.Struct, frozen=True):
    """What an engine is told of an attempt."""

    start: Started
    mark: str
    slot: int = 0
    name: str = "job:0"
    limits: Limits = Limits(grace_seconds=0.1)


class EngineDriver:
    """One slot of an engine. `told`: all that it said; `worker`: the record of the last worker that was started."""

    def __init__(self, root: Path, make: MakeEngine = LocalEngine) -> None:
        self.root = root
        self.run_dir = RunDir(root)
        self.told: list[EngineEvent] = []
        self.worker: WorkerStarted | None = None
        self._make = make
        self._next_worker = 0
        self._sequence = -1
        self.engine: Engine = make(self.run_dir, 0, lambda _start: None)

    def prepare(self) -> int:
        """Have a worker ready; its number."""
        ready = self.engine.prepare(0)
        if ready.record is not None:
            self.worker = ready.record
            self._next_worker = ready.number + 1
        return ready.number

    def begin(
        self,
        *argv: str,
        stdin: str | None = None,
        locks: HeldLocks | None = None,
        limits: Limits = Limits(grace_seconds=0.1),  # noqa: B008 (frozen)
        while_sent: AbstractContextManager[None] | None = None,
    ) -> OneAttempt:
        """Start an attempt. `while_sent`: what surrounds the sending."""
        locks = locks or HeldLocks(())
        attempt = self.attempt(worker=self.prepare(), limits=limits)
        message = self.message(attempt, *argv, stdin=stdin, kept_locks=locks.kept_count)
        with while_sent or nullcontext():
            self.engine.start(attempt, message, locks)
        return attempt

    def begin_all(self, *argvs: Sequence[str], locks: HeldLocks | None = None) -> list[OneAttempt]:
        """Start the first of these commands, with the others queued behind it."""
        worker = self.prepare()
        attempts = [self.attempt(worker=worker, is_queued=place > 0) for place in range(len(argvs))]
        messages = [self.message(attempt, *argv) for attempt, argv in zip(attempts, argvs, strict=True)]
        queued = list(zip(attempts, messages, strict=True))[1:]
        self.engine.start(attempts[0], messages[0], locks or HeldLocks(()), queued)
        return attempts

    def add(self, *argvs: Sequence[str], locks: HeldLocks | None = None) -> list[OneAttempt]:
        """Have these commands run after what the worker runs. `locks`: under which they begin if that has ended."""
        attempts = [self.attempt(worker=self._next_worker - 1, is_queued=True) for _ in argvs]
        locks = locks or HeldLocks(())
        kept = locks.kept_count
        messages = [self.message(attempt, *argv, kept_locks=kept) for attempt, argv in zip(attempts, argvs, strict=True)]
        self.engine.queue(0, list(zip(attempts, messages, strict=True)), locks)
        return attempts

    def ends_and_returns(self) -> list[tuple[str, int]]:
        """What became of each attempt at last, in order."""
        return [each for each in self.what_became() if each[0] not in ("QueuedBegan", "QueueRanLow")]

    def what_became(self) -> list[tuple[str, int]]:
        """What was told of each attempt, in order; notes apart."""
        return [(type(event).__name__, event.sequence) for event in self.told if not isinstance(event, Noted)]

    def until_told(self, what: str, sequence: int) -> None:
        """Take in what the engine says, until it has said this."""
        while (what, sequence) not in self.what_became():
            self.wait()

    def attempt(
        self,
        worker: int,
        limits: Limits = Limits(grace_seconds=0.1),  # noqa: B008 (frozen)
        *,
        is_queued: bool = False,
    ) -> OneAttempt:
        """An attempt that was recorded as started, and not handed over yet."""
        self._sequence += 1
        start = Started(job="job", index=0, attempt=1, sequence=self._sequence, worker=worker, at=0.0, is_queued=is_queued)
        return OneAttempt(start, f"test-{self.root}", limits=limits)

    def message(self, attempt: OneAttempt, *argv: str, stdin: str | None = None, kept_locks: int = 0) -> Start:
        """What the worker is told."""
        return Start(
            sequence=attempt.start.sequence,
            item=attempt.name,
            attempt=1,
            mark=attempt.mark,
            argv=list(argv),
            stdin=stdin,
            cwd=str(self.root),
            stdout_path=f"{self.root}/stdout",
            stderr_path=f"{self.root}/stderr",
            limits=attempt.limits,
            kept_locks=kept_locks,
        )

    def until_over(self) -> AttemptOver:
        """The end of the attempt that runs."""
        while not (over := self._over()):
            self.wait()
        return over[0]

    def run(
        self, *argv: str, stdin: str | None = None, while_sent: AbstractContextManager[None] | None = None
    ) -> list[EngineEvent]:
        """All that is told of one attempt, until its worker waits for the next or is gone."""
        self.told = []
        self.begin(*argv, stdin=stdin, while_sent=while_sent)
        self.until_over()
        return self.told

    def wait(self) -> None:
        """Take in what the engine has to say next."""
        look = self.engine.next_look
        timeout = LIMIT_SECONDS if look is None else max(0.0, look - time.monotonic())
        readable, _, _ = select.select(self.engine.sources(), [], [], timeout)
        assert readable or look is not None, f"nothing within {LIMIT_SECONDS} s"
        for fileno in readable[:1]:
            self.told += self.engine.take_in(fileno)
        self.told += self.engine.look_at_workers(time.monotonic())

    def is_silent(self) -> bool:
        """Whether the engine has nothing more to say."""
        return not select.select(self.engine.sources(), [], [], 0)[0]

    def notes(self) -> list[str]:
        """What a person was told."""
        return [event.words for event in self.told if isinstance(event, Noted)]

    def use(self, make: MakeEngine) -> None:
        """Have the next supervisor use this engine; this one, too, if it has not been asked for anything."""
        if self._sequence < 0:
            following = self._make
            self._make = make
            self.next_supervisor()
            make = following
        self._make = make

    def next_supervisor(self) -> None:
        """Let this engine go; the next one begins with the numbers that are free."""
        self.engine.close()
        self.told = []
        self.engine = self._make(self.run_dir, self._next_worker, lambda _start: None)

    def resume(self, attempt: OneAttempt, slot: int = 0) -> OneAttempt:
        """The next supervisor takes it over, in a slot of its own."""
        attempt = msgspec.structs.replace(attempt, slot=slot)
        self.told += self.engine.resume(attempt, self.worker)
        return attempt

    def _over(self) -> Sequence[AttemptOver]:
        return [event for event in self.told if isinstance(event, OutcomeArrived | AttemptLost)]
