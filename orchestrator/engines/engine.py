"""What an engine is: where attempts run. The supervisor speaks only this.

Promise: each attempt that an engine was given, by `start` or by `resume`, ends with exactly one `OutcomeArrived` or
`AttemptLost`. Invariant: a slot has at most one attempt. Processes, their folders and logs, the descriptors of locks, workers
that outlived an earlier supervisor, trees of workers that died: all that is an engine's own business.

It refuses to handle: what the end of an attempt means for its item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from orchestrator.store.records import Started, WorkerStarted
from orchestrator.system.locks.held import HeldLocks
from orchestrator.workers.faultpoints import fault_value
from orchestrator.workers.protocol import EMPTY_CAPTURE, AgentReport, AgentTask, Capture, EndReason, Limits, Outcome, Start


class Attempt(Protocol):
    """What an engine may know of an attempt that was recorded as started. (`attempts.flight.Flight` has all of it.)"""

    @property
    def slot(self) -> int:
        """The slot that it holds; after a resume perhaps another than `start.slot`."""

    @property
    def name(self) -> str:
        """Its item's name, for notes."""

    @property
    def mark(self) -> str:
        """What its processes have in their environment."""

    @property
    def start(self) -> Started:
        """The record of its start: `start.sequence` tells it from any other attempt of the run."""

    @property
    def limits(self) -> Limits:
        """Among them the grace that its processes have to end, and how much of each of its streams is kept."""


def grace_of(attempt: Attempt, grace_at_most: float | None) -> float:
    """How many seconds the attempt's processes have from SIGTERM to SIGKILL, if somebody wants it to end."""
    own = attempt.limits.grace_seconds
    return own if grace_at_most is None else min(own, grace_at_most)


def earliest(*looks: float | None) -> float | None:
    """The first of these times (monotonic seconds; None: never)."""
    return min((look for look in looks if look is not None), default=None)


def queue_seconds() -> float:
    """So long may an attempt last before what is queued behind it is given back, and so late may an end be told.

    Nobody who looks on notices; and of most short items eight are told at once.
    """
    return fault_value("queue.seconds", 0.15)


class ReadyWorker(msgspec.Struct, frozen=True):
    """The worker that serves a slot. `record`: it is new, and this must stand in the journal before it gets work."""

    number: int
    record: WorkerStarted | None


class OutcomeArrived(msgspec.Struct, frozen=True):
    """The attempt in `slot` ended: its tree is gone and its locks are free."""

    slot: int
    sequence: int
    outcome: Outcome


class AttemptLost(msgspec.Struct, frozen=True):
    """Nobody knows how the attempt in `slot` ended. Its tree is confirmed gone and its locks are free.

    `words` say why; `agent`, `stdout`, `stderr`: what its agent had told and written by then. `bug`: as of an `Outcome`.
    `ended_by`: why we ended it, if we did: its worker kept no limit any more.
    """

    slot: int
    sequence: int
    words: str
    agent: AgentReport | None = None
    stdout: Capture = EMPTY_CAPTURE
    stderr: Capture = EMPTY_CAPTURE
    bug: str = ""
    ended_by: EndReason | None = None


class QueuedBegan(msgspec.Struct, frozen=True):
    """A start that was queued runs now, and for longer than others; some may still be queued behind it."""

    sequence: int


class QueueRanLow(msgspec.Struct, frozen=True):
    """This attempt runs, and half of what was queued behind it has begun: more may be queued (`Engine.queue`)."""

    sequence: int


class QueuedReturned(msgspec.Struct, frozen=True):
    """A start that was queued was given back: it was not begun, and never is."""

    sequence: int


class Noted(msgspec.Struct, frozen=True):
    """What a person should know of the engine's work."""

    words: str


AttemptOver = OutcomeArrived | AttemptLost
EngineEvent = AttemptOver | QueuedBegan | QueueRanLow | QueuedReturned | Noted

AgentTaskOf = Callable[[Started], AgentTask | None]
"""How an engine reads what the agent of a lost attempt told; None: nothing of it counts. Raises UserError: it can be kept, and
not be read."""


class Engine(Protocol):
    """Runs attempts in slots, one at a time in each. No call waits for an attempt.

    `most_queued`: how many starts may be queued behind one in its slot; 0: none, and then nothing need be known of queues.
    `next_look`: when `look_at_workers` is due (monotonic seconds); None: `sources` tell everything.
    """

    @property
    def most_queued(self) -> int: ...

    @property
    def next_look(self) -> float | None: ...

    def prepare(self, slot: int) -> ReadyWorker:
        """Make sure that a worker serves `slot`. Raises OSError: the machine has no room for one just now."""

    def start(self, attempt: Attempt, message: Start, locks: HeldLocks, queued: Sequence[tuple[Attempt, Start]] = ()) -> None:
        """Run the attempt in its slot, which was prepared. Its locks are the engine's to let go of from now on.

        `queued`: what may begin in the same slot, with the same locks, right after an attempt that ended well, each after the one
        before. What does not begin is given back (`QueuedReturned`) before the end is told that kept it from beginning.

        Raises StateUnwritableError: what it is to be told cannot be written down.
        """

    def queue(self, slot: int, queued: Sequence[tuple[Attempt, Start]], locks: HeldLocks) -> None:
        """Queue these behind what runs in the slot, and is queued there already, under the locks that it has.

        If all that has just ended, they begin as if it had lasted a little longer, under `locks`; without any they are given back
        (`QueuedReturned`, or an outcome of the class NOT_BEGUN), and so they are if nothing may be queued there any more.

        Raises StateUnwritableError, as `start`.
        """

    def recall(self) -> None:
        """Have all that is queued given back: none of it begins any more, in no slot."""

    def end(self, attempt: Attempt, reason: EndReason, grace_at_most: float | None) -> None:
        """Have the attempt ended, with its own grace or with so many seconds if that is less. Called again with less: sooner.

        Nothing happens if it has ended already. If it is queued, all that is queued in its slot is given back.
        """

    def resume(self, attempt: Attempt, worker: WorkerStarted | None) -> list[EngineEvent]:
        """Take over an attempt of an earlier supervisor, which `worker` ran: let it go on, or find out what it came to."""

    def has_living_worker(self, slot: int) -> bool:
        """Whether somebody still runs the attempt in `slot`; False while what its dead worker left is being ended."""

    def sources(self) -> Sequence[int]:
        """Descriptors that become readable when `take_in` has something to tell. The set changes with each call of a method."""

    def take_in(self, fileno: int) -> list[EngineEvent]:
        """What the descriptor, one of `sources`, has to tell."""

    def look_at_workers(self, now: float) -> list[EngineEvent]:
        """What no descriptor tells, where the system has none for it; nothing before `next_look`."""

    def let_idle_go(self) -> None:
        """Nothing is started any more: what is idle ends meanwhile, so that `close` need not wait for it."""

    def close(self) -> None:
        """Let go of all: what can go on without us goes on and leaves its outcome on disk, for `resume`."""
