"""The attempts that run now, or are queued to run next: a table. Where they run is the engine's business.

Promise: each flight ends exactly once, with an outcome: what the engine says that it came to, or `lost`; but one that was queued
may be given back. Invariant: at most one flight a slot is not queued. A flight that is over stays here until the core hears of
it: its answer may be judged till then. A flight whose work is a child run is ended by asking that run first: it ends its own
items in order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import assert_never

from orchestrator.attempts.flight import Flight
from orchestrator.control.messages import CancelRequest, Request, StopRequest
from orchestrator.core.states import ItemRef
from orchestrator.engines.engine import AttemptLost, AttemptOver, Engine, EngineEvent, OutcomeArrived, grace_of
from orchestrator.store.records import WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.held import HeldLocks
from orchestrator.system.side_threads import SideThreads
from orchestrator.workers.protocol import AttemptClass, EndReason, Outcome, Start

CHILD_END_SECONDS = 3.0
"""What a child run has besides the grace of its items, to record their ends."""


class Flights:
    """All flights of one run."""

    def __init__(self, engine: Engine, run_dir: RunDir) -> None:
        self._engine = engine
        self._run_dir = run_dir
        self._by_sequence: dict[int, Flight] = {}
        self._in_slot: dict[int, int] = {}
        """How many of them each slot has that are not over, with those that are queued."""
        self._asks = SideThreads()
        self._after_ask: dict[int, float | None] = {}
        """By sequence of an attempt whose child run was asked to end: the `grace_at_most` of the end that comes next."""

    def __len__(self) -> int:
        """How many run: one in each slot."""
        return len(self._in_slot)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._by_sequence.values())

    def begin(self, flight: Flight) -> None:
        """The attempt is about to be recorded as started."""
        assert flight.is_queued == (flight.slot in self._in_slot), f"slot {flight.slot} is taken, or has nothing to queue behind"
        self._by_sequence[flight.start.sequence] = flight
        self._in_slot[flight.slot] = self._in_slot.get(flight.slot, 0) + 1

    def has_slot(self, slot: int) -> bool:
        """Whether an attempt runs in this slot."""
        return slot in self._in_slot

    def send(self, flight: Flight, message: Start, locks: HeldLocks, queued: Sequence[tuple[Flight, Start]] = ()) -> None:
        """Have the attempt run, and then what is queued behind it: their starts are recorded."""
        self._engine.start(flight, message, locks, queued)

    def queue(self, slot: int, queued: Sequence[tuple[Flight, Start]], locks: HeldLocks) -> None:
        """Have these run after what runs in the slot, and is queued there: their starts are recorded."""
        self._engine.queue(slot, queued, locks)

    def recall(self) -> None:
        """Have all that is queued given back."""
        self._engine.recall()

    def find(self, sequence: int) -> Flight | None:
        """The flight of this attempt, if it is not over."""
        flight = self._by_sequence.get(sequence)
        return None if flight is None or flight.is_over else flight

    def resume(self, flight: Flight, worker: WorkerStarted | None) -> list[EngineEvent]:
        """Take over an attempt of an earlier supervisor, which `worker` ran; what the engine knows of it at once."""
        flight.is_adopted = True
        self.begin(flight)
        return self._engine.resume(flight, worker)

    def end(self, item: ItemRef, reason: str, grace_at_most: float | None) -> None:
        """Have the attempt of `item` ended, if it still runs."""
        flight = next((each for each in self._by_sequence.values() if each.item == item), None)
        if flight is None or flight.is_over:
            return  # it has ended meanwhile
        # The first reason holds: an item that was cancelled stays so, though the run is stopped a moment later.
        flight.asked_end = flight.asked_end or reason
        # A child run that is asked first ends its items in order. There is no time for that in a kill, and nobody to ask once its
        # processes are being ended.
        if flight.start.child and grace_at_most != 0 and self._engine.has_living_worker(flight.slot):
            self._end_child(flight, grace_at_most)
        else:
            self._engine.end(flight, EndReason(flight.asked_end), grace_at_most)

    def take_in(self, event: AttemptOver) -> tuple[Flight, Outcome] | None:
        """The flight that is over, with what it came to; None if it was none of these. It stays until `leave`."""
        flight = self._by_sequence.get(event.sequence)
        if flight is None or flight.is_over:
            return None
        self._mark_over(flight)
        self._after_ask.pop(event.sequence, None)
        match event:
            case OutcomeArrived(outcome=outcome):
                return flight, outcome
            case AttemptLost():
                return flight, _lost(flight, event)
            case unknown:
                assert_never(unknown)

    def leave(self, flight: Flight) -> None:
        """The core hears of the end of this flight, or that it was given back: its slot may be used again."""
        del self._by_sequence[flight.start.sequence]
        if not flight.is_over:
            self._mark_over(flight)

    def tell_children(self, request: Request) -> None:
        """Have all child runs do that, too, whose attempts run."""
        for flight in self._by_sequence.values():
            if flight.start.child:
                from orchestrator.supervisor.child_asks import tell

                # Nothing follows when it is told, so its number is none of an attempt.
                self._asks.begin_work(-1, partial(tell, self._child_folder(flight), request, flight.has_ended))

    def asks_fileno(self) -> int:
        """Descriptor for `take_in_asks`."""
        return self._asks.fileno()

    def take_in_asks(self) -> None:
        """Child runs were asked to end, and have ended or had their time for it: end what is left of their attempts."""
        for sequence in self._asks.take_done():
            flight = self.find(sequence)
            if flight is not None:
                self._engine.end(flight, EndReason(flight.asked_end or "drain"), self._after_ask[sequence])

    @property
    def next_look(self) -> float | None:
        """When `begin_waiting_asks` is due (monotonic); None: no child run waits to be asked."""
        return self._asks.next_look

    def begin_waiting_asks(self, now: float) -> str:
        """Ask child runs for which there was no thread, if there is room by now; what a person should know of that."""
        words = self._asks.take_words()
        self._asks.begin_waiting(now)
        return f"a child run is not asked yet: {words}" if words else ""

    def close(self) -> None:
        """Ask child runs for nothing more, and follow none of them. The engine is the caller's to close."""
        self._asks.close()
        for flight in self._by_sequence.values():
            flight.is_over = True

    def _mark_over(self, flight: Flight) -> None:
        flight.is_over = True
        left = self._in_slot.pop(flight.slot) - 1
        if left:
            self._in_slot[flight.slot] = left

    def _end_child(self, flight: Flight, grace_at_most: float | None) -> None:
        """Its own supervisor ends it in order; what is left of it then, or does not hear, is ended as any other attempt."""
        sequence = flight.start.sequence
        self._after_ask[sequence] = grace_at_most
        request = CancelRequest() if flight.asked_end == "cancel" else StopRequest(now=True)
        patience = CHILD_END_SECONDS + grace_of(flight, grace_at_most)
        from orchestrator.supervisor.child_asks import have_ended

        self._asks.begin_work(sequence, partial(have_ended, self._child_folder(flight), request, flight.has_ended, patience))

    def _child_folder(self, flight: Flight) -> Path:
        return self._run_dir.beside(flight.start.child).path


_CLASSES = {
    None: AttemptClass.LOST,
    EndReason.TIMEOUT: AttemptClass.TIMEOUT,
    EndReason.CANCEL: AttemptClass.CANCELLED,
    EndReason.DRAIN: AttemptClass.CANCELLED,
}
"""What an attempt without an outcome came to, by why we ended it."""


def _lost(flight: Flight, event: AttemptLost) -> Outcome:
    now = time.time()
    return Outcome(
        attempt_class=_CLASSES[event.ended_by],
        ended_by=event.ended_by,
        started_at=flight.start.at,
        finished_at=now,
        duration_seconds=max(0.0, now - flight.start.at),
        message=event.words,
        agent=event.agent,
        stdout=event.stdout,
        stderr=event.stderr,
        bug=event.bug,
    )
