"""What a failure brings about: the halt, the error that is told, tolerance, cleanup jobs."""

from __future__ import annotations

import msgspec
import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.states import Phase


def test_item_2_of_6_fails_what_runs_is_recorded_and_the_rest_never_starts() -> None:
    run = CoreDriver([job("a", 0)], {"a": 6}, slots=3).open()
    run.succeed("a:0")
    run.fail("a:2")
    assert list(run.running) == ["a:1", "a:3"]
    run.succeed("a:1", "a:3")
    assert run.states_of("a") == ["succeeded", "succeeded", "failed", "succeeded", "pending", "pending"]
    assert run.started == ["a:0", "a:1", "a:2", "a:3"]
    assert run.result == ("failed", "a:2")


def test_the_error_is_the_earlier_item_although_it_failed_later() -> None:
    run = CoreDriver([job("a", 0)], {"a": 6}, slots=3).open()
    run.fail("a:2", "a:1")
    run.succeed("a:0")
    assert run.result == ("failed", "a:1")


def test_the_error_goes_by_job_order_before_index() -> None:
    run = CoreDriver([job("a", 0), job("b", 1)], {"a": 2, "b": 1}, slots=3).open()
    run.fail("b:0", "a:1", "a:0")
    assert run.result == ("failed", "a:0")


def test_a_halt_stops_the_other_jobs_and_what_needs_the_failed_one() -> None:
    run = CoreDriver([job("a", 0), job("b", 1), single("c", 2, needs=(0,))], {"a": 1, "b": 3}, slots=2).open()
    run.fail("a:0")
    run.succeed("b:0")
    assert run.started == ["a:0", "b:0"]
    assert "c" not in run.closed
    assert run.result == ("failed", "a:0")


def test_continue_on_error_goes_on_and_exits_failed() -> None:
    rules = [job("a", 0, continue_on_error=True), single("b", 1, needs=(0,))]
    run = CoreDriver(rules, {"a": 4}, slots=1).open()
    run.succeed("a:0")
    run.fail("a:1")
    run.succeed("a:2")
    run.fail("a:3")
    assert run.closed["a"] is Phase.FAILED
    run.succeed("b:0")
    assert run.result == ("failed", "a:1")


def test_a_run_that_keeps_going_runs_what_does_not_need_the_failed_job_and_skips_what_does() -> None:
    jobs = [
        job("test", 0),
        single("deploy", 1, needs=(0,)),
        job("publish", 2, needs=(1,)),
        single("lint", 3),
        single("badge", 4, needs=(3,)),
        single("alarm", 5, needs=(0,), when_word="failed"),
        single("clean", 6, needs=(1,), when_word="always"),
        job("report", 7, chain=(0,)),
        single("flagged", 8, needs=(0,), has_own_when=True),
        single("told", 9, needs=(0,), has_own_when=True, judged=(0,)),
        single("send", 10, needs=(7,)),
    ]
    rules = [msgspec.structs.replace(each, keeps_going=True) for each in jobs]
    run = CoreDriver(rules, {"test": 2, "report": 2}, slots=9).open()
    run.fail("test:0")
    run.succeed_all()
    assert run.states_of("test") == ["failed", "succeeded"]
    assert run.states_of("report") == ["skipped", "succeeded"]
    assert sorted(run.started) == sorted(["test:0", "test:1", "lint:0", "badge:0", "alarm:0", "clean:0", "report:1", "told:0"])
    assert (run.ended["deploy:0"], run.messages["deploy:0"]) == ("skipped", "test is failed")
    assert run.messages["report:0"] == "test:0 is failed"
    assert run.messages["send:0"] == "test is failed", "the chain that it needs is not whole"
    assert (run.closed["publish"], run.messages["publish"]) == (Phase.SKIPPED, "deploy is skipped")
    assert run.messages["flagged:0"] == "test is failed", "its `when` asks for something else"
    assert run.result == ("failed", "test:0")


def test_a_run_that_keeps_going_runs_what_needs_a_job_that_continues_on_errors() -> None:
    rules = [job("a", 0, continue_on_error=True, keeps_going=True), single("b", 1, needs=(0,), keeps_going=True)]
    run = CoreDriver(rules).open()
    run.fail("a:0")
    run.succeed("b:0")
    assert run.result == ("failed", "a:0")


def test_in_a_run_that_keeps_going_a_list_that_cannot_be_made_stops_what_needs_it_alone() -> None:
    rules = [job("a", 0), single("b", 1, needs=(0,)), single("c", 2)]
    run = CoreDriver([msgspec.structs.replace(each, keeps_going=True) for each in rules], list_at_once=False).open()
    run.fail_listing("a")
    run.list_items("b")
    run.list_items("c")
    run.succeed("c:0")
    assert run.messages["b:0"] == "a is failed"
    assert run.result == ("failed", "a:0")


@pytest.mark.parametrize(
    ("limit", "allowed"),
    [
        ({"max_failures": 0}, 0),
        ({"max_failures": 2}, 2),
        ({"max_failures_percent": 20.0}, 2),
        ({"max_failures_percent": 29.0}, 2),
        ({"max_failures_percent": 0.0}, 0),
        ({"max_failures": 2, "continue_on_error": True}, 2),
    ],
)
def test_so_many_failures_are_tolerated_and_one_more_stops_the_job(limit: dict[str, object], allowed: int) -> None:
    for failures in (allowed, allowed + 1):
        run = CoreDriver([job("a", 0, **limit), single("b", 1, needs=(0,))], {"a": 10}, slots=1).open()
        run.fail(*[f"a:{index}" for index in range(failures)])
        run.succeed_all()
        if failures == allowed:
            assert len(run.started) == 11
            assert run.closed == {"a": Phase.SUCCEEDED, "b": Phase.SUCCEEDED}
            assert run.result == ("completed", None)
        else:
            assert run.started == [f"a:{index}" for index in range(failures)]
            assert run.closed == {"a": Phase.FAILED, "b": Phase.SKIPPED}
            assert run.result == ("failed", "a:0")


@pytest.mark.parametrize(("count", "percent", "allowed"), [(375, 18.4, 69), (5, 20.0, 1), (4, 20.0, 0), (1000, 0.1, 1)])
def test_a_percentage_is_rounded_down_and_never_by_one_too_many(count: int, percent: float, allowed: int) -> None:
    run = CoreDriver([job("a", 0, max_failures_percent=percent)], {"a": count}, slots=1).open()
    run.fail(*[f"a:{index}" for index in range(allowed)])
    assert len(run.running) == 1, "so many are tolerated"
    run.fail(f"a:{allowed}")
    assert run.result == ("failed", "a:0")


def test_what_runs_when_max_failures_is_exceeded_is_let_finish_and_other_jobs_go_on() -> None:
    run = CoreDriver([job("a", 0, max_failures=0), job("b", 1)], {"a": 5, "b": 2}, slots=3).open()
    run.fail("a:0")
    assert list(run.running) == ["a:1", "a:2", "b:0"]
    run.succeed_all()
    assert run.states_of("a") == ["failed", "succeeded", "succeeded", "pending", "pending"]
    assert run.closed == {"a": Phase.FAILED, "b": Phase.SUCCEEDED}
    assert run.result == ("failed", "a:0")


def test_the_error_is_never_an_item_of_a_job_that_succeeded_nor_one_that_did_not_fail() -> None:
    rules = [job("tolerant", 0, max_failures=1), job("b", 1, continue_on_error=True)]
    run = CoreDriver(rules, {"tolerant": 2, "b": 3}, slots=5).open()
    run.fail("tolerant:0", "b:2")
    run.succeed_all()
    assert run.result == ("failed", "b:2")


def test_a_tolerated_failure_does_not_take_the_place_of_the_one_that_halted() -> None:
    run = CoreDriver([job("a", 0, continue_on_error=True), job("b", 1)], {"a": 1, "b": 1}).open()
    run.fail("a:0", "b:0")
    assert run.result == ("failed", "b:0")


def test_a_list_that_cannot_be_made_halts_the_run() -> None:
    run = CoreDriver([job("a", 0), job("b", 1)], {"b": 3}, slots=1, list_at_once=False).open()
    run.list_items("b")
    run.fail_listing("a")
    run.succeed("b:0")
    assert run.result == ("failed", "a:0")


def test_a_list_that_cannot_be_made_in_a_tolerant_job_is_told_before_later_failures() -> None:
    rules = [job("a", 0, continue_on_error=True), job("b", 1, continue_on_error=True), single("c", 2, needs=(0,))]
    run = CoreDriver(rules, {"b": 1}, list_at_once=False).open()
    run.fail_listing("a")
    run.list_items("b")
    run.list_items("c")
    run.fail("b:0")
    assert run.closed["c"] is Phase.SKIPPED
    assert run.result == ("failed", "a:0")


@pytest.mark.parametrize("word", ["always", "failed"])
def test_a_cleanup_job_runs_after_a_halt_once_what_it_needs_is_at_rest(word: str) -> None:
    rules = [job("a", 0), single("clean", 1, needs=(0,), when_word=word)]
    run = CoreDriver(rules, {"a": 4}, slots=2).open()
    run.fail("a:0")
    assert list(run.running) == ["a:1"]
    run.succeed("a:1")
    assert list(run.running) == ["clean:0"]
    run.succeed("clean:0")
    assert run.started == ["a:0", "a:1", "clean:0"]
    assert run.result == ("failed", "a:0")


def test_a_cleanup_job_waits_until_the_halting_outcome_is_durable() -> None:
    rules = [job("a", 0), single("clean", 1, needs=(0,), when_word="always")]
    run = CoreDriver(rules, durable_at_once=False).open()
    run.fail("a:0")
    assert run.started == ["a:0"]
    run.make_durable("a:0")
    assert run.started == ["a:0", "clean:0"]


def test_a_cleanup_job_waits_for_the_list_of_what_it_needs() -> None:
    rules = [job("a", 0), job("b", 1), single("clean", 2, needs=(1,), when_word="always")]
    run = CoreDriver(rules, {"b": 2}, list_at_once=False).open()
    run.list_items("a")
    run.fail("a:0")
    assert run.to_list == ["b"]
    run.list_items("b")
    assert run.to_list == ["clean"]


@pytest.mark.parametrize(("word", "phase"), [("always", Phase.SUCCEEDED), ("failed", Phase.SKIPPED)])
def test_when_all_went_well_always_runs_and_failed_is_skipped(word: str, phase: Phase) -> None:
    run = CoreDriver([job("a", 0), single("clean", 1, needs=(0,), when_word=word)], {"a": 2}).open()
    run.succeed_all()
    assert run.closed["clean"] is phase
    assert run.result == ("completed", None)


def test_when_failed_asks_for_a_failed_job_not_for_tolerated_items() -> None:
    rules = [job("a", 0, max_failures=1), single("alarm", 1, needs=(0,), when_word="failed")]
    run = CoreDriver(rules, {"a": 3}).open()
    run.fail("a:0")
    run.succeed_all()
    assert run.closed == {"a": Phase.SUCCEEDED, "alarm": Phase.SKIPPED}
    assert run.result == ("completed", None)


def test_when_failed_hears_of_a_failure_before_a_job_that_therefore_never_ran() -> None:
    rules = [job("build", 0), job("test", 1, needs=(0,)), single("alarm", 2, needs=(1,), when_word="failed")]
    halted = CoreDriver(rules).open()
    halted.fail("build:0")
    assert list(halted.running) == ["alarm:0"]
    skipping = CoreDriver([job("build", 0, max_failures=0), *rules[1:]]).open()
    skipping.fail("build:0")
    assert skipping.closed["test"] is Phase.SKIPPED
    assert list(skipping.running) == ["alarm:0"]


def test_when_failed_is_skipped_if_what_it_needs_was_merely_skipped() -> None:
    rules = [
        job("a", 0, when_word="failed"),
        job("b", 1, needs=(0,)),
        single("alarm", 2, needs=(1,), when_word="failed"),
    ]
    run = CoreDriver(rules).open()
    assert run.closed == {"a": Phase.SKIPPED, "b": Phase.SKIPPED, "alarm": Phase.SKIPPED}
    assert run.result == ("completed", None)


def test_the_error_of_failing_cleanup_items_is_the_earlier_one_too() -> None:
    run = CoreDriver([job("clean", 0, when_word="always")], {"clean": 3}, slots=3).open()
    run.fail("clean:2", "clean:0")
    run.succeed("clean:1")
    assert run.result == ("failed", "clean:0")


def test_a_failing_cleanup_job_does_not_take_the_place_of_the_earlier_failure() -> None:
    run = CoreDriver([job("a", 0), single("clean", 1, needs=(0,), when_word="always")]).open()
    run.fail("a:0", "clean:0")
    assert run.result == ("failed", "a:0")


def test_a_retry_that_waits_when_the_run_is_halted_is_interrupted() -> None:
    run = CoreDriver([job("a", 0, attempts=2), job("b", 1)], {"a": 1, "b": 2}, slots=2).open()
    run.fail("a:0")
    assert run.ended["a:0"] == "waiting"
    run.fail("b:0")
    assert run.ended["a:0"] == "interrupted"
    run.succeed("b:1")
    assert run.result == ("failed", "b:0")


def test_an_attempt_that_fails_after_the_halt_is_not_tried_again() -> None:
    run = CoreDriver([job("a", 0, attempts=2), job("b", 1)], {"a": 1, "b": 1}, slots=2).open()
    run.fail("b:0", "a:0")
    assert run.ended["a:0"] == "interrupted"
    assert run.result == ("failed", "b:0")


def test_a_cleanup_job_may_still_try_again_after_the_halt() -> None:
    run = CoreDriver([job("a", 0), single("clean", 1, needs=(0,), when_word="always", attempts=2)]).open()
    run.fail("a:0", "clean:0")
    run.pass_time_to_next_wake()
    run.succeed("clean:0")
    assert run.started == ["a:0", "clean:0", "clean:0"]
    assert run.result == ("failed", "a:0")


def test_after_a_halt_when_failed_is_skipped_if_what_it_needs_succeeded_all_the_same() -> None:
    rules = [
        job("a", 0, continue_on_error=True),
        job("b", 1, chain=(0,)),
        single("alarm", 2, needs=(1,), when_word="failed"),
        job("c", 3),
    ]
    run = CoreDriver(rules, {"a": 2, "b": 2}, slots=4).open()
    run.fail("a:0")
    run.succeed("a:1")
    run.fail("c:0")
    run.succeed("b:1")
    assert run.closed["b"] is Phase.SUCCEEDED
    assert run.ended["alarm:0"] == "skipped"
    assert run.result == ("failed", "c:0")


@pytest.mark.parametrize("between", [1, 3])
def test_a_cleanup_job_waits_for_what_comes_before_the_jobs_that_it_needs(between: int) -> None:
    """Those will not start any more, and that tells nothing of the work before them: it still runs."""
    middle = [job(f"m{order}", order, needs=(order - 1,)) for order in range(1, between + 1)]
    rules = [job("work", 0), *middle, single("clean", between + 1, needs=(between,), when_word="always")]
    run = CoreDriver(rules, {"work": 3}, slots=2).open()
    run.fail("work:0")
    assert list(run.running) == ["work:1"]
    run.succeed("work:1")
    assert list(run.running) == ["clean:0"]
    run.succeed("clean:0")
    assert run.result == ("failed", "work:0")
