"""Pause, drain, cancel, the run's timeout, and other slots while it runs."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.events import Declined, Verdict
from orchestrator.core.states import PENDING, AdoptedAttempt, RestoredJob, Stop
from orchestrator.core.stopping import NOW_GRACE_SECONDS


def test_a_drain_starts_nothing_and_lets_what_runs_finish() -> None:
    run = CoreDriver([job("a", 0), job("b", 1, needs=(0,))], {"a": 4}, slots=2).open()
    run.stop(Stop.DRAIN)
    run.succeed("a:0")
    assert not run.asked_to_end
    run.succeed("a:1")
    assert run.states_of("a") == ["succeeded", "succeeded", "pending", "pending"]
    assert run.result == ("interrupted", None)


def test_when_the_drain_is_over_what_runs_is_ended_with_its_full_grace() -> None:
    run = CoreDriver([job("a", 0)], {"a": 3}, slots=2, drain_timeout=60.0).open()
    run.pass_time(5.0)
    run.stop(Stop.DRAIN)
    assert run.wake() == 60.0
    run.pass_time(59.0)
    assert not run.asked_to_end
    run.pass_time(1.0)
    assert run.asked_to_end == [("a:0", "drain", None), ("a:1", "drain", None)]
    run.end("a:0", Verdict.DRAINED)
    run.succeed("a:1")
    assert run.states_of("a") == ["interrupted", "succeeded", "pending"]
    assert run.result == ("interrupted", None)


def test_the_second_and_third_signal_end_what_runs_ever_sooner() -> None:
    run = CoreDriver([single("a", 0)]).open()
    run.stop(Stop.DRAIN)
    run.stop(Stop.NOW)
    run.stop(Stop.KILL)
    assert [grace for _, _, grace in run.asked_to_end] == [NOW_GRACE_SECONDS, 0.0]
    run.end("a:0", Verdict.DRAINED)
    assert run.result == ("interrupted", None)


def test_a_weaker_stop_after_a_stronger_one_changes_nothing() -> None:
    run = CoreDriver([single("a", 0)]).open()
    run.stop(Stop.NOW)
    run.stop(Stop.DRAIN)
    run.stop(Stop.NOW)
    assert len(run.asked_to_end) == 1
    assert run.wake() is None


def test_a_drain_interrupts_what_waits_for_its_backoff() -> None:
    run = CoreDriver([job("a", 0, attempts=3)], {"a": 1}).open()
    run.fail("a:0")
    run.stop(Stop.DRAIN)
    assert run.ended["a:0"] == "interrupted"
    assert run.result == ("interrupted", None)


@pytest.mark.parametrize(
    ("attempts", "verdict", "state"),
    [
        (2, Verdict.FAILED, "interrupted"),
        (1, Verdict.FAILED, "failed"),
        (2, Verdict.LOST, "interrupted"),
        (2, Verdict.HOPELESS, "failed"),
        (2, Verdict.SUCCEEDED, "succeeded"),
    ],
)
def test_during_a_drain_an_attempt_that_ends_by_itself_has_its_verdict_but_no_retry(
    attempts: int, verdict: Verdict, state: str
) -> None:
    run = CoreDriver([job("a", 0, attempts=attempts), job("b", 1)]).open()
    run.stop(Stop.DRAIN)
    run.end("a:0", verdict)
    assert run.ended["a:0"] == state
    run.succeed("b:0")
    assert run.finish is not None


def test_a_drain_runs_no_cleanup_job_it_runs_at_the_resume() -> None:
    rules = [job("a", 0), single("clean", 1, needs=(0,), when_word="always")]
    run = CoreDriver(rules, {"a": 2}, slots=1).open()
    run.stop(Stop.DRAIN)
    run.succeed("a:0")
    assert run.started == ["a:0"]
    assert run.result == ("interrupted", None)


def test_a_drain_waits_for_a_list_that_is_being_made_and_for_durability() -> None:
    run = CoreDriver([job("a", 0), job("b", 1, needs=(0,))], list_at_once=False, durable_at_once=False).open()
    run.stop(Stop.DRAIN)
    assert run.finish is None
    run.list_items("a")
    assert run.result == ("interrupted", None)

    run = CoreDriver([job("a", 0), job("b", 1, needs=(0,))], durable_at_once=False).open()
    run.stop(Stop.DRAIN)
    run.succeed("a:0")
    assert run.finish is None
    run.make_durable()
    assert run.result == ("interrupted", None)


def test_a_drain_before_the_run_is_open_starts_nothing() -> None:
    run = CoreDriver([job("a", 0)], {"a": 2})
    run.stop(Stop.DRAIN)
    run.open()
    assert not run.started
    assert run.result == ("interrupted", None)


def test_cancelling_the_run_ends_what_runs_and_what_waits() -> None:
    run = CoreDriver([job("a", 0, attempts=2), job("b", 1, needs=(0,))], {"a": 4}, slots=2).open()
    run.fail("a:0")
    run.cancel()
    assert run.ended["a:0"] == "cancelled"
    assert run.asked_to_end == [("a:1", "cancel", None), ("a:2", "cancel", None)]
    run.end("a:1", Verdict.CANCELLED)
    run.end("a:2", Verdict.FAILED)
    assert run.states_of("a") == ["cancelled", "cancelled", "cancelled", "pending"]
    assert run.result == ("cancelled", None)


def test_a_run_that_is_stopped_is_interrupted_also_if_something_fails_meanwhile() -> None:
    run = CoreDriver([job("a", 0)], {"a": 3}, slots=2).open()
    run.stop(Stop.DRAIN)
    run.fail("a:0")
    run.succeed("a:1")
    assert run.states_of("a") == ["failed", "succeeded", "pending"]
    assert run.result == ("interrupted", "a:0")


def test_cancelled_items_end_as_cancelled_and_the_others_go_on() -> None:
    run = CoreDriver([job("a", 0, attempts=2), single("b", 1, needs=(0,))], {"a": 4}, slots=1).open()
    run.fail("a:0")
    run.cancel("a:0", "a:1", "a:2")
    assert run.asked_to_end == [("a:1", "cancel", None)]
    assert (run.ended["a:0"], run.ended["a:2"]) == ("cancelled", "cancelled")
    run.end("a:1", Verdict.CANCELLED)
    run.succeed("a:3")
    assert run.started == ["a:0", "a:1", "a:3"]
    assert run.ended["b:0"] == "skipped"
    assert run.result[0] == "failed"


def test_a_cancel_that_crosses_a_held_slot_is_not_lost() -> None:
    run = CoreDriver([job("a", 0)], {"a": 2}, slots=1).open()
    run.cancel("a:0")
    run.decline("a:0", Declined.SLOT_HELD)
    assert run.ended["a:0"] == "cancelled"
    run.free_slot(0)
    assert list(run.running) == ["a:1"]


def test_a_stop_that_crosses_a_held_slot_starts_nothing() -> None:
    run = CoreDriver([job("a", 0)], {"a": 2}, slots=1).open()
    run.stop(Stop.DRAIN)
    run.decline("a:0", Declined.SLOT_HELD)
    assert run.result == ("interrupted", None)


def test_cancelling_items_that_have_ended_or_do_not_exist_changes_nothing() -> None:
    run = CoreDriver([job("a", 0), job("b", 1, needs=(0,))], {"a": 2}, slots=1).open()
    run.succeed("a:0")
    run.cancel("a:0", "a:7", "b:0")
    run.succeed_all()
    assert run.result == ("completed", None)


def test_the_runs_timeout_ends_what_runs_and_the_run_is_failed() -> None:
    run = CoreDriver([job("a", 0)], {"a": 2}, slots=1, timeout=3600.0).open()
    assert run.wake() == 3600.0
    run.pass_time_to_next_wake()
    assert run.asked_to_end == [("a:0", "drain", None)]
    run.end("a:0", Verdict.DRAINED)
    assert run.states_of("a") == ["interrupted", "pending"]
    assert run.result == ("failed", None)


def test_a_run_whose_last_item_succeeds_as_its_timeout_passes_is_completed() -> None:
    run = CoreDriver([single("a", 0)], timeout=60.0).open()
    run.now += 61.0
    run.succeed("a:0")
    assert run.result == ("completed", None)


@pytest.mark.parametrize("how", [Stop.NOW, Stop.KILL])
def test_the_runs_timeout_does_not_lengthen_the_grace_of_a_harder_stop(how: Stop) -> None:
    run = CoreDriver([single("a", 0)], timeout=60.0).open()
    run.stop(how)
    asked = list(run.asked_to_end)
    run.pass_time(60.0)
    assert run.asked_to_end == asked


def test_the_runs_timeout_shortens_a_drain() -> None:
    run = CoreDriver([single("a", 0)], timeout=60.0, drain_timeout=300.0).open()
    run.stop(Stop.DRAIN)
    run.pass_time(60.0)
    assert run.asked_to_end == [("a:0", "drain", None)]


def test_a_job_that_is_cancelled_before_its_turn_never_starts() -> None:
    run = CoreDriver([single("a", 0), single("b", 1, needs=(0,)), single("c", 2, needs=(1,))]).open()
    run.cancel("b:0")
    run.cancel("b:0")
    assert run.ended["b:0"] == "cancelled"
    run.succeed("a:0")
    assert run.started == ["a:0"]
    assert run.states_of("c") == ["skipped"]
    assert run.result == ("failed", "b:0"), "that is why it is not complete"


def test_a_job_that_is_cancelled_while_it_is_listed_never_starts() -> None:
    run = CoreDriver([single("a", 0)], list_at_once=False).open()
    run.cancel("a:0")
    run.list_items("a")
    assert run.started == []
    assert run.states_of("a") == ["cancelled"]


def test_a_cancel_of_a_job_before_its_turn_is_recorded_though_the_run_is_stopped() -> None:
    run = CoreDriver([single("a", 0), single("b", 1, needs=(0,))]).open()
    run.cancel("b:0")
    run.stop(Stop.DRAIN)
    run.succeed("a:0")
    assert run.states_of("b") == ["cancelled"]


def test_a_pause_starts_nothing_and_gives_what_runs_all_the_time_it_takes() -> None:
    run = CoreDriver([job("a", 0), job("b", 1, needs=(0,))], {"a": 3}, slots=2, drain_timeout=60.0).open()
    run.stop(Stop.PAUSE)
    assert run.wake() is None, "no time ends what runs"
    run.pass_time(100_000.0)
    assert not run.asked_to_end
    run.succeed("a:0", "a:1")
    assert run.states_of("a") == ["succeeded", "succeeded", "pending"]
    assert run.result == ("paused", None)


def test_a_pause_interrupts_what_waits_for_its_backoff() -> None:
    run = CoreDriver([job("a", 0, attempts=3)], {"a": 1}).open()
    run.fail("a:0")
    run.stop(Stop.PAUSE)
    assert run.ended["a:0"] == "interrupted"
    assert run.result == ("paused", None)


def test_a_run_whose_last_items_end_while_it_is_paused_has_its_own_end() -> None:
    run = CoreDriver([single("a", 0), single("b", 1, continue_on_error=True)]).open()
    run.stop(Stop.PAUSE)
    run.succeed("a:0")
    run.fail("b:0")
    assert run.result == ("failed", "b:0")


def test_a_paused_run_is_paused_also_if_something_fails_meanwhile() -> None:
    run = CoreDriver([job("a", 0)], {"a": 3}, slots=2).open()
    run.stop(Stop.PAUSE)
    run.fail("a:0")
    run.succeed("a:1")
    assert run.result == ("paused", "a:0")


def test_a_drain_after_a_pause_gives_what_runs_its_time_from_then_on() -> None:
    run = CoreDriver([job("a", 0)], {"a": 3}, slots=2, drain_timeout=60.0).open()
    run.stop(Stop.PAUSE)
    run.pass_time(500.0)
    run.stop(Stop.DRAIN)
    assert run.wake() == 60.0
    run.pass_time_to_next_wake()
    assert run.asked_to_end == [("a:0", "drain", None), ("a:1", "drain", None)]
    run.end("a:0", Verdict.DRAINED)
    run.end("a:1", Verdict.DRAINED)
    assert run.result == ("interrupted", None)


def test_a_pause_after_a_drain_changes_nothing() -> None:
    run = CoreDriver([job("a", 0)], {"a": 2}, slots=1, drain_timeout=60.0).open()
    run.stop(Stop.DRAIN)
    run.stop(Stop.PAUSE)
    assert run.wake() == 60.0
    run.succeed("a:0")
    assert run.result == ("interrupted", None)


def test_a_paused_run_may_be_cancelled() -> None:
    run = CoreDriver([job("a", 0)], {"a": 2}, slots=1).open()
    run.stop(Stop.PAUSE)
    run.cancel()
    run.end("a:0", Verdict.CANCELLED)
    assert run.result == ("cancelled", None)


def test_the_runs_timeout_ends_what_runs_of_a_paused_run() -> None:
    run = CoreDriver([job("a", 0)], {"a": 2}, slots=1, timeout=60.0).open()
    run.stop(Stop.PAUSE)
    assert run.wake() == 60.0
    run.pass_time_to_next_wake()
    assert run.asked_to_end == [("a:0", "drain", None)]
    run.end("a:0", Verdict.DRAINED)
    assert run.result == ("failed", None)


def test_more_slots_are_filled_at_once() -> None:
    run = CoreDriver([job("a", 0)], {"a": 9}, slots=1).open()
    run.set_slots(3)
    assert run.running == {"a:0": (1, 0), "a:1": (1, 1), "a:2": (1, 2)}


def test_fewer_slots_end_nothing_and_nothing_starts_until_fewer_run() -> None:
    run = CoreDriver([job("a", 0)], {"a": 9}, slots=4).open()
    run.set_slots(2)
    assert not run.asked_to_end
    run.succeed("a:0", "a:2")
    assert list(run.running) == ["a:1", "a:3"], "two run: one of them in a slot that is gone with it"
    run.succeed("a:3")
    assert run.running == {"a:1": (1, 1), "a:4": (1, 0)}
    run.succeed_all()
    assert run.result == ("completed", None)


def test_slots_may_be_set_down_and_up_while_the_same_item_runs() -> None:
    run = CoreDriver([job("a", 0)], {"a": 9}, slots=3).open()
    run.set_slots(1)
    run.set_slots(4)
    assert run.running == {"a:0": (1, 0), "a:1": (1, 1), "a:2": (1, 2), "a:3": (1, 3)}
    run.set_slots(1)
    run.succeed("a:0", "a:1", "a:2")
    assert list(run.running) == ["a:3"]
    run.set_slots(2)
    assert run.running == {"a:3": (1, 3), "a:4": (1, 0)}


def test_a_held_slot_stays_set_aside_whatever_the_slots_are_set_to() -> None:
    run = CoreDriver([job("a", 0)], {"a": 9}, slots=2).open()
    run.decline("a:1", Declined.SLOT_HELD)
    run.set_slots(1)
    run.set_slots(3)
    assert run.running == {"a:0": (1, 0), "a:1": (1, 2)}
    run.free_slot(1)
    assert run.running["a:2"] == (1, 1)


def test_a_held_slot_that_is_freed_after_the_slots_were_set_down_is_gone() -> None:
    run = CoreDriver([job("a", 0)], {"a": 9}, slots=2).open()
    run.decline("a:1", Declined.SLOT_HELD)
    run.set_slots(1)
    run.free_slot(1)
    assert list(run.running) == ["a:0"]
    run.set_slots(2)
    assert run.running == {"a:0": (1, 0), "a:1": (1, 1)}


def test_adopted_attempts_beyond_the_slots_count_when_they_are_set() -> None:
    adopted = tuple(AdoptedAttempt(index, 1, 5 + index) for index in range(3))
    past = {"a": RestoredJob([PENDING] * 9, dict.fromkeys(range(3), 1), adopted)}
    run = CoreDriver([job("a", 0)], slots=2, restored=past).open()
    assert not run.started, "three run already"
    run.set_slots(4)
    assert run.started == ["a:3"]
    run.set_slots(6)
    assert run.running["a:4"] == (1, 1)
    assert run.running["a:5"] == (1, 2), "slot 5 is taken; it became one of the run's own"
    run.set_slots(7)
    run.succeed("a:0")
    run.succeed_all()
    assert run.result == ("completed", None)


@pytest.mark.parametrize("how", [Stop.PAUSE, Stop.DRAIN])
def test_more_slots_start_nothing_in_a_run_that_is_stopped(how: Stop) -> None:
    run = CoreDriver([job("a", 0)], {"a": 9}, slots=1).open()
    run.stop(how)
    run.set_slots(4)
    assert list(run.running) == ["a:0"]
