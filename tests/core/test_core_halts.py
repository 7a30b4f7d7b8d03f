"""When a job has had enough (`halt`): what becomes of what runs, waits, or has not begun."""

from __future__ import annotations

from typing import Any

import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.events import CancelAsked, Verdict
from orchestrator.core.job_rules import Halt
from orchestrator.core.states import PENDING, SUCCEEDED, AdoptedAttempt, Phase, RestoredJob, Stop

NOW = Halt(is_now=True)


def test_a_failure_ends_what_runs_at_once_and_each_item_tells_which_failure_it_was() -> None:
    run = CoreDriver([job("a", 0, halt=NOW), job("b", 1)], {"a": 4, "b": 2}, slots=4).open()
    run.succeed("a:0")
    run.fail("a:1")
    assert run.asked_to_end == [("a:2", "cancel", None), ("a:3", "cancel", None), ("b:0", "cancel", None)]
    run.end("a:2", Verdict.CANCELLED)
    run.end("b:0", Verdict.CANCELLED)
    run.succeed("a:3")
    assert run.states_of("a") == ["succeeded", "failed", "cancelled", "succeeded"], "a success that came first stays one"
    assert run.states_of("b") == ["cancelled", "pending"]
    assert run.messages["a:2"] == run.messages["b:0"] == "a:1 failed, and halts the run"
    assert run.result == ("failed", "a:1")


def test_of_several_that_fail_before_they_are_ended_the_first_in_order_is_told() -> None:
    run = CoreDriver([job("a", 0, halt=NOW, attempts=1)], {"a": 3}, slots=3).open()
    run.fail("a:2")
    run.fail("a:0")
    run.end("a:1", Verdict.LOST)
    assert run.states_of("a") == ["failed", "cancelled", "failed"]
    assert [item for item, _, _ in run.asked_to_end] == ["a:0", "a:1"], "nobody is told twice"
    assert run.result == ("failed", "a:0")


def test_what_cleans_up_runs_on_and_starts_in_a_run_that_is_halted_at_once() -> None:
    rules = [
        single("a", 0, halt=NOW),
        single("watch", 1, when_word="always"),
        single("b", 2),
        single("c", 3, needs=(2,), when_word="always"),
    ]
    run = CoreDriver(rules, slots=3).open()
    run.fail("a:0")
    assert [item for item, _, _ in run.asked_to_end] == ["b:0"]
    run.end("b:0", Verdict.CANCELLED)
    run.succeed("c:0", "watch:0")
    assert run.messages["b:0"] == "a failed, and halts the run"
    assert run.result == ("failed", "a:0")


def test_more_failures_than_may_be_end_what_runs_of_their_job_alone() -> None:
    run = CoreDriver([job("a", 0, halt=NOW, max_failures=1), single("b", 1)], {"a": 5}, slots=4).open()
    run.fail("a:0")
    assert not run.asked_to_end
    run.fail("a:1")
    assert [item for item, _, _ in run.asked_to_end] == ["a:2", "a:3", "a:4"]
    for item in ("a:2", "a:3", "a:4"):
        run.end(item, Verdict.CANCELLED)
    assert run.messages["a:2"] == "more of a failed than may"
    run.succeed("b:0")
    assert (run.closed, run.result) == ({"a": Phase.FAILED, "b": Phase.SUCCEEDED}, ("failed", "a:0"))


@pytest.mark.parametrize(("amount", "bound"), [({"count": 3}, 3), ({"percent": 25.0}, 3), ({"percent": 1.0}, 1)])
@pytest.mark.parametrize("is_now", [True, False])
def test_so_many_failures_halt_the_run_and_fewer_do_not(amount: dict[str, Any], bound: int, is_now: bool) -> None:
    run = CoreDriver([job("a", 0, halt=Halt(is_now=is_now, **amount)), single("b", 1)], {"a": 9}, slots=1).open()
    run.fail(*[f"a:{index}" for index in range(bound)])
    assert run.finish is not None, "nothing more starts"
    assert run.started == [f"a:{index}" for index in range(bound)]
    assert run.result == ("failed", "a:0")


def test_failures_that_are_fewer_fail_their_job_and_let_the_others_go_on() -> None:
    rules = [job("a", 0, halt=Halt(is_now=True, count=2)), single("b", 1), single("c", 2, needs=(0,))]
    run = CoreDriver(rules, {"a": 2}).open()
    run.fail("a:0")
    run.succeed_all()
    assert run.closed == {"a": Phase.FAILED, "b": Phase.SUCCEEDED, "c": Phase.SKIPPED}
    assert run.result == ("failed", "a:0")


def test_a_run_that_keeps_going_is_halted_by_no_number_of_failures() -> None:
    run = CoreDriver([job("a", 0, halt=Halt(is_now=True, count=2), keeps_going=True)], {"a": 4}, slots=1).open()
    run.fail("a:0", "a:1", "a:2")
    run.succeed("a:3")
    assert run.result == ("failed", "a:0")


@pytest.mark.parametrize("is_now", [True, False])
def test_the_first_success_of_a_race_is_enough(is_now: bool) -> None:
    rules = [job("a", 0, halt=Halt(is_now=is_now, why="success", count=1)), single("b", 1, needs=(0,))]
    run = CoreDriver(rules, {"a": 6}, slots=3).open()
    run.fail("a:0")
    run.succeed("a:1")
    assert [item for item, _, _ in run.asked_to_end] == (["a:2", "a:3"] if is_now else [])
    words = "a:1 succeeded, which is enough"
    assert (run.states_of("a")[4:], run.messages["a:5"]) == (["skipped", "skipped"], words)
    if is_now:
        run.end("a:2", Verdict.CANCELLED)
        assert run.messages["a:2"] == words
    else:
        run.succeed("a:2")
    # It was lost: nobody wants it any more, so no resume goes on with it.
    run.end("a:3", Verdict.LOST)
    assert (run.state_of("a:3"), run.messages["a:3"]) == ("cancelled", words)
    run.succeed("b:0")
    assert run.result == ("completed", None)


def test_a_race_in_which_too_few_succeed_has_failed() -> None:
    run = CoreDriver([job("a", 0, halt=Halt(is_now=True, why="success", count=2)), single("b", 1)], {"a": 3}).open()
    run.fail("a:0", "a:1")
    run.succeed_all()
    assert (run.closed["a"], run.closed["b"], run.result) == (Phase.FAILED, Phase.SUCCEEDED, ("failed", "a:0"))


@pytest.mark.parametrize(("first", "phase"), [(Verdict.SUCCEEDED, Phase.SUCCEEDED), (Verdict.FAILED, Phase.FAILED)])
def test_when_so_many_are_done_the_others_are_not_wanted_and_a_failure_among_them_counts(first: Verdict, phase: Phase) -> None:
    run = CoreDriver([job("a", 0, halt=Halt(is_now=False, why="done", percent=50.0))], {"a": 4}, slots=1).open()
    run.end("a:0", first)
    run.succeed("a:1")
    assert run.states_of("a")[2:] == ["skipped", "skipped"]
    assert run.messages["a:3"] == "a:0 and 1 more ended, which is enough"
    assert run.closed["a"] is phase


def test_what_waits_for_its_next_attempt_is_cancelled_when_it_is_not_wanted_any_more() -> None:
    run = CoreDriver([job("a", 0, halt=Halt(is_now=False, why="success", count=1), attempts=2)], {"a": 2}).open()
    run.fail("a:0")
    run.succeed("a:1")
    assert run.states_of("a") == ["cancelled", "succeeded"]
    assert run.result == ("completed", None)


def test_a_resume_ends_what_a_halt_was_about_to_end_and_tells_why() -> None:
    past = RestoredJob([PENDING, PENDING], {}, (AdoptedAttempt(index=0, attempt=1, slot=0),))
    run = CoreDriver([job("a", 0, halt=NOW)], {"a": 2}, restored={"a": past})
    run.feed(CancelAsked((run.ref("a:0"),), "a:7 failed, and halts the run"))
    run.open()
    assert run.asked_to_end == [("a:0", "cancel", None)]
    run.end("a:0", Verdict.CANCELLED)
    assert (run.state_of("a:0"), run.messages["a:0"]) == ("cancelled", "a:7 failed, and halts the run")


def test_a_resume_of_a_race_that_was_won_starts_nothing_and_ends_what_still_runs() -> None:
    past = RestoredJob([PENDING, SUCCEEDED, PENDING], {}, (AdoptedAttempt(index=2, attempt=1, slot=0),))
    run = CoreDriver([job("a", 0, halt=Halt(is_now=True, why="success", count=1))], restored={"a": past}).open()
    assert (run.started, [item for item, _, _ in run.asked_to_end]) == ([], ["a:2"])
    run.end("a:2", Verdict.CANCELLED)
    assert run.states_of("a") == ["skipped", "succeeded", "cancelled"]
    assert run.result == ("completed", None)


def test_a_list_that_grows_is_let_go_of_when_it_is_enough() -> None:
    rules = [job("a", 0, halt=Halt(is_now=False, why="success", count=1))]
    run = CoreDriver(rules, list_at_once=False, slots=1).open()
    run.begin_list("a", 2)
    run.succeed("a:0")
    assert run.states_of("a") == ["succeeded", "skipped"]
    assert run.result == ("completed", None)


def test_of_a_list_that_grows_a_share_is_known_at_its_end() -> None:
    run = CoreDriver([job("a", 0, halt=Halt(is_now=True, percent=50.0))], list_at_once=False, slots=1).open()
    run.begin_list("a", 2)
    run.fail("a:0")
    assert list(run.running) == ["a:1"]
    run.end_list("a")
    assert [item for item, _, _ in run.asked_to_end] == ["a:1"]


RACE = job("a", 0, halt=Halt(is_now=True, why="success", count=1))


def test_what_somebody_asks_for_once_more_runs_although_it_is_enough() -> None:
    past = RestoredJob([PENDING, SUCCEEDED, PENDING, PENDING], {0: 1, 2: 1}, wanted_again=frozenset({0, 2}))
    run = CoreDriver([RACE, single("b", 1, needs=(0,))], slots=1, restored={"a": past}).open()
    assert (run.started, run.states_of("a")[3]) == (["a:0"], "skipped")
    run.fail("a:0")
    assert list(run.running) == ["a:2"], "the end of one of them does not give the other up"
    run.fail("a:2")
    assert run.closed["a"] is Phase.SUCCEEDED
    run.succeed("b:0")
    assert run.result == ("completed", None)


def test_what_was_asked_for_once_more_runs_on_after_its_supervisor_was_killed_and_nothing_else_does() -> None:
    adopted = tuple(AdoptedAttempt(index=index, attempt=2, slot=index) for index in (0, 2))
    past = RestoredJob([PENDING, SUCCEEDED, PENDING], {}, adopted, wanted_again=frozenset({0}))
    run = CoreDriver([RACE], slots=3, restored={"a": past}).open()
    assert [item for item, _, _ in run.asked_to_end] == ["a:2"]
    run.end("a:0", Verdict.LOST)
    assert list(run.running) == ["a:2", "a:0"], "it is tried again as ever"
    run.end("a:2", Verdict.CANCELLED)
    run.stop(Stop.PAUSE)
    run.end("a:0", Verdict.LOST)
    assert run.states_of("a") == ["interrupted", "succeeded", "cancelled"]


def test_a_stop_of_the_run_leaves_nothing_to_go_on_with_of_a_race_that_is_won() -> None:
    rules = [job("a", 0, halt=Halt(is_now=False, why="success", count=1))]
    run = CoreDriver(rules, {"a": 3}, slots=3).open()
    run.join("a:2")
    run.succeed("a:0")
    run.stop(Stop.NOW)
    run.end("a:1", Verdict.DRAINED)
    assert run.states_of("a") == ["succeeded", "cancelled", "cancelled"]
    assert run.result == ("completed", None)


def test_what_a_stop_has_interrupted_is_cancelled_when_what_is_let_finish_is_enough() -> None:
    run = CoreDriver([job("a", 0, halt=Halt(is_now=False, why="success", count=1), attempts=2)], {"a": 2}).open()
    run.fail("a:0")
    run.stop(Stop.DRAIN)
    assert run.state_of("a:0") == "interrupted"
    run.succeed("a:1")
    assert run.states_of("a") == ["cancelled", "succeeded"]
    assert run.result == ("completed", None)
