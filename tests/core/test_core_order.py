"""Which item starts when: item order, the sliding window, slots, priorities."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.events import Declined
from orchestrator.core.states import Phase


def test_items_start_in_item_order_whatever_order_they_end_in() -> None:
    run = CoreDriver([job("a", 0)], {"a": 5}, slots=2).open()
    assert run.started == ["a:0", "a:1"]
    run.succeed("a:1")
    run.succeed("a:2")
    run.succeed("a:0")
    run.succeed("a:4", "a:3")
    assert run.started == ["a:0", "a:1", "a:2", "a:3", "a:4"]
    assert run.result == ("completed", None)


@pytest.mark.parametrize(("max_concurrency", "window"), [(1, 1), (2, 2), (None, 4), (9, 4)])
def test_the_window_slides_one_start_for_each_end(max_concurrency: int | None, window: int) -> None:
    run = CoreDriver([job("a", 0, max_concurrency=max_concurrency)], {"a": 7}, slots=4).open()
    for ended in range(7):
        assert list(run.running) == [f"a:{index}" for index in range(ended, min(ended + window, 7))]
        run.succeed(f"a:{ended}")
    assert run.result == ("completed", None)


def test_a_slow_first_item_does_not_hold_the_window_back() -> None:
    run = CoreDriver([job("a", 0, max_concurrency=2)], {"a": 5}, slots=4).open()
    run.succeed("a:1", "a:2", "a:3", "a:4")
    assert list(run.running) == ["a:0"]


def test_a_slot_left_by_one_job_goes_to_the_next() -> None:
    run = CoreDriver([job("a", 0, max_concurrency=1), job("b", 1)], {"a": 2, "b": 3}, slots=3).open()
    assert run.started == ["a:0", "b:0", "b:1"]


def test_priority_comes_before_file_order_and_never_interrupts() -> None:
    rules = [single("first", 0), job("low", 1), job("high", 2, priority=5, needs=(0,))]
    run = CoreDriver(rules, {"low": 4, "high": 2}, slots=3).open()
    assert list(run.running) == ["first:0", "low:0", "low:1"]
    run.succeed("first:0")
    assert list(run.running) == ["low:0", "low:1", "low:2"]
    run.succeed("low:0", "low:1")
    assert list(run.running) == ["low:2", "high:0", "high:1"]


def test_what_stands_furthest_down_a_chain_starts_first() -> None:
    rules = [job("a", 0), job("b", 1, chain=(0,)), job("c", 2, chain=(1,)), job("other", 3)]
    run = CoreDriver(rules, {"a": 4, "b": 4, "c": 4, "other": 1}, slots=1).open()
    run.succeed_all()
    # What follows an item is ready once the item's end is durable: by then the slot has gone to the item behind it.
    first, second = ["a:0", "a:1", "b:0", "b:1", "c:0", "c:1"], ["a:2", "a:3", "b:2", "b:3", "c:2", "c:3"]
    assert run.started == [*first, *second, "other:0"]


def test_priority_comes_before_the_depth_of_a_chain() -> None:
    rules = [job("a", 0, priority=1), job("b", 1, chain=(0,))]
    run = CoreDriver(rules, {"a": 3, "b": 3}, slots=1).open()
    run.succeed_all()
    assert run.started == ["a:0", "a:1", "a:2", "b:0", "b:1", "b:2"]


def test_what_is_less_urgent_waits_for_the_list_of_what_is_more_so() -> None:
    rules = [job("low", 0), job("high", 1, priority=5)]
    run = CoreDriver(rules, {"low": 4, "high": 2}, slots=2, list_at_once=False).open()
    run.list_items("low")
    assert not run.running
    run.list_items("high")
    assert list(run.running) == ["high:0", "high:1"]


def test_an_empty_list_is_a_job_that_succeeded() -> None:
    run = CoreDriver([job("a", 0), single("b", 1, needs=(0,))], {"a": 0}).open()
    assert run.closed["a"] is Phase.SUCCEEDED
    run.succeed("b:0")
    assert run.result == ("completed", None)


def test_a_run_without_items_is_completed_at_once() -> None:
    run = CoreDriver([job("a", 0), job("b", 1, chain=(0,)), job("c", 2, needs=(1,))], {"a": 0, "b": 0, "c": 0}).open()
    assert run.result == ("completed", None)


def test_a_held_slot_costs_no_attempt_and_its_item_takes_the_next_free_slot() -> None:
    run = CoreDriver([job("a", 0)], {"a": 4}, slots=2).open()
    run.decline("a:0", Declined.SLOT_HELD)
    assert list(run.running) == ["a:1"]
    run.succeed("a:1")
    assert run.running == {"a:0": (1, 1)}
    run.free_slot(0)
    assert list(run.running) == ["a:0", "a:2"]


def test_with_every_slot_held_the_run_waits_for_one_and_does_not_spin() -> None:
    run = CoreDriver([job("a", 0)], {"a": 1}, slots=1).open()
    run.decline("a:0", Declined.SLOT_HELD)
    assert run.finish is None
    assert run.wake() is None
    run.free_slot(0)
    run.succeed("a:0")
    assert run.result == ("completed", None)


@pytest.mark.parametrize(
    ("why", "state", "result"),
    [
        (Declined.SKIPPED, "skipped", ("completed", None)),
        (Declined.SATISFIED, "succeeded", ("completed", None)),
        (Declined.REFUSED, "failed", ("failed", "a:0")),
    ],
)
def test_a_declined_item_has_its_end_and_gives_its_slot_back(why: Declined, state: str, result: tuple[str, str | None]) -> None:
    run = CoreDriver([job("a", 0, attempts=3)], {"a": 2}, slots=2).open()
    run.succeed("a:1")
    run.decline("a:0", why)
    assert run.ended["a:0"] == state
    assert run.result == result
