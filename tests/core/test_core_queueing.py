"""Starts that are queued behind others in their slot: which, and what becomes of them."""

from __future__ import annotations

from drivers.core_driver import CoreDriver, job

from orchestrator.core.events import Declined


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
