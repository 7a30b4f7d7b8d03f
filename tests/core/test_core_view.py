"""The view of the rules' state: what it answers, and that no question changes anything."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

from drivers.core_driver import CoreDriver

from orchestrator.core.costs import Bounds, Cost
from orchestrator.core.events import Declined, Verdict
from orchestrator.core.job_rules import JobRules
from orchestrator.core.scheduling import pool_slot
from orchestrator.core.states import Stop
from orchestrator.core.view import CoreView

RULES = [
    JobRules(id="port", order=0, pool="models", max_concurrency=2, attempts=2, accounts=("ann", "bob"), is_paid=True),
    JobRules(id="follow", order=1, chain=(0,), lane="fast"),
    JobRules(id="ship", order=2, needs=(1,), is_gate=True, is_single=True),
]


def a_run(**given: Any) -> CoreDriver:
    return CoreDriver(RULES, {"port": 4, "follow": 4}, slots=4, fast_slots=1, is_attended=True, **given).open()


def all_answers(driver: CoreDriver) -> dict[str, Any]:
    """What the view says to every question, put for every job, item and account."""
    view = CoreView(driver.state)
    orders = [rule.order for rule in RULES]
    items = [(order, index) for order in orders for index in range(len(driver.state.jobs[order].items))]
    values = {"order": orders, "item": items, "items": [[item] for item in items], "account": view.accounts}
    fixed = {"now": driver.now, "running": 1}

    def calls(parameters: list[str]) -> Iterator[dict[str, Any]]:
        varying = next((name for name in parameters if name in values), None)
        assert set(parameters) <= {*values, *fixed}, f"say here what {parameters} are"
        for value in values[varying] if varying else [None]:
            yield {name: value if name == varying else fixed[name] for name in parameters}

    answers: dict[str, Any] = {}
    for name, member in vars(CoreView).items():
        if isinstance(member, property):
            answers[name] = getattr(view, name)
        elif not name.startswith("_"):
            parameters = [each for each in inspect.signature(member).parameters if each != "self"]
            answers[name] = [member(view, **call) for call in calls(parameters)]
    return answers


def assert_questions_change_nothing(driver: CoreDriver) -> None:
    before = copy.deepcopy(driver.state)
    assert all_answers(driver) == all_answers(driver)
    assert driver.state == before


def test_no_question_changes_the_state_wherever_the_run_stands() -> None:
    driver = a_run()
    assert_questions_change_nothing(driver)
    driver.end("port:0", Verdict.SUCCEEDED, Cost(nano_usd=5))
    driver.end("port:1", Verdict.THROTTLED, seconds=30)
    assert_questions_change_nothing(driver)
    driver.hold("follow:0", "memory", seconds=5)
    assert_questions_change_nothing(driver)
    driver.pass_time(60)
    driver.end("port:2", Verdict.PARKED, seconds=600)
    assert_questions_change_nothing(driver)
    driver.stop(Stop.DRAIN)
    assert_questions_change_nothing(driver)


def test_a_view_shows_the_run_as_it_is_now_and_not_as_it_was() -> None:
    driver = a_run()
    view = CoreView(driver.state)
    assert (view.stop, view.running_count, view.is_cancelled) == (Stop.NO, 2, False)
    driver.succeed("port:0")
    assert view.running_count == 3, "port:2 has taken its place, and follow:0 has begun"
    driver.cancel()
    assert view.is_cancelled
    assert view.is_over(0)


def test_slots_are_told_by_lane() -> None:
    driver = a_run()
    view = CoreView(driver.state)
    assert (view.main_slots, view.has_fast_lane, view.lanes) == (3, True, {"main", "fast"})
    driver.succeed("port:0")
    assert view.has_free_slot(0)
    assert view.is_window_full(0), "max_concurrency is 2"
    assert not view.has_free_slot(1), "the one slot of the fast lane is in use"
    driver.decline("follow:0", Declined.SLOT_HELD)
    assert view.slots_set_aside == 1


def test_a_resource_that_is_not_to_be_had_is_named_for_the_job_and_for_the_item() -> None:
    driver = a_run()
    view = CoreView(driver.state)
    assert view.missing_resource(0) is None
    driver.hold("port:1", pool_slot("models"))
    assert view.missing_resource(0) == pool_slot("models")
    assert view.waiting_resource((0, 1)) == pool_slot("models")
    assert view.is_waiting((0, 1))
    assert pool_slot("models") in view.resources(0)
    assert pool_slot("models") not in view.resources(1)
    assert view.due_items(0) == [(0, 1)]


def test_an_item_is_in_motion_from_its_turn_in_the_chain_to_its_end() -> None:
    driver = a_run()
    view = CoreView(driver.state)
    assert not view.is_in_motion((1, 1)), "its parent runs"
    driver.succeed("port:0", "port:1")
    assert view.is_in_motion((1, 0)), "it runs"
    assert view.is_in_motion((1, 1)), "it waits for the slot of its lane"
    driver.succeed("follow:0")
    assert not view.is_in_motion((1, 0))


def test_a_gate_asks_until_somebody_has_chosen() -> None:
    driver = a_run()
    view = CoreView(driver.state)
    driver.succeed_all()
    assert view.is_asking((2, 0))
    driver.cancel("ship:0")
    assert not view.is_asking((2, 0))


def test_a_job_whose_agents_tell_no_cost_is_mute_where_a_budget_should_bind_it() -> None:
    driver = a_run(budget=Bounds(nano_usd=1000))
    view = CoreView(driver.state)
    assert view.left_nano_usd(0) == 1000
    assert driver.started == ["port:0"], "one starts alone, and the others wait for what it tells"
    driver.end("port:0", Verdict.SUCCEEDED, Cost())
    assert view.mute_units(0) == []
    driver.end("port:1", Verdict.SUCCEEDED, Cost())
    assert view.mute_units(0) == ["nano_usd"]
