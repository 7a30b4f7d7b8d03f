"""What a run waits for at this instant, as the board of waits (`waits`) wants to know it, and whom to fail to end a deadlock.

Only what may be part of a cycle: waits of a run that is nested in an item, and of items that keep a token while they wait.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orchestrator.attempts.flight import Flight
from orchestrator.core.deadlocks import Wait, holders_in, item_of
from orchestrator.core.scheduling import ROOM, pool_slot
from orchestrator.core.states import ItemRef
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.shared.wait_board import Victim, WaitBoard
from orchestrator.supervisor.flights import Flights
from orchestrator.supervisor.resources import MissingResources
from orchestrator.supervisor.run import Run


class Waiting(msgspec.Struct, frozen=True):
    """A wait, and the items that fail if it is given up."""

    wait: Wait
    items: tuple[ItemRef, ...]


class WaitsOfRun:
    """The waits of one run. `is_nested`: the run is an item's of another run."""

    def __init__(
        self, run: Run, board: WaitBoard, tokens: TokenDesk, missing: MissingResources, flights: Flights, *, is_nested: bool
    ) -> None:
        self._run = run
        self._board = board
        self._tokens = tokens
        self._missing = missing
        self._flights = flights
        self._is_nested = is_nested
        self._is_waiting = False
        """Whether the last look found a wait."""

    @property
    def next_look(self) -> float | None:
        """When `find_victims` is due (monotonic seconds); None: nothing waited at the last look, and there is time."""
        return self._board.next_look if self._is_waiting else None

    def find_victims(self, now: float) -> list[tuple[tuple[ItemRef, ...], str]]:
        """The items that have to fail so that others can go on, and why; mostly none. Raises StateUnwritableError."""
        if now < self._board.next_look:
            return []
        waiting = list(self._waiting()) if self._is_nested or self._tokens.reserved_items() else []
        self._is_waiting = bool(waiting)
        found = {(each.wait.item, each.wait.resource): each.items for each in waiting}
        victims: list[Victim] = self._board.look_at_board([each.wait for each in waiting], now)
        return [(found[victim.wait.item, victim.wait.resource], victim.words) for victim in victims]

    def close(self) -> None:
        """Nothing is waited for any more."""
        self._board.close()

    def _waiting(self) -> Iterator[Waiting]:
        for names, token, holder in self._tokens.waits():
            first = next(iter(names.values()))
            wait = Wait(item=first, resource=f"token {token!r}", holders=(item_of(holder.mark),), count=len(names))
            yield Waiting(wait, tuple(names))
        reserved = set(self._tokens.reserved_items())
        for order in self._run.core.startable_jobs():
            yield from self._before_their_start(order, reserved)

    def _before_their_start(self, order: int, reserved: set[ItemRef]) -> Iterator[Waiting]:
        """The waits of items of a job that would start now, if they could."""
        resource, pool = self._run.core.missing_resource(order), self._run.jobs[order].pool
        due = self._run.core.due_items(order)
        keepers = [item for item in due if item in reserved]
        if resource is None:
            holders = self._slot_holders(order)
            yield from (self._wait(item, "a slot", holders, reserves=True) for item in keepers if holders)
            return
        if resource != ROOM and (pool is None or resource != pool_slot(pool)):
            return  # memory, a rate, a shortage: that passes
        holders = holders_in(self._missing.notes(resource))
        yield from (self._wait(item, resource, holders, reserves=True) for item in keepers)
        # Of the items that keep nothing one stands for all: they wait for the same, and nobody waits behind them.
        first = next((item for item in due if item not in reserved), None)
        if first is not None:
            yield self._wait(first, resource, holders)

    def _slot_holders(self, order: int) -> tuple[str, ...]:
        """Marks of what runs in the slots that an item of this job may have; none if one is free."""
        core = self._run.core
        if core.is_window_full(order):
            return tuple(flight.mark for flight in self._flights if flight.item[0] == order)
        if core.has_free_slot(order):
            return ()
        unknown = ("",) * core.slots_set_aside
        return tuple(flight.mark for flight in self._flights if self._is_in_lane(flight, order)) + unknown

    def _is_in_lane(self, flight: Flight, order: int) -> bool:
        return not self._run.core.has_fast_lane or flight.job.lane == self._run.jobs[order].lane

    def _wait(self, item: ItemRef, resource: str, holders: tuple[str, ...], *, reserves: bool = False) -> Waiting:
        return Waiting(Wait(item=self._run.name(item), resource=resource, holders=holders, reserves=reserves), (item,))
