"""Lanes: slots that only short leaf items may take, so that they never wait behind long ones."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job

from orchestrator.core.events import Declined
from orchestrator.core.job_rules import JobRules
from orchestrator.core.scheduling import lane_rooms, split_slots
from orchestrator.core.states import PENDING, AdoptedAttempt, RestoredJob


def lanes() -> list[JobRules]:
    return [job("slow", 0), job("quick", 1, lane="fast")]


@pytest.mark.parametrize(
    ("slots", "asked", "lanes", "fast_slots"),
    [
        (8, None, {"main", "fast"}, 4),
        (5, None, {"main", "fast"}, 2),
        (2, None, {"main", "fast"}, 1),
        (1, None, {"main", "fast"}, 0),
        (8, 3, {"main", "fast"}, 3),
        (8, 0, {"main", "fast"}, 0),
        (2, 3, {"main", "fast"}, 1),
        (1, 1, {"main", "fast"}, 0),
        (8, None, {"main"}, 0),
        (8, 3, {"main"}, 0),
        (8, 3, {"fast"}, 0),
        (0, None, {"main", "fast"}, 0),
    ],
)
def test_the_slots_are_divided_only_between_lanes_that_are_both_in_use(
    slots: int, asked: int | None, lanes: set[str], fast_slots: int
) -> None:
    assert split_slots(slots, asked, lanes) == fast_slots


def test_each_lane_fills_its_own_slots_and_leaves_the_others_alone() -> None:
    run = CoreDriver(lanes(), {"slow": 9, "quick": 9}, slots=4, fast_slots=1).open()
    assert run.started == ["slow:0", "slow:1", "slow:2", "quick:0"]
    run.succeed("quick:0", "quick:1")
    assert list(run.running) == ["slow:0", "slow:1", "slow:2", "quick:2"]
    run.succeed("slow:1")
    assert list(run.running) == ["slow:0", "slow:2", "quick:2", "slow:3"]


def test_a_lane_with_nothing_to_do_lends_no_slot() -> None:
    run = CoreDriver([*lanes(), job("later", 2, needs=(0,), lane="fast")], {"slow": 9, "quick": 1}, slots=4, fast_slots=2).open()
    run.succeed("quick:0")
    assert list(run.running) == ["slow:0", "slow:1"], "the next quick item must not have to wait for a slow one"


def test_all_fast_jobs_share_the_lane_by_priority() -> None:
    rules = [*lanes(), job("urgent", 2, lane="fast", priority=1)]
    run = CoreDriver(rules, {"slow": 2, "quick": 3, "urgent": 1}, slots=3, fast_slots=2).open()
    assert list(run.running) == ["urgent:0", "slow:0", "quick:0"]
    run.succeed("urgent:0")
    assert list(run.running) == ["slow:0", "quick:0", "quick:1"]


def test_without_slots_of_its_own_the_fast_lane_shares_those_of_all() -> None:
    run = CoreDriver(lanes(), {"slow": 1, "quick": 3}, slots=3).open()
    assert list(run.running) == ["slow:0", "quick:0", "quick:1"]
    run.succeed("slow:0")
    assert list(run.running) == ["quick:0", "quick:1", "quick:2"]


def test_a_declined_start_gives_its_place_back_to_its_own_lane() -> None:
    run = CoreDriver(lanes(), {"slow": 3, "quick": 3}, slots=2, fast_slots=1).open()
    run.decline("quick:0", Declined.SKIPPED)
    assert list(run.running) == ["slow:0", "quick:1"]
    run.join("quick:1")
    assert list(run.running) == ["slow:0", "quick:2"]


def test_an_adopted_attempt_counts_in_its_own_lane() -> None:
    past = {"quick": RestoredJob([PENDING] * 3, {0: 1}, (AdoptedAttempt(0, 1, 0),))}
    run = CoreDriver(lanes(), {"slow": 4}, slots=3, fast_slots=1, restored=past).open()
    assert run.started == ["slow:0", "slow:1"]
    run.succeed("quick:0")
    assert run.started[2:] == ["quick:1"]


def test_adopted_attempts_beyond_the_slots_count_against_both_lanes() -> None:
    adopted = tuple(AdoptedAttempt(index, 1, 4 + index) for index in range(4))
    past = {"slow": RestoredJob([PENDING] * 4, dict.fromkeys(range(4), 1), adopted)}
    run = CoreDriver(lanes(), {"quick": 4}, slots=4, fast_slots=1, restored=past).open()
    assert not run.started, "four run, and the run has four slots"
    assert lane_rooms(run.state) == {"main": -1, "fast": 0}
    run.succeed("slow:0")
    assert run.started == ["quick:0"]
    run.succeed("slow:1")
    assert run.started == ["quick:0"], "the fast lane has one slot"


def test_without_lanes_one_free_slot_is_not_given_to_both() -> None:
    past = {
        "slow": RestoredJob([PENDING] * 3, {0: 1}, (AdoptedAttempt(0, 1, 7),)),
        "quick": RestoredJob([PENDING] * 3, {0: 1}, (AdoptedAttempt(0, 1, 8),)),
    }
    run = CoreDriver(lanes(), slots=3, restored=past).open()
    assert run.started == ["slow:1"], "two run already, beyond the slots: there is room for one more"


def test_fewer_slots_bound_both_lanes_together() -> None:
    run = CoreDriver(lanes(), {"slow": 3, "quick": 3}, slots=4, fast_slots=1).open()
    run.set_slots(2, 1)
    run.succeed("quick:0")
    assert list(run.running) == ["slow:0", "slow:1", "slow:2"]
    run.succeed("slow:0")
    assert list(run.running) == ["slow:1", "slow:2"]
    run.succeed("slow:1")
    assert list(run.running) == ["slow:2", "quick:1"]


def test_the_fast_lane_may_be_widened_while_it_is_used() -> None:
    run = CoreDriver(lanes(), {"slow": 9, "quick": 9}, slots=4, fast_slots=1).open()
    run.set_slots(4, 3)
    run.succeed("slow:0", "slow:1")
    assert list(run.running) == ["slow:2", "quick:0", "quick:1", "quick:2"]
