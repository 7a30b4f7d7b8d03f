"""What an item needs besides a slot of its run: pools, rates, memory, room for one more process."""

from __future__ import annotations

import math

import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.events import Declined
from orchestrator.core.explanations import waiting_counts, why_it_waits
from orchestrator.core.scheduling import MEMORY, ROOM, look_at_sources, pool_rate, pool_slot
from orchestrator.core.states import Stop

POOL = pool_slot("p")
RATE = pool_rate("p")


def test_a_full_pool_holds_only_the_jobs_that_use_it() -> None:
    rules = [job("in_p", 0, pool="p", priority=9), job("in_q", 1, pool="q"), job("free", 2)]
    run = CoreDriver(rules, {"in_p": 3, "in_q": 1, "free": 9}, slots=3).open()
    assert run.started == ["in_p:0", "in_p:1", "in_p:2"]
    run.hold("in_p:1", POOL)
    run.hold("in_p:2", POOL)
    assert list(run.running) == ["in_p:0", "in_q:0", "free:0"]
    run.succeed("free:0")
    assert list(run.running) == ["in_p:0", "in_q:0", "free:1"]


def test_while_an_item_is_looked_at_no_other_of_its_job_is_tried_and_all_other_jobs_go_on() -> None:
    rules = [job("made", 0, has_sources=True, priority=9), job("other", 1)]
    run = CoreDriver(rules, {"made": 3, "other": 9}, slots=2).open()
    run.hold("made:0", look_at_sources("made"))
    run.hold("made:1", look_at_sources("made"))
    assert list(run.running) == ["other:0", "other:1"]
    assert why_it_waits(run.state, (0, 2), run.now) == "it waits for the look at the sources of made"
    assert run.wake() is None
    run.succeed("other:0")
    assert list(run.running) == ["other:1", "other:2"]
    run.free_resource(look_at_sources("made"))
    run.succeed("other:1")
    assert list(run.running) == ["other:2", "made:0"]


def test_one_item_that_is_declined_keeps_all_of_its_pool_from_trying() -> None:
    rules = [job("a", 0, pool="p"), job("b", 1, pool="p")]
    run = CoreDriver(rules, {"a": 5, "b": 5}, slots=1).open()
    run.hold("a:0", POOL)
    assert not run.running
    assert run.wake() is None, "it is told when the pool is free: it waits for no time"
    run.free_resource(POOL)
    assert list(run.running) == ["a:0"]


def test_items_that_were_declined_start_before_later_ones_in_item_order() -> None:
    run = CoreDriver([job("a", 0, pool="p")], {"a": 5}, slots=3).open()
    run.hold("a:2", POOL)
    run.hold("a:0", POOL)
    run.hold("a:1", POOL)
    run.free_resource(POOL)
    assert run.started == ["a:0", "a:1", "a:2"]
    run.succeed_all()
    assert run.started == ["a:0", "a:1", "a:2", "a:3", "a:4"]


def test_an_item_that_is_declined_uses_no_attempt_up_and_holds_neither_slot_nor_window() -> None:
    rules = [job("a", 0, pool="p", max_concurrency=1, attempts=2, retry_delay=0.0), job("b", 1)]
    run = CoreDriver(rules, {"a": 1, "b": 1}, slots=1).open()
    run.hold("a:0", POOL)
    assert list(run.running) == ["b:0"]
    run.succeed("b:0")
    run.free_resource(POOL)
    assert run.running == {"a:0": (1, 0)}
    run.fail("a:0")
    assert run.running == {"a:0": (2, 0)}
    run.hold("a:0", POOL)
    run.free_resource(POOL)
    assert run.running == {"a:0": (2, 0)}
    run.fail("a:0")
    assert run.result == ("failed", "a:0")


def test_the_end_of_an_own_item_of_the_pool_frees_its_place_at_once() -> None:
    rules = [job("a", 0, pool="p"), job("b", 1, pool="q")]
    run = CoreDriver(rules, {"a": 2, "b": 2}, slots=3).open()
    run.hold("a:1", POOL)
    run.succeed("b:0")
    assert "a:1" not in run.running, "an item of another pool frees nothing of this one"
    run.succeed("a:0")
    assert "a:1" in run.running


def test_the_end_of_a_nested_runs_item_gives_its_borrowed_slot_to_the_next() -> None:
    run = CoreDriver([job("a", 0), job("b", 1)], {"a": 2, "b": 1}, slots=2).open()
    run.hold("a:1", ROOM)
    assert list(run.running) == ["a:0"]
    run.succeed("a:0")
    assert list(run.running) == ["a:1", "b:0"]


def test_a_rate_wakes_the_run_when_the_next_start_is_allowed_and_no_end_does() -> None:
    run = CoreDriver([job("a", 0, pool="p")], {"a": 3}, slots=2).open()
    run.hold("a:1", RATE, seconds=12.0)
    run.succeed("a:0")
    assert not run.running, "a rate counts starts: an end does not give one back"
    assert run.wake() == 12.0
    run.pass_time(11.5)
    assert not run.running
    run.pass_time_to_next_wake()
    assert list(run.running) == ["a:1", "a:2"]
    assert run.wake() is None


def test_a_place_in_the_pool_is_not_enough_while_its_rate_is_used_up() -> None:
    run = CoreDriver([job("a", 0, pool="p")], {"a": 2}, slots=2).open()
    run.hold("a:0", RATE, seconds=5.0)
    run.hold("a:1", POOL)
    run.free_resource(POOL)
    assert not run.running
    run.pass_time(5.0)
    assert list(run.running) == ["a:0", "a:1"]


def test_short_memory_holds_every_job_and_lets_what_runs_go_on() -> None:
    run = CoreDriver([job("a", 0), job("b", 1)], {"a": 2, "b": 2}, slots=2).open()
    run.hold("a:1", MEMORY, seconds=1.0)
    assert list(run.running) == ["a:0"]
    run.succeed("a:0")
    assert not run.running, "an end says nothing of the memory that is free now"
    run.pass_time_to_next_wake()
    assert list(run.running) == ["a:1", "b:0"]


def test_a_time_that_has_come_already_is_tried_again_without_a_wake_up() -> None:
    run = CoreDriver([single("a", 0, pool="p")]).open()
    run.hold("a:0", RATE, seconds=0.0)
    assert list(run.running) == ["a:0"]
    assert run.wake() is None


def test_an_item_that_waits_for_a_resource_is_still_to_be_done() -> None:
    run = CoreDriver([single("a", 0, pool="p"), single("b", 1, needs=(0,))]).open()
    run.hold("a:0", POOL)
    assert run.finish is None
    assert "a" not in run.closed
    run.free_resource(POOL)
    run.succeed("a:0", "b:0")
    assert run.result == ("completed", None)


def test_a_resource_that_nobody_misses_may_be_told_free() -> None:
    run = CoreDriver([single("a", 0)]).open()
    run.free_resource(POOL)
    assert run.started == ["a:0"]


def test_a_halt_ends_the_wait_for_a_pool_but_not_that_of_a_cleanup_job() -> None:
    rules = [job("a", 0, pool="p"), single("bad", 1), job("clean", 2, when_word="always", pool="p")]
    run = CoreDriver(rules, {"a": 1, "clean": 1}, slots=3).open()
    run.hold("a:0", POOL)
    run.hold("clean:0", POOL)
    run.fail("bad:0")
    assert run.ended["a:0"] == "interrupted"
    assert run.finish is None
    run.free_resource(POOL)
    run.succeed("clean:0")
    assert run.result == ("failed", "bad:0")


@pytest.mark.parametrize("seconds", [7.0, math.inf])
def test_a_stop_ends_the_wait_for_a_resource(seconds: float) -> None:
    run = CoreDriver([job("a", 0, pool="p")], {"a": 2}, slots=1).open()
    run.hold("a:0", POOL, seconds=seconds)
    run.stop(Stop.DRAIN)
    assert run.states_of("a") == ["interrupted", "pending"]
    assert run.result == ("interrupted", None)


@pytest.mark.parametrize("why", [Declined.HELD, Declined.JOINS])
def test_a_cancel_that_crosses_a_declined_start_is_not_lost(why: Declined) -> None:
    run = CoreDriver([job("a", 0, pool="p")], {"a": 2}, slots=1).open()
    run.cancel("a:0")
    run.decline("a:0", why, POOL)
    assert run.ended["a:0"] == "cancelled"


@pytest.mark.parametrize("why", [Declined.HELD, Declined.JOINS])
def test_a_stop_that_crosses_a_declined_start_leaves_nothing_waiting(why: Declined) -> None:
    run = CoreDriver([job("a", 0, pool="p")], {"a": 2}, slots=1).open()
    run.stop(Stop.PAUSE)
    run.decline("a:0", why, POOL)
    assert run.states_of("a") == ["interrupted", "pending"]
    assert run.result == ("paused", None)


@pytest.mark.parametrize("victim", ["a:0", "a:1"])
def test_the_victim_of_a_deadlock_fails_though_it_joined_nothing_or_never_was_tried(victim: str) -> None:
    run = CoreDriver([job("a", 0, pool="p", attempts=3, continue_on_error=True)], {"a": 3}, slots=1).open()
    run.hold("a:0", POOL)
    run.share(victim, is_success=False)
    assert run.ended[victim] == "failed"
    run.free_resource(POOL)
    run.succeed_all()
    assert run.result == ("failed", victim)


def test_who_was_tried_and_holds_nothing_is_counted_as_waiting_and_who_stands_in_line_is_not() -> None:
    rules = [
        job("pool", 0, pool="p"),
        job("token", 1),
        job("backoff", 2, attempts=2),
        job("free", 3),
        job("needy", 4, needs=(3,)),
    ]
    run = CoreDriver(rules, {"pool": 3, "token": 1, "backoff": 1, "free": 2, "needy": 2}, slots=4).open()
    assert waiting_counts(run.state) == {}
    run.hold("pool:0", POOL)
    run.hold("pool:1", POOL)
    run.join("token:0")
    run.fail("backoff:0")
    assert waiting_counts(run.state) == {"pool": 2, "token": 1, "backoff": 1}
    run.cancel("token:0", "pool:1")
    assert waiting_counts(run.state) == {"pool": 1, "backoff": 1}
    run.free_resource(POOL)
    assert waiting_counts(run.state) == {"backoff": 1}
