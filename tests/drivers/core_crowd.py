"""Plays the supervisor for the core in runs of many jobs, checks nothing, and counts what each event costs.

Counted are looks at jobs (`RunState.jobs` counts each job that is taken out of it) and calls of functions. `core_driver` checks
every invariant after each event, which costs more the more jobs there are.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

from drivers.counted_calls import counted_calls
from orchestrator.core.costs import UNBOUND, Bounds, Cost
from orchestrator.core.decide import decide, next_wake
from orchestrator.core.decisions import AskGate, Decision, FinishRun, ListItems, Settle, StartAttempt
from orchestrator.core.events import (
    AttemptEnded,
    Declined,
    Event,
    GateEnd,
    GateTold,
    ItemsListed,
    OutcomesDurable,
    RunOpened,
    StartDeclined,
    TimePassed,
    Verdict,
)
from orchestrator.core.initial_state import open_run
from orchestrator.core.job_rules import JobRules
from orchestrator.core.scheduling import pool_slot
from orchestrator.core.states import ENDED_STATES, Interrupted, ItemRef, JobState


class CountedJobs(list[JobState]):
    """The jobs of a run. `looks`: how many were taken out."""

    looks = 0

    def __getitem__(self, place: Any) -> Any:
        self.looks += 1
        return super().__getitem__(place)

    def __iter__(self) -> Iterator[JobState]:
        for job in super().__iter__():
            self.looks += 1
            yield job

    def index(self, *_: SupportsIndex) -> int:  # type: ignore[override]
        raise AssertionError("this would look at all jobs")


class Crowd:
    """One run. `pool_slots`: of each pool, how many others have left. `costs`: by kind of event, the looks and calls of each."""

    def __init__(
        self,
        rules: Sequence[JobRules],
        counts: Mapping[int, int] | None = None,
        *,
        slots: int = 4,
        pool_slots: int | None = None,
        budget: Bounds = UNBOUND,
    ) -> None:
        self.state = open_run(rules, slots=slots, now=0.0, budget=budget)
        self.jobs = self.state.jobs = CountedJobs(self.state.jobs)
        self.counts = counts or {}
        self.pool_slots = pool_slots
        self.now = 0.0
        self.events: deque[Event] = deque([RunOpened()])
        self.running: deque[ItemRef] = deque()
        self.started: list[ItemRef] = []
        self.finish: FinishRun | None = None
        self.costs: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._last = (0, 0)

    def play(self, *, verdict: Verdict = Verdict.SUCCEEDED, cost: Cost | None = None, most: float = math.inf) -> Crowd:
        """End what runs, the oldest first, as `verdict`, until the run is finished, or `most` attempts have ended."""
        ended = 0
        while self.finish is None:
            self.settle()
            if self.running and ended < most:
                ended += 1
                self.events.append(AttemptEnded(self.running.popleft(), verdict, None, cost))
            elif self.running or (wake := next_wake(self.state)) is None:
                return self
            else:
                self.now = wake
                self.events.append(TimePassed())
        return self

    def settle(self) -> None:
        """Tell all that has happened."""
        while self.events and self.finish is None:
            self._tell(self.events.popleft())

    def hold(self, resource: str) -> None:
        """What was started last finds out that a resource is missing."""
        self.settle()
        self.started.pop()
        self.events.append(StartDeclined(self.running.pop(), Declined.HELD, resource))
        self.settle()

    def end_one(self, verdict: Verdict = Verdict.SUCCEEDED) -> None:
        """End what has run longest."""
        self.events.append(AttemptEnded(self.running.popleft(), verdict))
        self.settle()

    def dearest(self, kind: str) -> tuple[int, int]:
        """The most looks, and the most calls, of one event of this kind. The event that finished the run is left out."""
        costs = [cost for cost in self.costs[kind] if cost is not self._last] or [(0, 0)]
        return max(looks for looks, _ in costs), max(calls for _, calls in costs)

    def _tell(self, event: Event) -> None:
        looks = self.jobs.looks
        decisions, calls = counted_calls(lambda: decide(self.state, event, self.now))
        self._last = self.jobs.looks - looks, calls
        self.costs[type(event).__name__].append(self._last)
        for decision in decisions:
            self._carry_out(decision)

    def _is_pool_full(self, item: ItemRef) -> bool:
        """Whether others have all `pool_slots` of the item's pool (None: a pool has as many slots as anybody likes)."""
        pool = self._rules(item).pool
        if pool is None or self.pool_slots is None:
            return False
        return sum(self._rules(each).pool == pool for each in self.running) >= self.pool_slots

    def _rules(self, item: ItemRef) -> JobRules:
        return list.__getitem__(self.jobs, item[0]).rules

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case ListItems(order):
                self.events.append(ItemsListed(order, self.counts.get(order, 1)))
            case StartAttempt(item) if self._is_pool_full(item):
                pool = self._rules(item).pool
                assert pool is not None
                self.events.append(StartDeclined(item, Declined.HELD, pool_slot(pool)))
            case StartAttempt(item):
                self.running.append(item)
                self.started.append(item)
            case AskGate(item):
                self.events.append(GateTold(item, GateEnd.APPROVED))
            case Settle((order, index), ended):
                has_ended = isinstance(ended, ENDED_STATES) and not isinstance(ended, Interrupted)
                if has_ended and list.__getitem__(self.jobs, order).has_dependents:
                    self.events.append(OutcomesDurable(((order, index),)))
            case FinishRun():
                self.finish = decision
            case _:
                pass
