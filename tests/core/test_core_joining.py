"""Items whose token is in flight: they hold nothing, share what comes of it, or try again."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.decide import next_wake
from orchestrator.core.states import Phase, Stop


def test_who_joins_holds_neither_slot_nor_window_and_wakes_nobody() -> None:
    run = CoreDriver([job("a", 0, max_concurrency=1)], {"a": 9}, slots=1).open()
    run.join("a:0", "a:1", "a:2")
    assert list(run.running) == ["a:3"]
    assert run.ended["a:0"] == "waiting", "it is recorded, so that people see what it waits for"
    assert next_wake(run.state) is None


@pytest.mark.parametrize(("is_success", "state"), [(True, "succeeded"), (False, "failed")])
def test_all_who_joined_end_as_the_work_did_and_none_of_them_starts(is_success: bool, state: str) -> None:
    run = CoreDriver([job("a", 0, attempts=3, continue_on_error=True)], {"a": 4}, slots=4).open()
    run.join("a:1", "a:2", "a:3")
    run.share("a:1", "a:3", is_success=is_success)
    assert run.states_of("a") == ["running", state, "waiting", state]
    run.share("a:2", is_success=is_success)
    run.succeed("a:0")
    assert run.started == ["a:0"]
    assert run.result == (("completed", None) if is_success else ("failed", "a:1"))


def test_a_run_waits_for_those_who_joined() -> None:
    run = CoreDriver([job("a", 0), single("b", 1, needs=(0,))], {"a": 2}).open()
    run.join("a:1")
    run.succeed("a:0")
    assert run.finish is None
    assert "a" not in run.closed
    run.share("a:1", is_success=True)
    assert run.closed["a"] is Phase.SUCCEEDED
    run.succeed("b:0")
    assert run.result == ("completed", None)


def test_who_joined_in_vain_tries_again_before_later_items_with_its_attempts_unused() -> None:
    run = CoreDriver([job("a", 0, attempts=1)], {"a": 4}, slots=1).open()
    run.join("a:0", "a:1")
    assert list(run.running) == ["a:2"]
    run.end_join("a:1", "a:0")
    run.succeed("a:2")
    assert run.running == {"a:0": (1, 0)}
    run.succeed_all()
    assert run.started == ["a:2", "a:0", "a:1", "a:3"]
    assert run.result == ("completed", None)


def test_an_item_may_join_again_and_again() -> None:
    run = CoreDriver([single("a", 0)]).open()
    for _ in range(5):
        run.join("a:0")
        assert not run.running
        run.end_join("a:0")
        assert run.running == {"a:0": (1, 0)}
    run.join("a:0")
    run.share("a:0", is_success=True)
    assert run.result == ("completed", None)


def test_an_item_that_joins_between_its_attempts_keeps_their_count() -> None:
    run = CoreDriver([single("a", 0, attempts=2, retry_delay=0.0)]).open()
    run.fail("a:0")
    run.join("a:0")
    run.end_join("a:0")
    assert run.running == {"a:0": (2, 0)}
    run.fail("a:0")
    assert run.result == ("failed", "a:0")


def test_a_halt_lets_those_who_joined_share_a_success() -> None:
    run = CoreDriver([job("a", 0), single("bad", 1)], {"a": 2}, slots=3).open()
    run.join("a:1")
    run.fail("bad:0")
    assert run.state_of("a:1") == "waiting"
    run.succeed("a:0")
    assert run.finish is None
    run.share("a:1", is_success=True)
    assert run.states_of("a") == ["succeeded", "succeeded"]
    assert run.result == ("failed", "bad:0")


def test_a_halt_lets_those_who_joined_share_a_failure_and_the_first_in_order_is_named() -> None:
    run = CoreDriver([job("a", 0), single("bad", 1)], {"a": 3}, slots=3).open()
    run.join("a:1", "a:2")
    run.fail("bad:0")
    run.succeed("a:0")
    run.share("a:2", "a:1", is_success=False)
    assert run.states_of("a") == ["succeeded", "failed", "failed"]
    assert run.result == ("failed", "a:1")


def test_one_shared_failure_halts_the_run_and_all_who_joined_have_it() -> None:
    rules = [job("a", 0), job("b", 1, attempts=2, retry_delay=60.0)]
    run = CoreDriver(rules, {"a": 5, "b": 1}, slots=3, list_at_once=False).open()
    run.list_items("a")
    run.list_items("b")
    run.join("a:0", "a:1", "a:2")
    assert set(run.running) == {"a:3", "a:4", "b:0"}
    run.fail("b:0")
    run.share("a:0", "a:1", "a:2", is_success=False)
    assert [run.ended[f"a:{index}"] for index in range(3)] == ["failed"] * 3
    assert run.ended["b:0"] == "interrupted", "its backoff would start it"
    run.succeed("a:3", "a:4")
    assert run.result == ("failed", "a:0")


def test_a_join_that_ends_after_a_halt_is_interrupted_and_starts_nothing() -> None:
    run = CoreDriver([job("a", 0), single("bad", 1)], {"a": 1}, slots=2).open()
    run.join("a:0")
    run.fail("bad:0")
    run.end_join("a:0")
    assert run.ended["a:0"] == "interrupted"
    assert run.result == ("failed", "bad:0")


def test_a_start_that_would_join_after_a_halt_is_interrupted() -> None:
    run = CoreDriver([job("a", 0), single("bad", 1)], {"a": 1}, slots=2).open()
    run.fail("bad:0")
    run.join("a:0")
    assert run.ended["a:0"] == "interrupted"
    assert run.result == ("failed", "bad:0")


def test_a_cleanup_job_that_joined_tries_again_though_the_run_is_halted() -> None:
    run = CoreDriver([single("bad", 0), single("clean", 1, needs=(0,), when_word="always")]).open()
    run.fail("bad:0")
    run.join("clean:0")
    run.end_join("clean:0")
    run.succeed("clean:0")
    assert run.result == ("failed", "bad:0")


@pytest.mark.parametrize(
    ("how", "status"),
    [(Stop.PAUSE, "paused"), (Stop.DRAIN, "interrupted"), (Stop.NOW, "interrupted"), (Stop.KILL, "interrupted")],
)
def test_every_stop_interrupts_those_who_joined(how: Stop, status: str) -> None:
    run = CoreDriver([job("a", 0)], {"a": 2}, slots=2).open()
    run.join("a:0")
    run.stop(how)
    assert run.ended["a:0"] == "interrupted", "a stopped run does not wait for work of others"
    run.succeed("a:1")
    assert run.result == (status, None)


def test_the_runs_timeout_interrupts_those_who_joined() -> None:
    run = CoreDriver([single("a", 0)], timeout=60.0).open()
    run.join("a:0")
    assert run.wake() == 60.0
    run.pass_time_to_next_wake()
    assert run.ended["a:0"] == "interrupted"
    assert run.result == ("failed", None)


def test_max_failures_counts_shared_failures_and_one_too_many_stops_the_job() -> None:
    rules = [job("a", 0, max_failures=1), single("b", 1, needs=(0,))]
    run = CoreDriver(rules, {"a": 8}, slots=3).open()
    run.join("a:0", "a:1", "a:2")
    run.share("a:1", is_success=False)
    assert "a" not in run.closed
    run.share("a:2", is_success=False)
    run.succeed("a:3", "a:4", "a:5")
    assert "a" not in run.closed, "a:0 still waits for its verdict"
    run.share("a:0", is_success=False)
    assert run.states_of("a") == ["failed"] * 3 + ["succeeded"] * 3 + ["pending"] * 2
    assert run.closed == {"a": Phase.FAILED, "b": Phase.SKIPPED}
    assert run.result == ("failed", "a:0")


def test_one_share_of_more_failures_than_max_failures_fails_them_all() -> None:
    run = CoreDriver([job("a", 0, max_failures=1)], {"a": 4}, slots=4).open()
    run.join("a:1", "a:2", "a:3")
    run.share("a:1", "a:2", "a:3", is_success=False)
    run.succeed("a:0")
    assert run.states_of("a") == ["succeeded", "failed", "failed", "failed"]
    assert run.result == ("failed", "a:1")


def test_a_join_that_ends_after_max_failures_is_interrupted_and_the_job_closes() -> None:
    rules = [job("a", 0, max_failures=0), single("b", 1)]
    run = CoreDriver(rules, {"a": 2}, slots=3).open()
    run.join("a:1")
    run.fail("a:0")
    assert "a" not in run.closed
    run.end_join("a:1")
    assert run.ended["a:1"] == "interrupted"
    assert run.closed["a"] is Phase.FAILED
    run.succeed("b:0")
    assert run.result == ("failed", "a:0")


def test_chain_children_of_a_shared_success_start_once_it_is_durable() -> None:
    rules = [job("a", 0), job("b", 1, chain=(0,))]
    run = CoreDriver(rules, {"a": 2, "b": 2}, slots=4, durable_at_once=False).open()
    run.join("a:1")
    run.share("a:1", is_success=True)
    assert run.started == ["a:0"]
    run.make_durable("a:1")
    assert run.started == ["a:0", "b:1"]


def test_chain_children_of_a_shared_failure_are_skipped() -> None:
    rules = [job("a", 0, continue_on_error=True), job("b", 1, chain=(0,))]
    run = CoreDriver(rules, {"a": 2, "b": 2}, slots=4).open()
    run.join("a:1")
    run.share("a:1", is_success=False)
    assert run.ended["b:1"] == "skipped"
    assert run.messages["b:1"] == "a:1 is failed"


def test_chain_items_may_join_too() -> None:
    rules = [job("a", 0), job("b", 1, chain=(0,))]
    run = CoreDriver(rules, {"a": 2, "b": 2}, slots=4).open()
    run.succeed("a:0", "a:1")
    run.join("b:0", "b:1")
    run.end_join("b:1")
    assert list(run.running) == ["b:1"]
    run.share("b:0", is_success=True)
    run.succeed("b:1")
    assert run.result == ("completed", None)


def test_who_joined_may_be_cancelled_and_what_comes_of_the_work_no_longer_concerns_it() -> None:
    run = CoreDriver([job("a", 0)], {"a": 3}, slots=3).open()
    run.join("a:1", "a:2")
    run.cancel("a:1")
    assert run.ended["a:1"] == "cancelled"
    assert run.state_of("a:0") == "running"
    run.share("a:1", "a:2", is_success=True)
    run.end_join("a:1")
    assert run.states_of("a") == ["running", "cancelled", "succeeded"]
    run.succeed("a:0")
    assert run.result == ("failed", "a:1")


def test_cancelling_the_run_cancels_those_who_joined() -> None:
    run = CoreDriver([job("a", 0)], {"a": 2}, slots=2).open()
    run.join("a:0", "a:1")
    run.cancel()
    assert run.states_of("a") == ["cancelled", "cancelled"]
    assert run.result == ("cancelled", None)


def test_an_item_whose_job_was_closed_before_its_turn_is_told_nothing() -> None:
    run = CoreDriver([job("a", 0, max_failures=0), single("b", 1, needs=(0,), when_word="always")], {"a": 2}, slots=1).open()
    run.fail("a:0")
    assert list(run.running) == ["b:0"]
    run.share("a:1", is_success=False)
    run.succeed("b:0")
    assert "a:1" not in run.ended
