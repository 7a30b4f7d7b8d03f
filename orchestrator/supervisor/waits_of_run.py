"""What a run waits for at this instant, as the board of waits (`waits`) wants to know it, and whom to fail to end a deadlock.

Only what may be part of a cycle: waits of a run that is nested in an item, and of items that keep a token while they wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from orchestrator.attempts.flight import Flight
from orchestrator.core.deadlocks import Wait, holders_in, item_of
from orchestrator.core.scheduling import ROOM, lane_rooms, may_start, missing_resource, pool_slot
from orchestrator.core.states import ItemRef, JobState, RunState
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.shared.wait_board import Victim, WaitBoard
from orchestrator.supervisor.admission import Admission
from orchestrator.supervisor.flights import Flights


class Waiting(msgspec.Struct, frozen=True):
    """A wait, and the items that fail if it is given up."""

    wait: Wait
    items: tuple[ItemRef, ...]


class Waits:
    """Of one run. `is_nested`: in an item of another. `name_of(item)` is what people call an item."""

    def __init__(
        self,
        board: WaitBoard,
        *,
        state: RunState,
        tokens: TokenDesk,
        admission: Admission,
        flights: Flights,
        is_nested: bool,
        name_of: Callable[[ItemRef], str],
    ) -> None:
        self._board = board
        self._state = state
        self._tokens = tokens
        self._admission = admission
        self._flights = flights
        self._is_nested = is_nested
        self._name_of = name_of

    def look(self, now: float) -> list[tuple[tuple[ItemRef, ...], str]]:
        """The items that have to fail so that others can go on, and why; mostly none. Raises StateUnwritableError."""
        if now < self._board.next_look:
            return []
        waiting = list(self._waiting()) if self._is_nested or self._tokens.reserved_items() else []
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
        for job in self._state.jobs:
            if may_start(self._state, job):
                yield from self._before_their_start(job, reserved)

    def _before_their_start(self, job: JobState, reserved: set[ItemRef]) -> Iterator[Waiting]:
        """Items that would start now, if they could."""
        order = job.rules.order
        resource = missing_resource(self._state, job)
        keepers = [(order, index) for index in sorted(job.due) if (order, index) in reserved]
        if resource is None:
            holders = self._slot_holders(job)
            yield from (self._wait(item, "a slot", holders, reserves=True) for item in keepers if holders)
            return
        if resource != ROOM and (job.rules.pool is None or resource != pool_slot(job.rules.pool)):
            return  # memory, a rate, a shortage: that passes
        holders = holders_in(self._admission.notes(resource))
        yield from (self._wait(item, resource, holders, reserves=True) for item in keepers)
        first = next((index for index in sorted(job.due) if (order, index) not in reserved), None)
        if first is not None:
            yield self._wait((order, first), resource, holders)

    def _slot_holders(self, job: JobState) -> tuple[str, ...]:
        """Marks of what runs in the slots that an item of this job may have; none if one is free."""
        rules, state = job.rules, self._state
        if rules.max_concurrency is not None and job.running >= rules.max_concurrency:
            return tuple(flight.mark for flight in self._flights if flight.item[0] == rules.order)
        if state.free_slots and lane_rooms(state)[rules.lane] > 0:
            return ()
        unknown = ("",) * len(state.set_aside)
        return tuple(flight.mark for flight in self._flights if self._is_in_lane(flight, job)) + unknown

    def _is_in_lane(self, flight: Flight, job: JobState) -> bool:
        return not self._state.fast_slots or flight.job.lane == job.rules.lane

    def _wait(self, item: ItemRef, resource: str, holders: tuple[str, ...], *, reserves: bool = False) -> Waiting:
        return Waiting(Wait(item=self._name_of(item), resource=resource, holders=holders, reserves=reserves), (item,))
