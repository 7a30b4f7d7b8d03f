"""Loops: a round is followed by another, in time, with attempts of its own, and holds nothing in between."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.events import Declined, Verdict
from orchestrator.core.states import Stop


def test_a_round_is_followed_by_the_next_at_once() -> None:
    run = CoreDriver([single("a", 0)]).open()
    for number in range(1, 5):
        assert run.running["a:0"][0] == number, "attempts go on counting"
        run.end("a:0", Verdict.ROUND)
    run.succeed("a:0")
    assert run.result == ("completed", None)


def test_a_delay_between_rounds_holds_neither_a_slot_nor_a_place_in_the_window() -> None:
    run = CoreDriver([job("a", 0, repeat_delay=30.0, max_concurrency=1)], {"a": 2}, slots=1).open()
    run.end("a:0", Verdict.ROUND)
    assert list(run.running) == ["a:1"]
    assert run.wake() == pytest.approx(30.0)
    run.succeed("a:1")
    run.pass_time_to_next_wake()
    assert list(run.running) == ["a:0"]


def test_each_round_has_its_own_attempts() -> None:
    run = CoreDriver([single("a", 0, attempts=2, retry_delay=0.0)]).open()
    for _ in range(3):
        run.fail("a:0")
        run.end("a:0", Verdict.ROUND)
    run.fail("a:0")
    run.fail("a:0")
    assert run.result == ("failed", "a:0")


def test_what_needs_a_loop_waits_for_its_last_round() -> None:
    run = CoreDriver([single("a", 0), single("b", 1, needs=(0,))]).open()
    run.end("a:0", Verdict.ROUND)
    assert list(run.running) == ["a:0"]
    run.succeed("a:0")
    assert list(run.running) == ["b:0"]


@pytest.mark.parametrize("how", [Stop.PAUSE, Stop.DRAIN])
def test_a_stop_lets_the_round_end_and_starts_no_other(how: Stop) -> None:
    run = CoreDriver([single("a", 0)]).open()
    run.stop(how)
    run.end("a:0", Verdict.ROUND)
    assert run.ended["a:0"] == "interrupted"
    assert run.result == ("paused" if how is Stop.PAUSE else "interrupted", None)


def test_a_halt_ends_a_loop_after_its_round() -> None:
    run = CoreDriver([job("a", 0)], {"a": 2}).open()
    run.fail("a:1")
    run.end("a:0", Verdict.ROUND)
    assert run.ended["a:0"] == "interrupted"
    assert run.result == ("failed", "a:1")


def test_a_cancel_counts_although_the_round_went_well() -> None:
    run = CoreDriver([single("a", 0)]).open()
    run.cancel("a:0")
    run.end("a:0", Verdict.ROUND)
    assert run.ended["a:0"] == "cancelled"


def test_workers_lost_in_different_rounds_are_not_lost_in_a_row() -> None:
    run = CoreDriver([single("a", 0)]).open()
    for _ in range(4):
        run.end("a:0", Verdict.LOST)
        run.end("a:0", Verdict.ROUND)
    assert list(run.running) == ["a:0"]


def test_a_loop_without_a_first_round_has_succeeded() -> None:
    run = CoreDriver([single("a", 0)]).open()
    run.decline("a:0", Declined.SATISFIED)
    assert run.result == ("completed", None)
