"""Budgets: what may start, what waits for money, and when a run pauses for it."""

from __future__ import annotations

from typing import Any

import pytest
from drivers.core_driver import CoreDriver, job
from drivers.sweeps import examples
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.budget import MUTE_AFTER, Unit, expected, in_words, left_nano_usd, mute_units, refusal, words_about_job
from orchestrator.core.costs import Bounds, Cost, Costs, Meter
from orchestrator.core.events import Verdict
from orchestrator.core.job_rules import JobRules
from orchestrator.core.states import PENDING, SUCCEEDED, RestoredJob
from orchestrator.core.view import CoreView

DOLLAR = 1_000_000_000


def usd(dollars: float) -> int:
    return round(dollars * DOLLAR)


def agent(job_id: str, order: int, **rules: object) -> JobRules:
    return job(job_id, order, is_paid=True, **rules)


def bound(dollars: float | None = None, tokens: int | None = None) -> Bounds:
    return Bounds(nano_usd=None if dollars is None else usd(dollars), tokens=tokens)


def pay(driver: CoreDriver, item: str, dollars: float | None, verdict: Verdict = Verdict.SUCCEEDED) -> None:
    driver.end(item, verdict, Cost(nano_usd=None if dollars is None else usd(dollars)))


def mute_of(driver: CoreDriver) -> list[tuple[str, Unit]]:
    return [(each.rules.id, unit) for each in driver.state.jobs for unit in mute_units(driver.state, each)]


def run_of(count: int, dollars: float, *, slots: int = 4, **rules: object) -> CoreDriver:
    return CoreDriver([agent("port", 0, **rules)], {"port": count}, slots=slots, budget=bound(dollars)).open()


def test_where_nobody_knows_the_price_one_item_starts_and_the_others_wait_for_what_it_tells() -> None:
    driver = run_of(100, 20.0)
    assert driver.started == ["port:0"]
    pay(driver, "port:0", 0.5)
    assert len(driver.running) == 4


def test_a_hundred_items_of_unknown_price_do_not_overshoot() -> None:
    driver = run_of(100, 20.0)
    spent = 0.0
    while driver.running:
        spent += 3.0
        pay(driver, next(iter(driver.running)), 3.0)
    assert spent == 18.0  # one more would have cost 21
    assert driver.result == ("paused", None)
    assert driver.finish is not None
    assert driver.finish.reason == "budget: spent 18.00 of 20.00 USD (the next is expected to cost 3.00)"


def test_an_estimate_lets_as_many_start_as_there_is_money_for() -> None:
    driver = run_of(10, 1.0, slots=8, estimate_nano_usd=usd(0.3))
    assert len(driver.running) == 3


def test_without_a_budget_nothing_is_reserved() -> None:
    driver = CoreDriver([agent("port", 0)], {"port": 10}, slots=4).open()
    assert len(driver.running) == 4


def test_failed_attempts_are_charged_and_their_retries_need_money_too() -> None:
    driver = run_of(3, 1.0, slots=1, attempts=9, retry_delay=0.0)
    for _ in range(4):
        pay(driver, "port:0", 0.25, Verdict.FAILED)
        driver.pass_time(1.0) if driver.finish is None else None
    assert driver.result == ("paused", None)
    assert driver.started == ["port:0"] * 4


def test_what_runs_may_free_what_was_reserved_for_it() -> None:
    driver = run_of(5, 1.0, slots=4, estimate_nano_usd=usd(0.5))
    assert driver.started == ["port:0", "port:1"]
    pay(driver, "port:0", 0.1)  # 0.1 spent, 0.1 expected of port:1
    assert driver.started == ["port:0", "port:1", "port:2", "port:3", "port:4"]
    driver.succeed_all()
    assert driver.result == ("completed", None)


def test_a_spent_job_budget_stops_that_job_alone_and_then_the_run_is_paused() -> None:
    rules = [agent("dear", 0, budget=bound(1.0), max_concurrency=1), agent("cheap", 1)]
    driver = CoreDriver(rules, {"dear": 9, "cheap": 3}, slots=2).open()
    while driver.running:
        item = next(iter(driver.running))
        pay(driver, item, 0.9 if item.startswith("dear") else 0.1)
    assert driver.result == ("paused", None)
    assert driver.started.count("dear:0") == 1
    assert [item for item in driver.started if item.startswith("dear")] == ["dear:0"]
    assert driver.states_of("cheap") == ["succeeded"] * 3
    assert driver.finish is not None
    assert driver.finish.reason.startswith("budget of dear: spent 0.90 of 1.00 USD")


def test_commands_are_free_and_go_on_when_the_money_is_spent() -> None:
    rules = [agent("port", 0), job("list", 1)]
    driver = CoreDriver(rules, {"port": 2, "list": 5}, slots=1, budget=bound(0.1)).open()
    pay(driver, "port:0", 0.2)
    driver.succeed_all()
    assert driver.states_of("list") == ["succeeded"] * 5
    assert driver.result == ("paused", None)


def test_what_needs_the_job_without_money_waits_for_the_resume() -> None:
    rules = [agent("port", 0), job("sum", 1, needs=(0,))]
    driver = CoreDriver(rules, {"port": 2}, budget=bound(0.1)).open()
    pay(driver, "port:0", 0.2)
    assert driver.result == ("paused", None)
    assert "sum" not in driver.closed


def test_a_budget_that_is_raised_while_the_last_item_runs_lets_the_others_start() -> None:
    driver = run_of(3, 1.0, estimate_nano_usd=usd(1.0))
    assert driver.started == ["port:0"]
    driver.set_budget(bound(3.0))
    assert driver.started == ["port:0", "port:1", "port:2"]


def test_a_budget_of_a_job_can_be_set_too() -> None:
    driver = CoreDriver([agent("port", 0, budget=bound(1.0), estimate_nano_usd=usd(1.0))], {"port": 2}).open()
    driver.set_budget(bound(2.0), "port")
    assert driver.started == ["port:0", "port:1"]


def test_an_attempt_of_unknown_cost_counts_as_what_is_expected_of_one() -> None:
    driver = run_of(9, 1.0, slots=1)
    pay(driver, "port:0", 0.4)
    pay(driver, "port:1", None)  # killed: it told nothing, and was not free
    assert driver.result == ("paused", None)
    assert driver.finish is not None
    words = "spent 0.40 of 1.00 USD (1 of unknown cost, counted as 0.40; the next is expected to cost 0.40)"
    assert words in driver.finish.reason


def test_the_words_add_up_to_more_than_the_budget() -> None:
    """Attempts of two jobs that did not tell count as what is expected of each."""
    rules = [agent("dear", 0, estimate_nano_usd=usd(0.4)), agent("cheap", 1, estimate_nano_usd=usd(0.1))]
    driver = CoreDriver(rules, {"dear": 3, "cheap": 3}, slots=2, budget=bound(1.0)).open()
    assert driver.started == ["dear:0", "dear:1"]
    pay(driver, "dear:0", None)
    assert driver.started[2:] == ["cheap:0"]
    pay(driver, "cheap:0", None)
    refused = refusal(driver.state, driver.state.jobs[0])
    assert refused is not None
    words = "2 of unknown cost, counted as 0.50; 2 running, expected to cost 0.50; the next is expected to cost 0.40"
    assert in_words(refused) == f"budget: spent 0.00 of 1.00 USD ({words})"


def test_one_attempt_that_tells_nothing_is_followed_by_another_alone() -> None:
    driver = run_of(9, 20.0)
    pay(driver, "port:0", None)
    assert driver.started == ["port:0", "port:1"]
    pay(driver, "port:1", 0.5)
    assert len(driver.running) == 4


def test_an_agent_that_never_tells_is_not_bounded_and_that_is_known() -> None:
    driver = run_of(9, 1.0)
    for index in range(MUTE_AFTER):
        assert mute_of(driver) == []
        pay(driver, f"port:{index}", None)
    assert len(driver.running) == 4
    assert mute_of(driver) == [("port", "nano_usd")]
    driver.succeed_all()
    assert driver.result == ("completed", None)


def test_with_an_estimate_an_agent_that_never_tells_is_bounded_all_the_same() -> None:
    driver = run_of(9, 1.0, slots=1, estimate_nano_usd=usd(0.3))
    while driver.running:
        pay(driver, next(iter(driver.running)), None)
    assert driver.started == ["port:0", "port:1", "port:2"]
    assert driver.result == ("paused", None)
    assert mute_of(driver) == []


@pytest.mark.parametrize(
    ("rules", "count", "is_alone"), [({}, 3, True), ({}, 1, False), ({"estimate_nano_usd": usd(0.1)}, 3, False)]
)
def test_an_item_runs_alone_if_others_wait_for_what_it_costs(rules: dict[str, Any], count: int, is_alone: bool) -> None:
    driver = CoreDriver([agent("port", 0, **rules)], {"port": count}, slots=2, budget=bound(5.0)).open()
    assert CoreView(driver.state).runs_alone(0) is is_alone
    pay(driver, "port:0", 0.2)
    assert not CoreView(driver.state).runs_alone(0)


def test_tokens_bound_agents_that_tell_no_cost() -> None:
    driver = CoreDriver([agent("port", 0)], {"port": 9}, slots=1, budget=bound(tokens=1000)).open()
    while driver.running:
        driver.end(next(iter(driver.running)), Verdict.SUCCEEDED, Cost(tokens=400))
    assert driver.started == ["port:0", "port:1"]
    assert driver.finish is not None
    assert driver.finish.reason == "budget: spent 800 of 1,000 tokens (the next is expected to cost 400)"


def test_jobs_that_nobody_knows_learn_from_the_others_of_the_run() -> None:
    rules = [agent(f"job{order}", order) for order in range(4)]
    driver = CoreDriver(rules, slots=4, budget=bound(1.0)).open()
    assert driver.started == ["job0:0"]
    pay(driver, "job0:0", 0.2)
    assert driver.started == ["job0:0", "job1:0", "job2:0", "job3:0"]


def test_a_run_whose_estimate_is_above_its_budget_pauses_at_once_and_says_so() -> None:
    driver = run_of(3, 0.5, estimate_nano_usd=usd(0.7))
    assert driver.result == ("paused", None)
    assert driver.started == []
    assert driver.finish is not None
    assert driver.finish.reason == "budget: spent 0.00 of 0.50 USD (the next is expected to cost 0.70)"


def test_a_budget_that_keeps_several_jobs_from_starting_is_told_once() -> None:
    rules = [agent("dear", 0, estimate_nano_usd=usd(0.9)), agent("cheap", 1, estimate_nano_usd=usd(0.8))]
    driver = CoreDriver(rules, {"dear": 3, "cheap": 3}, slots=2, budget=bound(0.5)).open()
    assert driver.result == ("paused", None)
    assert driver.finish is not None
    assert driver.finish.reason == "budget: spent 0.00 of 0.50 USD (the next is expected to cost 0.90)"


def test_of_why_a_run_is_paused_a_job_is_told_of_no_budget_of_others() -> None:
    rules = [agent(name, order, estimate_nano_usd=usd(0.9), budget=bound(0.5)) for order, name in enumerate(("a", "b"))]
    driver = CoreDriver(rules, {"a": 3, "b": 3}, slots=2).open()
    assert driver.finish is not None
    reason = driver.finish.reason
    own = "budget of b: spent 0.00 of 0.50 USD (the next is expected to cost 0.90)"
    assert words_about_job(reason, "b") == own
    assert words_about_job(reason, "c") == reason == f"{own.replace('of b', 'of a')}; {own}"
    both = "budget: spent 1.00 of 1.00 USD (1 of unknown cost; 1 running)"
    assert words_about_job(f"{both}; {own}", "a") == both
    assert words_about_job("usage limit of acme-1 until 2030-01-01 00:00:00", "a").startswith("usage limit")


def test_a_failure_that_halts_the_run_is_not_taken_for_a_lack_of_money() -> None:
    driver = run_of(9, 1.0, slots=1)
    pay(driver, "port:0", 2.0, Verdict.FAILED)
    assert driver.result == ("failed", "port:0")
    assert driver.finish is not None
    assert driver.finish.reason == ""


def costs(known: list[float], unknown: int = 0) -> Costs:
    meter = Meter()
    for index, dollars in enumerate(known):
        meter.charge(index, usd(dollars))
    meter.unknown = unknown
    return Costs(nano_usd=meter)


def resumed(dollars: float, known: list[float], unknown: int = 0) -> CoreDriver:
    states = [SUCCEEDED] * len(known) + [PENDING] * 3
    past = {"port": RestoredJob(states=states, attempts={}, costs=costs(known, unknown))}
    return CoreDriver([agent("port", 0)], slots=2, budget=bound(dollars), restored=past).open()


@pytest.mark.parametrize(
    ("dollars", "unknown", "starts"),
    [(20.0, 0, 0), (20.3, 0, 1), (21.0, 0, 2), (40.0, 0, 2), (20.3, 1, 0), (20.5, 1, 1)],
)
def test_a_resume_starts_what_the_budget_allows_with_what_was_spent_before(dollars: float, unknown: int, starts: int) -> None:
    driver = resumed(dollars, [0.2] * 100, unknown)
    assert len(driver.running) == starts
    assert (driver.finish is not None) == (starts == 0)


amounts = st.one_of(st.none(), st.integers(0, 3 * DOLLAR))


@examples(150)
@given(
    paid=st.lists(amounts, min_size=30, max_size=30),
    budget=st.integers(1, 20 * DOLLAR),
    slots=st.integers(1, 6),
    picks=st.lists(st.integers(0, 99), min_size=30, max_size=30),
    estimate=st.one_of(st.none(), st.integers(0, 2 * DOLLAR)),
)
def test_what_has_ended_and_what_is_expected_stay_within_the_bound_and_every_run_ends(
    paid: list[int | None], budget: int, slots: int, picks: list[int], estimate: int | None
) -> None:
    rules = agent("port", 0, estimate_nano_usd=estimate)
    driver = CoreDriver([rules], {"port": 30}, slots=slots, budget=Bounds(nano_usd=budget)).open()
    state = driver.state.jobs[0]
    known = told = ended = 0
    while driver.running:
        before = len(driver.started)
        item = list(driver.running)[picks[ended] % len(driver.running)]
        cost, ended = paid[ended], ended + 1
        driver.end(item, Verdict.SUCCEEDED, Cost(nano_usd=cost))
        known, told = known + (cost or 0), told + (cost is not None)
        assert (state.costs.nano_usd.known, state.costs.nano_usd.told, state.costs.nano_usd.unknown) == (
            known,
            told,
            ended - told,
        )
        if len(driver.started) > before:
            likely = expected(driver.state, state, "nano_usd")
            assert known + (ended - told + state.running) * (likely or 0) <= budget
            assert likely is not None or state.running == 1 or ended >= MUTE_AFTER
    status, error = driver.result
    assert error is None
    assert status == ("completed" if ended == 30 else "paused")
    if status == "paused":
        refused = refusal(driver.state, state)
        assert refused is not None
        assert in_words(refused) == driver.finish.reason  # type: ignore[union-attr]


@examples(100)
@given(price=st.integers(1, DOLLAR), budget=st.integers(1, 20 * DOLLAR), slots=st.integers(1, 8))
def test_where_all_cost_the_same_the_budget_holds_to_the_last_of_its_units(price: int, budget: int, slots: int) -> None:
    driver = CoreDriver([agent("port", 0)], {"port": 40}, slots=slots, budget=Bounds(nano_usd=budget)).open()
    while driver.running:
        driver.end(next(iter(driver.running)), Verdict.SUCCEEDED, Cost(nano_usd=price))
    assert len(driver.started) == min(40, max(budget // price, 1))


@given(st.lists(st.tuples(st.integers(0, 5), amounts), max_size=40))
def test_the_median_is_that_of_the_last_attempts_that_told(attempts: list[tuple[int, int | None]]) -> None:
    meter = Meter()
    last: dict[int, int | None] = {}
    for index, amount in attempts:
        meter.charge(index, amount)
        last[index] = amount
    values = sorted(each for each in last.values() if each is not None)
    assert meter.in_order == values
    assert meter.median == (values[len(values) // 2] if values else None)


def test_an_attempt_may_cost_what_the_tighter_budget_leaves_besides_what_the_others_will_probably_cost() -> None:
    rules = [agent("dear", 0, budget=bound(2.0), estimate_nano_usd=usd(0.5)), agent("cheap", 1, estimate_nano_usd=usd(0.1))]
    driver = CoreDriver(rules, {"dear": 9, "cheap": 9}, slots=2, budget=bound(2.2)).open()
    dear, cheap = driver.state.jobs
    assert driver.running.keys() == {"dear:0", "dear:1"}
    assert left_nano_usd(driver.state, dear) == usd(1.5)
    pay(driver, "dear:0", 0.9)
    pay(driver, "dear:1", None)  # counts as the 0.9 that one probably costs
    assert driver.running.keys() == {"cheap:0", "cheap:1"}
    assert left_nano_usd(driver.state, cheap) == usd(2.2 - 2 * 0.9 - 0.1)


def test_an_attempt_without_a_budget_may_cost_anything_and_one_in_flight_beyond_it_next_to_nothing() -> None:
    assert left_nano_usd((free := CoreDriver([agent("port", 0)], slots=1).open()).state, free.state.jobs[0]) is None
    driver = run_of(3, 1.0, slots=2, estimate_nano_usd=usd(0.4))
    pay(driver, "port:0", 5.0)
    assert left_nano_usd(driver.state, driver.state.jobs[0]) == 1
