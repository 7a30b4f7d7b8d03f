"""The attempts that run now, whoever runs them: our workers, or workers of an earlier supervisor.

Promise: each flight ends exactly once, with an outcome: what its worker said, or what stands in its worker's log, or `lost` once
the tree of its dead worker is confirmed ended. Invariant: at most one flight a slot.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import msgspec

from orchestrator.attempts.flight import Flight
from orchestrator.control.messages import CancelRequest, Request, StopRequest
from orchestrator.core.states import ItemRef
from orchestrator.engines.adopted import AdoptedWorkers, logged_outcome
from orchestrator.engines.engine import Engine, EngineEvent, OutcomeArrived, WorkerDied
from orchestrator.store.records import WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.supervisor.child_asks import have_ended, tell
from orchestrator.system.side_threads import SideThreads
from orchestrator.workers.log import LOG_NAME, read_log
from orchestrator.workers.processes.tree import end_tree_of_dead_worker
from orchestrator.workers.protocol import AgentReport, AttemptClass, Begun, End, Ended, EndReason, LogLine, Outcome

if TYPE_CHECKING:
    from orchestrator.workers.agents.left_behind import LeftBehind

CHILD_END_SECONDS = 3.0
"""What a child run has besides the grace of its items, to record their ends."""


LeftBy = Callable[[Flight, Sequence[LogLine]], "Callable[[], LeftBehind]"]


class Flights:
    """All flights of one run. `on_ended` hears of each end, `note` of what a person should know.

    `left_by` makes of a flight and its worker's log what reads, beside the loop, what its agent told and left.
    """

    def __init__(
        self,
        engine: Engine,
        run_dir: RunDir,
        on_ended: Callable[[Flight, Outcome], None],
        note: Callable[[str], None],
        left_by: LeftBy,
    ) -> None:
        self._engine = engine
        self._run_dir = run_dir
        self._on_ended = on_ended
        self._note = note
        self._left_by = left_by
        self._left: dict[int, LeftBehind] = {}
        """By sequence: what an attempt left whose tree was ended. Written by the thread that ended it, before it tells that."""
        self._by_slot: dict[int, Flight] = {}
        self._adopted = AdoptedWorkers()
        self._endings = SideThreads()
        self._trees: dict[int, Callable[[float], object]] = {}
        """By slot: ends, with that much grace, the tree that a dead worker left behind."""
        self._asks = SideThreads()
        self._after_ask: dict[int, float | None] = {}
        """By sequence of an attempt whose child run was asked to end: the `grace_at_most` of the end that comes next."""

    def __len__(self) -> int:
        return len(self._by_slot)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._by_slot.values())

    def begin(self, flight: Flight) -> None:
        """The attempt is recorded as started and about to be sent."""
        assert flight.slot not in self._by_slot, f"slot {flight.slot} is taken"
        self._by_slot[flight.slot] = flight

    def resume(self, flight: Flight, worker: WorkerStarted | None) -> None:
        """Take over an attempt of an earlier supervisor: take its outcome, adopt its worker, or end what is left of it."""
        flight.is_adopted = True
        self.begin(flight)
        folder = self._run_dir.worker_folder(flight.start.worker)
        outcome = logged_outcome(folder, flight.start.sequence)
        if outcome is not None and outcome.attempt_class is AttemptClass.STATE_ERROR:
            # What stopped the earlier supervisor (a full disk) is no verdict on the item: it runs again.
            self._finish(flight, _lost(flight, outcome.message, outcome.agent))
            return
        if worker is not None and outcome is None and self._adopted.adopt(flight.slot, flight.start.sequence, worker, folder):
            self._note(f"adopted {flight.name}, which worker {worker.worker} (pid {worker.pid}) still runs")
            return
        self._worker_died(flight, f"worker {flight.start.worker} is gone")

    def end(self, item: ItemRef, reason: str, grace_at_most: float | None) -> None:
        """Have the attempt of `item` ended, if it still runs."""
        flight = next((each for each in self._by_slot.values() if each.item == item), None)
        if flight is None:
            return  # it has ended meanwhile
        flight.asked_end = flight.asked_end or reason
        if flight.start.child and grace_at_most != 0 and flight.slot not in self._trees:
            self._end_child(flight, grace_at_most)
        else:
            self._end_now(flight, grace_at_most)

    def tell_children(self, request: Request) -> None:
        """Have all child runs do that, too, whose attempts run."""
        for flight in self._by_slot.values():
            if flight.start.child:
                # Nothing follows when it is told, so its number is none of an attempt.
                self._asks.begin(-1, partial(tell, self._child_folder(flight), request, flight.has_ended))

    def _end_child(self, flight: Flight, grace_at_most: float | None) -> None:
        """Its own supervisor ends it in order; what is left of it then, or does not hear, is ended as any other attempt."""
        sequence = flight.start.sequence
        self._after_ask[sequence] = grace_at_most
        request = CancelRequest() if flight.asked_end == "cancel" else StopRequest(now=True)
        own = flight.job.limits.grace_seconds
        patience = CHILD_END_SECONDS + (own if grace_at_most is None else min(own, grace_at_most))
        self._asks.begin(sequence, partial(have_ended, self._child_folder(flight), request, flight.has_ended, patience))

    def _child_folder(self, flight: Flight) -> Path:
        return self._run_dir.beside(flight.start.child).path

    def _end_now(self, flight: Flight, grace_at_most: float | None) -> None:
        if flight.slot in self._adopted:
            self._adopted.end(flight.slot, is_hurried=grace_at_most is not None)
            return
        own = flight.job.limits.grace_seconds
        grace = own if grace_at_most is None else min(own, grace_at_most)
        if (end_tree := self._trees.get(flight.slot)) is not None:
            # Its worker is dead and the tree is being ended: a second, less patient ending is all that can be added. The first
            # sees that the tree is gone, reads what it left, and tells; so this one's number is none of an attempt.
            if grace_at_most is not None:
                self._endings.begin(-1, lambda: end_tree(grace))
            return
        reason = EndReason(flight.asked_end or "drain")
        self._engine.end(flight.slot, End(sequence=flight.start.sequence, reason=reason, grace_seconds=grace))

    def read_engine(self, fileno: int) -> None:
        """Take in what a worker has to say."""
        self._take(self._engine.poll(fileno))

    def read_adopted(self, _fileno: int) -> None:
        """Take in what became of adopted workers."""
        self._take(self._adopted.poll())

    def read_tree_endings(self, _fileno: int) -> None:
        """Take in that trees of dead workers are gone."""
        for sequence in self._endings.take():
            flight = next((each for each in self._by_slot.values() if each.start.sequence == sequence), None)
            if flight is not None:
                left = self._left.pop(sequence)
                words = f"worker {flight.start.worker} ended before the attempt did"
                lost = _lost(flight, f"{words}; {left.trouble}" if left.trouble else words, left.agent)
                self._finish(flight, msgspec.structs.replace(lost, stdout=left.stdout, stderr=left.stderr))

    def read_asks(self, _fileno: int) -> None:
        """Take in that child runs were asked to end, and have ended or had their time for it."""
        for sequence in self._asks.take():
            flight = next((each for each in self._by_slot.values() if each.start.sequence == sequence), None)
            if flight is not None:
                self._end_now(flight, self._after_ask[sequence])

    def asks_fileno(self) -> int:
        """Descriptor for `read_asks`."""
        return self._asks.fileno()

    def adopted_filenos(self) -> Iterable[int]:
        """Descriptors for `read_adopted`."""
        return self._adopted.filenos()

    def tree_endings_fileno(self) -> int:
        """Descriptor for `read_tree_endings`."""
        return self._endings.fileno()

    @property
    def needs_polling(self) -> bool:
        """Whether `read_adopted` must be called although no descriptor says so."""
        return self._adopted.needs_polling

    def close(self) -> None:
        """Let go of all: what runs goes on and leaves its outcome on disk."""
        self._engine.close()
        self._adopted.close()
        self._endings.close()
        self._asks.close()
        for flight in self._by_slot.values():
            flight.is_over = True

    def _take(self, events: Iterable[EngineEvent]) -> None:
        for event in events:
            flight = self._by_slot.get(event.slot)
            match event:
                case OutcomeArrived(_, sequence, outcome):
                    if flight is not None and flight.start.sequence == sequence:
                        self._finish(flight, outcome)
                case WorkerDied(_, worker, description):
                    self._note(description)
                    if flight is not None and flight.start.worker == worker:
                        self._worker_died(flight, description)
                case unknown:
                    assert_never(unknown)

    def _worker_died(self, flight: Flight, description: str) -> None:
        """Its last word may stand in its log; else what it left behind is ended before the slot is used again."""
        folder = self._run_dir.worker_folder(flight.start.worker)
        lines = self._lines_of(flight)
        outcome = next((line.outcome for line in lines if isinstance(line, Ended)), None)
        if outcome is not None:
            self._finish(flight, outcome)
            return
        if not lines:
            self._finish(flight, _lost(flight, "its worker ended before it began"))  # Begun is logged before anything is spawned
            return
        self._note(f"{flight.name}: {description}; ending what it left behind")
        # The mark that it began with: that of an earlier supervisor, which ran inside another item, had a longer one than ours.
        mark = next((line.mark for line in lines if isinstance(line, Begun)), flight.mark)

        def end_tree(grace_seconds: float) -> object:
            return end_tree_of_dead_worker(lines, mark=mark, grace_seconds=grace_seconds, folder=str(folder))

        self._trees[flight.slot] = end_tree
        take_left = self._left_by(flight, lines)

        def end_and_read() -> None:
            end_tree(flight.job.limits.grace_seconds)
            self._left[flight.start.sequence] = take_left()

        self._endings.begin(flight.start.sequence, end_and_read)

    def _lines_of(self, flight: Flight) -> list[LogLine]:
        log = self._run_dir.worker_folder(flight.start.worker) / LOG_NAME
        return [line for line in read_log(str(log)) if line.sequence == flight.start.sequence]

    def _finish(self, flight: Flight, outcome: Outcome) -> None:
        del self._by_slot[flight.slot]
        flight.is_over = True
        self._after_ask.pop(flight.start.sequence, None)
        self._trees.pop(flight.slot, None)
        if flight.asked_end == "cancel" and outcome.ended_by is EndReason.DRAIN:
            # An adopted worker was asked by a signal, which tells no reason.
            outcome = msgspec.structs.replace(outcome, ended_by=EndReason.CANCEL, message="cancelled")
        self._on_ended(flight, outcome)


def _lost(flight: Flight, message: str, agent: AgentReport | None = None) -> Outcome:
    now = time.time()
    return Outcome(
        attempt_class=AttemptClass.LOST,
        started_at=flight.start.at,
        finished_at=now,
        duration_seconds=max(0.0, now - flight.start.at),
        message=message,
        agent=agent,
    )
