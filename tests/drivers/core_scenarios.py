"""Random runs for the core, as strategies: graphs of jobs, wide and deep ones, and runs that are resumed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from hypothesis import strategies as st

from orchestrator.core.job_rules import Halt, HaltReason, JobRules
from orchestrator.core.states import CANCELLED, FAILED, PENDING, SKIPPED, SUCCEEDED, AdoptedAttempt, RestoredJob

NAMES = "abcdefghijklmnopqrstuvwxyz"

MOODS = ["calm", "held", "short", "joining", "resized", "quick", "limited", "limited"]
"""What happens often in a run: rules that meet seldom in a run of everything meet in a run of one thing."""


@dataclass
class Scenario:
    rules: list[JobRules]
    counts: dict[str, int]
    slots: int
    fast_slots: int = 0
    drain_timeout: float = 30.0
    timeout: float | None = None
    is_attended: bool = False
    restored: dict[str, RestoredJob] = field(default_factory=dict)
    chosen: dict[str, tuple[range, ...]] = field(default_factory=dict)


def rarely(draw: Callable[..., Any]) -> bool:
    return draw(st.integers(0, 5)) == 5


def halt_of(draw: Callable[..., Any]) -> Halt | None:
    """None as often as any; it may stand beside another word on failures."""
    why: HaltReason | None = draw(st.sampled_from([None, None, None, "fail", "success", "done"]))
    if why is None:
        return None
    count, percent = draw(st.sampled_from([(1, None), (2, None), (None, 30.0), (None, 50.0)]))
    if why == "fail" and draw(st.booleans()):
        count = percent = None
    return Halt(is_now=draw(st.booleans()), why=why, count=count, percent=percent)


def chosen_of(draw: Callable[..., Any], count: int) -> tuple[range, ...]:
    """A part of the items, as two ranges in order."""
    ends = sorted(draw(st.lists(st.integers(0, count), min_size=4, max_size=4)))
    return range(ends[0], ends[1]), range(ends[2], ends[3])


@st.composite
def graphs(draw: Callable[..., Any]) -> Scenario:
    """Up to six jobs. One may stand before what it needs in the file; `by_need` is an order in which each needs earlier ones."""
    by_need = draw(st.permutations(range(draw(st.integers(1, 6)))))
    counts: dict[int, int] = {}
    rules: dict[int, JobRules] = {}
    selects = rarely(draw)
    asks = draw(st.booleans())
    for place, order in enumerate(by_need):
        before = by_need[:place]
        chain: list[int] = []
        if before and draw(st.booleans()):
            first = draw(st.sampled_from(before))
            same = [other for other in before if counts[other] == counts[first]]
            chain = draw(st.lists(st.sampled_from(same), min_size=1, max_size=2, unique=True))
        needs = draw(st.lists(st.sampled_from(before), max_size=2, unique=True)) if before else []
        is_single = not chain and rarely(draw)
        counts[order] = counts[chain[0]] if chain else 1 if is_single else draw(st.sampled_from([3, 6, 2, 1, 4, 9, 0]))
        is_gate = asks and (place == 0 or draw(st.booleans()))
        rules[order] = rule_of(draw, order, needs, chain, is_single=is_single, is_gate=is_gate, selects=selects)
    return scenario_of(draw, rules, counts, selects=selects)


@st.composite
def layers(draw: Callable[..., Any]) -> Scenario:
    """Up to twenty-four jobs, wide and deep: each needs, or follows, the whole layer before, so that many ways lead down."""
    width, depth = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    number = width * depth
    place_of = draw(st.sampled_from([range(number), range(number - 1, -1, -1)]))
    counts: dict[int, int] = {}
    rules: dict[int, JobRules] = {}
    of_chain = draw(st.integers(1, 3))
    for layer in range(depth):
        before = [place_of[(layer - 1) * width + each] for each in range(width)] if layer else []
        for each in range(width):
            order = place_of[layer * width + each]
            chain = before if before and draw(st.integers(0, 2)) == 2 else []
            chain = [other for other in chain if counts[other] == of_chain]
            needs = [other for other in before if other not in chain]
            is_single = not chain and draw(st.booleans())
            counts[order] = 1 if is_single else of_chain
            is_gate = not layer and rarely(draw)
            rules[order] = rule_of(draw, order, needs, chain, is_single=is_single, is_gate=is_gate, selects=False)
    return scenario_of(draw, rules, counts, selects=False)


@st.composite
def fans(draw: Callable[..., Any]) -> Scenario:
    """One to three jobs of many plain items, of which starts may be queued; each may need the one before."""
    counts = {order: draw(st.integers(6, 24)) for order in range(draw(st.sampled_from([1, 1, 2, 3])))}
    rules = {
        order: JobRules(
            id=NAMES[order],
            order=order,
            needs=(order - 1,) if order and draw(st.booleans()) else (),
            when_word=draw(st.sampled_from([None, None, None, "always"])),
            max_concurrency=draw(st.sampled_from([None, None, 2, 5])),
            priority=draw(st.sampled_from([0, 0, 1])),
            continue_on_error=draw(st.booleans()),
            max_failures=draw(st.sampled_from([None, None, 2])),
            halt=halt_of(draw),
            attempts=draw(st.integers(1, 2)),
            retry_delay=draw(st.sampled_from([0.0, 1.0])),
            retry_jitter=0.0,
        )
        for order in counts
    }
    return scenario_of(draw, rules, counts, selects=False)


def rule_of(
    draw: Callable[..., Any],
    order: int,
    needs: list[int],
    chain: list[int],
    *,
    is_single: bool,
    is_gate: bool,
    selects: bool,
) -> JobRules:
    """A job that needs and follows these, with any other rules."""
    tolerance = draw(st.sampled_from(["none", "none", "continue", "count", "percent", "both"]))
    return JobRules(
        id=NAMES[order],
        order=order,
        needs=tuple(sorted(needs)),
        chain=tuple(chain),
        when_word=draw(st.sampled_from([None, None, None, "always", "failed"])),
        has_own_when=rarely(draw),
        judged=tuple(sorted(needs)) if draw(st.booleans()) else (),
        is_single=is_single,
        max_concurrency=draw(st.sampled_from([None, None, 1, 2])),
        lane=draw(st.sampled_from(["main", "main", "fast"])),
        pool=draw(st.sampled_from([None, None, "p", "q"])),
        priority=draw(st.sampled_from([0, 0, 0, 1, -1])),
        continue_on_error=tolerance in ("continue", "both"),
        max_failures=draw(st.integers(0, 2)) if tolerance in ("count", "both") else None,
        max_failures_percent=draw(st.sampled_from([0.0, 20.0, 50.0])) if tolerance == "percent" else None,
        halt=None if is_gate else halt_of(draw),
        attempts=draw(st.integers(1, 3)),
        retry_delay=draw(st.sampled_from([0.0, 1.0, 5.0])),
        retry_jitter=0.0,
        is_gate=is_gate,
        on_reject=draw(st.sampled_from(["abort", "skip", "retry"])),
        is_left_out=selects and rarely(draw),
        accounts=draw(st.sampled_from([(), (), ("x",), ("y",), ("x", "y"), ("y", "x")])),
        on_usage_limit=draw(st.sampled_from(["wait", "wait", "wait", "pause", "fail"])),
    )


def scenario_of(draw: Callable[..., Any], rules: dict[int, JobRules], counts: dict[int, int], *, selects: bool) -> Scenario:
    """These jobs in a run with any number of slots."""
    slots = draw(st.integers(1, 4))
    keeps_going = rarely(draw)
    return Scenario(
        rules=[msgspec.structs.replace(rules[order], keeps_going=keeps_going) for order in range(len(rules))],
        counts={NAMES[order]: count for order, count in counts.items()},
        slots=slots,
        fast_slots=draw(st.sampled_from([0, draw(st.integers(0, slots - 1))])),
        timeout=20.0 if rarely(draw) else None,
        is_attended=draw(st.booleans()),
        chosen={NAMES[order]: chosen_of(draw, count) for order, count in counts.items()} if selects else {},
    )


@st.composite
def resumed(draw: Callable[..., Any]) -> Scenario:
    """A graph of which an earlier supervisor has done some: any states, also ones that a tidy history would not leave."""
    scenario: Scenario = draw(graphs() if draw(st.integers(0, 2)) else layers())
    beyond = draw(st.sampled_from([0, 0, 3]))
    slots = draw(st.permutations(range(scenario.slots + beyond)))
    left = list(scenario.rules)
    while listable := [rule for rule in left if all(NAMES[parent] in scenario.restored for parent in rule.chain)]:
        rule = listable[0]
        left.remove(rule)
        if draw(st.integers(0, 3)) == 0:
            continue
        count = scenario.counts[rule.id]
        words = st.sampled_from([PENDING, PENDING, SUCCEEDED, SUCCEEDED, FAILED, SKIPPED, CANCELLED])
        states = draw(st.lists(words, min_size=count, max_size=count))
        pending = [index for index, state in enumerate(states) if state is PENDING]
        parents = [scenario.restored[NAMES[parent]].states for parent in rule.chain]
        begun = [index for index in pending if all(parent[index] is SUCCEEDED for parent in parents)]
        running = [index for index in begun[: rule.max_concurrency] if beyond or rarely(draw)][: len(slots)]
        running = [] if rule.is_gate else running
        adopted = [
            AdoptedAttempt(index, draw(st.integers(1, 4)), slots.pop(0), draw(st.sampled_from([None, "x", "z"])))
            for index in running
        ]
        attempts = {index: draw(st.integers(1, 4)) for index in pending if rarely(draw)}
        for each in adopted:
            attempts[each.index] = each.attempt
        unselected = draw(st.integers(0, states.count(SKIPPED))) if scenario.chosen else 0
        is_cut = not rule.chain and rarely(draw)
        scenario.restored[rule.id] = RestoredJob(states, attempts, tuple(adopted), unselected, is_cut=is_cut)
    return scenario
