"""Deadlocks in random worlds: found exactly when somebody is stuck for ever, also from what is read at different moments."""

from __future__ import annotations

import random
from typing import Any

import pytest
from drivers.sweeps import examples
from drivers.wait_world import POOLS, TOKENS, World
from hypothesis import event, given, settings
from hypothesis import strategies as st

from orchestrator.core.deadlocks import Deadlock, find_deadlocks

SETTLE = 2.0

SEEDS = st.integers(0, 1 << 32)


def step(world: World, dice: random.Random) -> None:
    """One thing happens somewhere."""
    kind = dice.random()
    if len(world.runs) < 2 or (kind < 0.3 and len(world.runs) < 9):
        parent = dice.choice([None, *world.running, *world.running, *world.running])
        needs = [
            (dice.choice([None, *TOKENS, *TOKENS]), dice.choice([None, None, *POOLS])) for _ in range(dice.choice([1, 1, 2, 3]))
        ]
        world.add_run(parent, dice.choice([1, 1, 2]), needs)
    elif world.items:
        item = dice.choice(world.items)
        if item.state == "waiting":
            world.try_start(item)
        elif kind < 0.5:
            world.try_end(item)
        elif kind < 0.8:
            world.try_fail_once(item)


def victims(found: list[Deadlock]) -> set[str]:
    return {f"{deadlock.victim_run}/{deadlock.victim.item}" for deadlock in found}


@examples(200)
@given(SEEDS, st.integers(5, 60))
def test_a_deadlock_is_found_if_and_only_if_somebody_can_never_end(seed: int, steps: int) -> None:
    world, dice = World(), random.Random(seed)
    for _ in range(steps):
        step(world, dice)
    stuck = world.stuck()
    assert victims(find_deadlocks(world.snapshot())) <= stuck
    world.end_all()
    event("stuck" if stuck else "free")
    found = find_deadlocks(world.snapshot())
    assert bool(found) == bool(stuck)
    assert victims(found) <= stuck


@examples(200)
@given(SEEDS, st.integers(5, 60))
def test_giving_up_victims_lets_everybody_else_end(seed: int, steps: int) -> None:
    world, dice = World(), random.Random(seed)
    for _ in range(steps):
        step(world, dice)
    world.end_all()
    fallen = 0
    while found := find_deadlocks(world.snapshot()):
        assert len({deadlock.victim_run for deadlock in found}) == len(found), "two victims in one run at once"
        deadlock = dice.choice(found)
        assert victims(found) <= world.stuck()
        world.give_up(deadlock.victim_run, deadlock.victim)
        fallen += 1
        world.end_all()
    event(f"{fallen} fell")
    assert all(item.state == "ended" for item in world.items)


@examples(100)
@given(SEEDS, st.integers(20, 150))
def test_what_is_read_at_different_moments_makes_no_false_victim(seed: int, steps: int) -> None:
    world, dice = World(), random.Random(seed)
    now = 1.0
    for _ in range(steps):
        step(world, dice)
        for run in world.runs:
            if dice.random() < 0.4:
                now += dice.random()
                world.observe(run, now, SETTLE)
                if dice.random() < 0.2:
                    step(world, dice)
        found = find_deadlocks(world.postings())
        if found:
            event("found on the way")
            assert victims(found) <= world.stuck()
    world.end_all()
    for _ in range(12):  # to settle, be seen once more, be named, settle and be seen once more
        now += SETTLE / 3
        for run in world.runs:
            now += 0.001
            world.observe(run, now, SETTLE)
    assert bool(find_deadlocks(world.postings())) == bool(world.stuck())


@examples(100)
@given(SEEDS, st.integers(20, 60))
def test_who_reads_in_another_order_chooses_the_same_victims(seed: int, steps: int) -> None:
    world, dice = World(), random.Random(seed)
    for _ in range(steps):
        step(world, dice)
    postings = world.snapshot()
    told = {(each.victim_run, each.victim, each.runs) for each in find_deadlocks(postings)}
    dice.shuffle(postings)
    assert {(each.victim_run, each.victim, each.runs) for each in find_deadlocks(postings)} == told


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        test_a_deadlock_is_found_if_and_only_if_somebody_can_never_end,
        test_giving_up_victims_lets_everybody_else_end,
        test_what_is_read_at_different_moments_makes_no_false_victim,
        test_who_reads_in_another_order_chooses_the_same_victims,
    ],
)
def test_it_holds_in_a_thousand_worlds(rule: Any) -> None:
    settings(max_examples=1000, deadline=None)(given(SEEDS, st.integers(20, 150))(rule.hypothesis.inner_test))()
