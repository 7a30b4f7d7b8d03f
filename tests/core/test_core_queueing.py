"""Starts that are queued behind others in their slot: which, and what becomes of them."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job

from orchestrator.core.events import Declined
from orchestrator.core.states import Stop


def a_fan(count: int, **rules: object) -> CoreDriver:
    """Two slots, and a job of so many items, of which three may be queued behind one."""
    run = CoreDriver([job("a", 0, **rules)], {"a": count})
    run.tell_pace("a", 3)
    return run.open()


def test_a_slot_that_another_holds_is_tried_twice_at_most_and_then_left_alone() -> None:
    """Nothing is queued the second time: else it would be free again once that is given back, and so on and on."""
    run = a_fan(40)
    run.decline("a:0", Declined.SLOT_HELD)
    run.give_back(*run.queued)
    assert run.running["a:0"] == (1, 0)
    run.decline("a:0", Declined.SLOT_HELD)
    assert (run.held_slots, "a:0" in run.running) == ({0}, False)


def test_nothing_is_queued_behind_one_that_is_tried_again() -> None:
    run = a_fan(40, attempts=2, retry_delay=0.0)
    run.give_back(*run.queued)
    run.fail("a:0")
    assert run.running["a:0"] == (2, 0)
    assert run.queued == []
    run.succeed("a:0")
    assert len(run.queued) == 3


def test_the_last_items_that_can_start_may_be_queued_if_others_of_the_list_were_cancelled() -> None:
    run = CoreDriver([job("a", 0)], {"a": 40}).open()
    run.cancel(*[f"a:{index}" for index in range(5, 40)])
    run.tell_pace("a", 3)
    run.succeed("a:0")
    assert run.queued == ["a:3", "a:4"]
    run.succeed_all()
    assert run.states_of("a") == ["succeeded"] * 5 + ["cancelled"] * 35


def test_a_queue_that_runs_low_gets_as_many_as_it_had_at_first() -> None:
    run = a_fan(40)
    run.succeed("a:0")
    run.succeed("a:1")
    assert run.queued == ["a:3", "a:5", "a:6", "a:7"]
    run.ask_more("a:2")
    assert [item for item in run.queued if run.running[item][1] == 0] == ["a:3", "a:8", "a:9"]
    # It is full.
    run.ask_more("a:2")
    assert len(run.queued) == 6


def test_what_runs_alone_gets_a_queue_once_it_is_known_that_items_are_short() -> None:
    run = CoreDriver([job("a", 0)], {"a": 40}).open()
    run.tell_pace("a", 3)
    run.ask_more("a:1")
    assert {item: run.running[item][1] for item in run.queued} == {"a:2": 1, "a:3": 1, "a:4": 1}


@pytest.mark.parametrize(
    "how", ["it has ended", "it is being ended", "the run is stopped", "its slot is gone", "its items are long"]
)
def test_nothing_is_queued_behind_one_that_ends_or_where_nothing_may_be_queued(how: str) -> None:
    run = CoreDriver([job("a", 0), job("b", 1, needs=(0,))], {"a": 40, "b": 1}).open()
    run.succeed("a:0")
    run.tell_pace("a", 3)
    match how:
        case "it has ended":
            run.succeed("a:1")
        case "it is being ended":
            run.cancel("a:1")
        case "the run is stopped":
            run.stop(Stop.DRAIN)
        case "its slot is gone":
            run.set_slots(1)
        case _:
            run.tell_pace("a", 0)
    before = list(run.queued)
    run.ask_more("a:1")
    assert run.queued == before


def test_near_the_end_queues_are_ever_shorter_and_the_last_items_are_taken_one_by_one() -> None:
    run = a_fan(40)
    lengths = []
    while run.running:
        (front, *behind) = [item for item in run.running if run.running[item][1] == 0] or [next(iter(run.running))]
        lengths.append(len(behind))
        run.succeed(front)
    assert lengths[0] == 3
    assert lengths[-3:] == [0, 0, 0]
    assert run.states_of("a") == ["succeeded"] * 40
