"""An engine without a process: an attempt ends when the test says so, and goes on while nobody supervises its run.

The attempts run in a `World`, which outlives the engine as workers outlive their supervisor. The real loop waits for descriptors,
so the engine has one: it is readable as long as the story has a next step, and each time the loop reads it the story makes one.
A story is a generator of the test's: it looks at what runs, ends attempts, asks the supervisor, and yields to let the loop turn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import msgspec

from orchestrator.engines.engine import (
    Attempt,
    AttemptLost,
    AttemptOver,
    EngineEvent,
    OutcomeArrived,
    QueuedBegan,
    QueuedReturned,
    QueueRanLow,
    ReadyWorker,
)
from orchestrator.store.records import WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.held import HeldLocks
from orchestrator.workers.locks import unlock
from orchestrator.workers.protocol import AttemptClass, Capture, EndReason, Outcome, Start

TURNS_AT_MOST = 20_000
"""So often may the loop turn in one story: the steps of a story are few, but it yields while the syncer writes to the disk."""


def ok(text: str = "") -> Outcome:
    """A success that wrote `text`."""
    return outcome(AttemptClass.OK, text, exit_code=0)


def failed(exit_code: int = 1) -> Outcome:
    """A command that says that it failed."""
    return outcome(AttemptClass.COMMAND_FAILED, exit_code=exit_code)


def ended_by(reason: EndReason) -> Outcome:
    """What a worker tells of an attempt that it was asked to end."""
    return outcome(AttemptClass.CANCELLED, ended_by=reason, message="ended")


def outcome(attempt_class: AttemptClass, text: str = "", **more: object) -> Outcome:
    """Any outcome; its times are made up."""
    stdout = Capture(size=len(text), inline=text.encode()) if text else Capture()
    return Outcome(
        attempt_class=attempt_class,
        started_at=1.0,
        finished_at=2.0,
        duration_seconds=1.0,
        stdout=stdout,
        **more,  # type: ignore[arg-type]
    )


class _Running(msgspec.Struct):
    """`locks`: descriptors of our own, of which the last `kept` are others' to unlock."""

    attempt: Attempt
    message: Start
    locks: list[int]
    kept: int
    queued: list[tuple[Attempt, Start]]
    may_go_on: bool = True
    low: int = 0
    """Once so few are queued, more are asked for; negative: they were."""


class World:
    """What runs, whoever supervises it. Items are named as people name them."""

    def __init__(self) -> None:
        self.started: list[str] = []
        """Every start, in order."""
        self.most_at_once = 0
        self._running: dict[int, _Running] = {}
        self._ended: dict[int, AttemptOver] = {}
        """What nobody has taken in yet, by sequence."""
        self.ends_told: list[int] = []
        """The sequence of each end that was told: an attempt is told over once."""
        self._last_told: AttemptOver | None = None
        self.returned: list[int] = []
        """Queued starts that were given back, and nobody has heard of it yet."""
        self.low: list[int] = []
        """Attempts that run with little queued behind them, and nobody has heard of it yet."""
        self.is_supervised = True

    @property
    def running(self) -> list[str]:
        """The items whose attempts run, in the order of their starts."""
        return [each.message.item for each in self._running.values()]

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs, and each end was taken in."""
        return not self._running and not self._ended and not self.returned

    def message(self, item: str) -> Start:
        """What the running attempt of `item` was told to do."""
        return self._find(item).message

    @property
    def queued(self) -> list[str]:
        """The items that are queued behind those that run, in the order of their slots' starts."""
        return [message.item for each in self._running.values() for _, message in each.queued]

    def queued_in(self, slot: int) -> list[str]:
        """The items that are queued in this slot, in order."""
        return [m.item for each in self._running.values() if each.attempt.slot == slot for _, m in each.queued]

    @property
    def first_with_queue(self) -> str:
        """The item that runs and has something queued behind it; the first of them."""
        return next(each.message.item for each in self._running.values() if each.queued)

    def begin(self, attempt: Attempt, message: Start, locks: HeldLocks, queued: Sequence[tuple[Attempt, Start]] = ()) -> None:
        """The attempt runs from now on, and holds its locks; `queued`: what follows it."""
        assert attempt.slot not in self.slots, f"slot {attempt.slot} is taken"
        with locks as descriptors:
            copies = [os.dup(fd) for fd in descriptors]
        self._run(_Running(attempt, message, copies, locks.kept_count, list(queued), low=len(queued) // 2))

    def queue(self, slot: int, queued: Sequence[tuple[Attempt, Start]]) -> None:
        """These follow what runs in the slot, unless they come too late, or nothing may follow it any more."""
        running = next((each for each in self._running.values() if each.attempt.slot == slot), None)
        if running is None or not running.may_go_on or not self.is_supervised:
            self.returned += [attempt.start.sequence for attempt, _ in queued]
        else:
            running.queued += queued
            running.low = len(running.queued) // 2

    def end(self, item: str, came_to: Outcome) -> None:
        """The attempt of `item` ends: its locks are free, or those of what begins now; its outcome waits for a supervisor."""
        ended = self._find(item)
        sequence = ended.attempt.start.sequence
        is_well = came_to.attempt_class is AttemptClass.OK
        # As the halt word: no worker begins what is queued once an attempt of the run did not end well.
        for each in self._running.values() if not is_well else ():
            each.may_go_on = False
        self._ended[sequence] = OutcomeArrived(-1, sequence, came_to)
        if ended.queued and ended.may_go_on and self.is_supervised:
            del self._running[sequence]
            attempt, message = ended.queued.pop(0)
            self._run(_Running(attempt, message, ended.locks, ended.kept, ended.queued, low=ended.low))
        else:
            self.give_back(ended)
            self._let_go(item)

    def lasts(self, item: str) -> bool:
        """The attempt of `item` lasts so long that what is queued behind it is given back; whether that was anything."""
        running = self._find(item)
        had = bool(running.queued)
        self.give_back(running)
        return had

    def give_back(self, running: _Running) -> None:
        """What is queued behind this is never begun."""
        self.returned += [attempt.start.sequence for attempt, _ in running.queued]
        running.queued.clear()
        running.may_go_on = False

    def recall(self, sequence: int | None = None) -> None:
        """All that is queued is given back, in every slot or in that in which this is queued."""
        for each in self._running.values():
            if sequence is None or any(attempt.start.sequence == sequence for attempt, _ in each.queued):
                self.give_back(each)

    def leave(self) -> None:
        """Nobody supervises the run any more."""
        self.is_supervised = False
        self.recall()

    def lose(self, item: str, words: str = "the machine is gone", ended_by: EndReason | None = None) -> None:
        """Nobody will ever know how the attempt of `item` ended; `ended_by`: but why it was ended."""
        self.give_back(self._find(item))
        sequence = self._let_go(item)
        self._ended[sequence] = AttemptLost(-1, sequence, words, ended_by=ended_by)

    def take_over(self, sequence: int) -> AttemptOver | None:
        """The end of an attempt that nobody has heard of yet, if it has ended; once."""
        over = self._ended.pop(sequence, None)
        if over is not None:
            self.ends_told.append(sequence)
            self._last_told = over
        return over

    def tell_again(self) -> None:
        """The end that was told last is not in the records: it stands in the log of its worker, for the next supervisor."""
        assert self._last_told is not None
        self._ended[self._last_told.sequence] = self._last_told
        self.ends_told.remove(self._last_told.sequence)

    def sequence_of(self, item: str) -> int:
        """By which the running attempt of `item` is known."""
        return self._find(item).attempt.start.sequence

    def has(self, sequence: int) -> bool:
        """Whether this attempt runs."""
        return sequence in self._running

    @property
    def slots(self) -> list[int]:
        """The slots in which an attempt runs."""
        return [each.attempt.slot for each in self._running.values()]

    def _run(self, running: _Running) -> None:
        self._running[running.attempt.start.sequence] = running
        self.started.append(running.message.item)
        if running.attempt.start.is_queued and len(running.queued) <= running.low:
            self.low.append(running.attempt.start.sequence)
            running.low = -1
        self.most_at_once = max(self.most_at_once, len(self._running))

    def _let_go(self, item: str) -> int:
        running = self._find(item)
        sequence = running.attempt.start.sequence
        del self._running[sequence]
        own = len(running.locks) - running.kept
        for fd in running.locks[:own]:
            unlock(fd)
        for fd in running.locks[own:]:
            os.close(fd)
        return sequence

    def _find(self, item: str) -> _Running:
        found = [each for each in self._running.values() if each.message.item == item]
        assert len(found) == 1, f"{item} does not run; what runs: {self.running}"
        return found[0]


Step = Iterator[None]
Story = Callable[["MemoryEngine"], Step]


class MemoryEngine:
    """Fills `Engine`. `asked`: who was asked to end, why, with which grace at most. `most_queued`: as of `Engine`.

    `obeys`: what is asked to end ends at once, as an agent does that heeds SIGTERM; else when the test says so.
    """

    def __init__(self, world: World, run_dir: RunDir, next_worker: int, story: Story) -> None:
        self.world = world
        self.run_dir = run_dir
        self.asked: list[tuple[str, str, float | None]] = []
        self.obeys = True
        self.is_closed = False
        self.most_queued = 0
        self.seconds = 1.0
        """What a success lasts."""
        world.is_supervised = True
        self._next_worker = next_worker
        self._workers: dict[int, int] = {}
        self._mine: dict[int, Attempt] = {}
        self._began: list[int] = []
        self._steps: Step | None = story(self)
        self._turns = 0
        self._read_fd, self._write_fd = os.pipe()
        os.write(self._write_fd, b".")

    # What a story does.

    @property
    def running(self) -> list[str]:
        """The items whose attempts run, in the order of their starts."""
        return self.world.running

    def ok(self, item: str, text: str = "") -> None:
        """The attempt of `item` succeeds."""
        self.world.end(item, msgspec.structs.replace(ok(text), duration_seconds=self.seconds))

    def fail(self, item: str, exit_code: int = 1) -> None:
        """The attempt of `item` fails."""
        self.world.end(item, failed(exit_code))

    def lose(self, item: str) -> None:
        """The attempt of `item` is lost."""
        self.world.lose(item)

    def until_running(self, *items: str) -> Step:
        """Let the loop turn until exactly these run, started in this order."""
        while self.running != list(items):
            yield

    # What the supervisor does.

    next_look: float | None = None

    def prepare(self, slot: int) -> ReadyWorker:
        """A worker of its own for each slot, told when it is new."""
        number = self._workers.get(slot)
        if number is not None:
            return ReadyWorker(number, None)
        number = self._workers[slot] = self._next_worker
        self._next_worker += 1
        return ReadyWorker(number, WorkerStarted(worker=number, data=f"slot {slot} of the world"))

    def start(self, attempt: Attempt, message: Start, locks: HeldLocks, queued: Sequence[tuple[Attempt, Start]] = ()) -> None:
        """It runs in the world, and what is queued after it."""
        assert len(queued) <= self.most_queued
        for each in (attempt, *(other for other, _ in queued)):
            self._mine[each.start.sequence] = each
        self.world.begin(attempt, message, locks, queued)

    def queue(self, slot: int, queued: Sequence[tuple[Attempt, Start]], locks: HeldLocks) -> None:  # noqa: ARG002
        """It follows in the world what runs in the slot."""
        for each, _ in queued:
            self._mine[each.start.sequence] = each
        self.world.queue(slot, queued)
        assert len(self.world.queued_in(slot)) <= self.most_queued

    def recall(self) -> None:
        """Nothing that is queued begins any more."""
        self.world.recall()

    def lasts(self, item: str) -> None:
        """The attempt of `item` lasts so long that nothing is queued behind it any more, and that it runs is told."""
        if self.world.lasts(item):
            self._began.append(self.world.sequence_of(item))

    def tells(self, item: str) -> None:
        """That the attempt of `item` runs is told, if it was queued, and others stay queued behind it."""
        sequence = self.world.sequence_of(item)
        if self._mine[sequence].start.is_queued:
            self._began.append(sequence)

    def end(self, attempt: Attempt, reason: EndReason, grace_at_most: float | None) -> None:
        """It is asked to end."""
        self.world.recall(attempt.start.sequence)
        if not self.world.has(attempt.start.sequence):
            return
        self.asked.append((attempt.name, reason.value, grace_at_most))
        if self.obeys or grace_at_most == 0:
            self.world.end(attempt.name, ended_by(reason))

    def resume(self, attempt: Attempt, worker: WorkerStarted | None) -> list[EngineEvent]:  # noqa: ARG002 - the world knows
        """It may run on in the world, or have ended there meanwhile; of what never came there nobody knows anything."""
        sequence = attempt.start.sequence
        self._mine[sequence] = attempt
        if self.world.has(sequence):
            return []
        if sequence in self.world.returned:
            self.world.returned.remove(sequence)
            del self._mine[sequence]
            return [OutcomeArrived(attempt.slot, sequence, outcome(AttemptClass.NOT_BEGUN))]
        return self.tell_ended() or [self._lost(attempt)]

    def has_living_worker(self, slot: int) -> bool:  # noqa: ARG002 - whichever
        """No worker of the world dies without its attempt."""
        return True

    def sources(self) -> Sequence[int]:
        """One, which is readable as long as the story goes on."""
        return [self._read_fd]

    def take_in(self, fileno: int) -> list[EngineEvent]:
        """Let the story make its next step, and tell what ended in it."""
        assert fileno == self._read_fd
        self._turns += 1
        assert self._turns < TURNS_AT_MOST, f"the story waits for what does not come; what runs: {self.running}"
        if self._steps is not None:
            try:
                next(self._steps)
            except StopIteration:
                self._steps = None
        told = self.tell_ended()
        # A story that is over has nothing to tell any more; what runs then would run for ever.
        if self._steps is None and not told:
            assert not self.running, f"the story is over, and these run: {self.running}"
            os.read(self._read_fd, 1)
        return told

    def look_at_workers(self, now: float) -> list[EngineEvent]:  # noqa: ARG002 - whenever
        """Nothing that the descriptor does not tell."""
        return []

    def let_idle_go(self) -> None:
        """No worker here is idle: each is as long as its attempt."""

    def close(self) -> None:
        """What runs goes on in the world."""
        assert not self.is_closed
        self.is_closed = True
        self.world.leave()
        os.close(self._read_fd)
        os.close(self._write_fd)

    def tell_ended(self) -> list[EngineEvent]:
        """What has ended and was not told yet."""
        told: list[EngineEvent] = [QueuedReturned(sequence) for sequence in self.world.returned if sequence in self._mine]
        for event in told:
            del self._mine[event.sequence]
            self.world.returned.remove(event.sequence)
        told += map(QueuedBegan, self._began)
        self._began.clear()
        for sequence, attempt in list(self._mine.items()):
            over = self.world.take_over(sequence)
            if over is not None:
                del self._mine[sequence]
                told.append(msgspec.structs.replace(over, slot=attempt.slot))
        told += [QueueRanLow(sequence) for sequence in self.world.low if self.world.has(sequence)]
        self.world.low.clear()
        return told

    def _lost(self, attempt: Attempt) -> AttemptLost:
        del self._mine[attempt.start.sequence]
        return AttemptLost(attempt.slot, attempt.start.sequence, "nobody knows of it")
