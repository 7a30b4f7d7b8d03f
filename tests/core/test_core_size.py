"""Runs of many jobs: an event costs as much as in a run of few, by looks at jobs and calls; no way is walked twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drivers.core_crowd import Crowd
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.costs import Bounds, Cost
from orchestrator.core.events import Declined, GateEnd, Verdict
from orchestrator.core.scheduling import pool_slot
from orchestrator.core.states import Phase

FEW, MANY = 24, 160


def flat(number: int) -> Crowd:
    """Jobs that need nothing."""
    return Crowd([single(f"j{order}", order) for order in range(number)]).play()


def layered(number: int) -> Crowd:
    """Layers of four jobs, each of which needs the whole layer before."""
    rules = [single(f"j{order}", order, needs=layer_before(order, 4)) for order in range(number)]
    return Crowd(rules).play()


def chained(number: int) -> Crowd:
    """Chains of four jobs of three items each."""
    rules = [job(f"j{order}", order, chain=(order - 1,) if order % 4 else ()) for order in range(number)]
    return Crowd(rules, dict.fromkeys(range(number), 3)).play()


def behind_a_pool(number: int) -> Crowd:
    """All jobs but two need a slot of a pool, which another run has."""
    crowd = Crowd([single("a", 0), job("b", 1), *(single(f"j{order}", order, pool="p") for order in range(2, number))], {1: 20})
    crowd.settle()
    crowd.hold(pool_slot("p"))
    while crowd.running:
        crowd.end_one()
    return crowd


def in_pools_of_their_own(number: int) -> Crowd:
    """Each job has a pool with one slot, and finds it taken by its own item before."""
    rules = [job(f"j{order}", order, pool=f"p{order}") for order in range(number)]
    return Crowd(rules, dict.fromkeys(range(number), 3), slots=8, pool_slots=1).play()


def behind_pools_of_their_own(number: int) -> Crowd:
    """Each job but the last has a pool of its own, of which other runs have all slots."""
    rules = [single(f"j{order}", order, pool=f"p{order}") for order in range(number - 1)]
    return Crowd([*rules, job("last", number - 1)], {number - 1: 20}, pool_slots=0).play()


def behind_a_window(number: int) -> Crowd:
    """Jobs of which one item at once may run, in more slots than a job can use."""
    rules = [job(f"j{order}", order, max_concurrency=1) for order in range(number)]
    return Crowd(rules, dict.fromkeys(range(number), 3), slots=8).play()


def tried_again(number: int) -> Crowd:
    """Each job fails once, and waits for its second attempt."""
    rules = [single(f"j{order}", order, attempts=2, retry_delay=1000.0 + order) for order in range(number)]
    return Crowd(rules).play(verdict=Verdict.FAILED, most=number)


def paid(number: int) -> Crowd:
    """Agents in a run with a budget, of which each start asks what is left."""
    rules = [single(f"j{order}", order, is_paid=True) for order in range(number)]
    return Crowd(rules, budget=Bounds(nano_usd=10**12)).play(cost=Cost(nano_usd=5))


def out_of_money(number: int) -> Crowd:
    """Agents whose run has spent what it may, while a job that costs nothing goes on."""
    rules = [single("a", 0, is_paid=True), job("b", 1, max_concurrency=1)]
    rules += [single(f"j{order}", order, is_paid=True) for order in range(2, number)]
    return Crowd(rules, {1: 20}, budget=Bounds(nano_usd=6)).play(cost=Cost(nano_usd=5))


def throttled(number: int) -> Crowd:
    """Jobs of one account, of which one attempt may run at once after a throttle."""
    rules = [single(f"j{order}", order, accounts=("x",), attempts=9) for order in range(number)]
    crowd = Crowd(rules)
    crowd.settle()
    crowd.end_one(Verdict.THROTTLED)
    return crowd.play(most=number)


def halted(number: int) -> Crowd:
    """The first job fails; cleanup jobs run on, one behind the other."""
    rules = [single("a", 0), *(single(f"j{order}", order, needs=(order - 1,), when_word="always") for order in range(1, number))]
    crowd = Crowd(rules)
    crowd.settle()
    # The failure looks at every job, once in a run: nothing of most of them starts any more.
    crowd.end_one(Verdict.FAILED)
    crowd.costs.clear()
    return crowd.play()


SHAPES = [
    flat,
    layered,
    chained,
    behind_a_pool,
    in_pools_of_their_own,
    behind_pools_of_their_own,
    behind_a_window,
    tried_again,
    paid,
    out_of_money,
    throttled,
    halted,
]


def layer_before(order: int, width: int) -> tuple[int, ...]:
    """The orders of the layer before, in layers of so many jobs."""
    first = order // width * width
    return tuple(range(first - width, first)) if first else ()


def is_flat(shape: Callable[[int], Crowd], few: int, many: int) -> None:
    small, large = shape(few), shape(many)
    assert small.costs.keys() == large.costs.keys()
    # A run looks at all its jobs when it opens; and at its end, to say what it came to.
    for kind in small.costs.keys() - {"RunOpened"}:
        looks, calls = small.dearest(kind)
        more_looks, more_calls = large.dearest(kind)
        assert more_looks <= looks + 10, f"{more_looks} looks at jobs in one {kind} of {many} jobs, {looks} of {few}"
        assert more_calls <= calls * 1.2 + 20, f"{more_calls} calls in one {kind} of {many} jobs, {calls} of {few}"


@pytest.mark.parametrize("shape", SHAPES)
def test_an_event_costs_as_much_among_many_jobs_as_among_few(shape: Callable[[int], Crowd]) -> None:
    is_flat(shape, FEW, MANY)


def test_many_ways_from_a_skipped_job_to_one_that_asks_for_failures_are_walked_once() -> None:
    last = 12 * 4
    rules = [single(f"j{order}", order, needs=layer_before(order, 4)) for order in range(last)]
    rules.append(single("alarm", last, needs=layer_before(last, 4), when_word="failed"))
    run = CoreDriver(rules).open()
    run.decline("j0:0", Declined.SKIPPED)
    run.succeed_all()
    assert run.closed["alarm"] is Phase.SKIPPED
    assert run.messages["alarm:0"] == "nothing that it needs failed"


def test_many_ways_from_a_failure_to_a_cleanup_job_are_walked_once() -> None:
    last = 12 * 4
    rules = [job(f"j{order}", order, chain=layer_before(order, 4)) for order in range(last)]
    rules += [
        single("clean", last, needs=layer_before(last, 4), when_word="always"),
        single("alarm", last + 1, needs=layer_before(last, 4), when_word="failed"),
        job("other", last + 2),
    ]
    run = CoreDriver(rules, slots=8).open()
    run.fail("other:0")
    run.succeed_all()
    assert run.ended["clean:0"] == "succeeded"
    assert run.messages["alarm:0"] == "nothing that it needs failed"
    assert run.result == ("failed", "other:0")


@pytest.mark.parametrize("follows", ["needs", "chain"])
def test_a_chain_of_jobs_may_be_as_long_as_anybody_likes(follows: str) -> None:
    number = 1100
    rules = [job(f"j{order}", order, **{follows: (order - 1,) if order else ()}) for order in range(number)]
    rules.append(single("alarm", number, needs=(number - 1,), when_word="failed"))
    crowd = Crowd(rules)
    crowd.settle()
    crowd.end_one(Verdict.FAILED)
    crowd.play()
    assert crowd.started == [(0, 0), (number, 0)]
    assert crowd.finish is not None
    assert (crowd.finish.status, crowd.finish.error) == ("failed", (0, 0))


def test_a_rejection_goes_back_over_many_ways_in_one_walk() -> None:
    last = 12 * 4
    rules = [single(f"j{order}", order, needs=layer_before(order, 4)) for order in range(last)]
    rules.append(
        single("gate", last, needs=layer_before(last, 4), is_gate=True, on_reject="retry", retry_from=0),
    )
    run = CoreDriver(rules, is_attended=True).open()
    run.succeed_all()
    run.choose("gate:0", GateEnd.REJECTED)
    assert list(run.running) == ["j0:0"]
    run.succeed_all()
    assert run.started.count("j47:0") == 2
    assert run.started.count("j1:0") == 1


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_an_event_costs_as_much_among_five_thousand_jobs(shape: Callable[[int], Crowd]) -> None:
    is_flat(shape, FEW, 5000)
