"""Attempts: how many, when, and what does not use one up."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.events import Verdict
from orchestrator.core.job_rules import JobRules
from orchestrator.core.scheduling import retry_delay
from orchestrator.core.states import JobState


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_attempts_are_so_many_in_all(attempts: int) -> None:
    run = CoreDriver([single("a", 0, attempts=attempts)]).open()
    for number in range(1, attempts + 1):
        assert run.running["a:0"][0] == number
        run.fail("a:0")
        if number < attempts:
            assert run.ended["a:0"] == "waiting"
            run.pass_time_to_next_wake()
    assert run.started == ["a:0"] * attempts
    assert run.result == ("failed", "a:0")


def test_the_wait_grows_up_to_its_bound() -> None:
    rules = single("a", 0, attempts=6, retry_delay=10.0, retry_backoff=2.0, retry_max_delay=60.0)
    run = CoreDriver([rules]).open()
    for delay in (10.0, 20.0, 40.0, 60.0, 60.0):
        run.fail("a:0")
        assert run.wake() == pytest.approx(delay)
        run.pass_time(delay - 0.001)
        assert not run.running
        run.pass_time(0.001)
        assert list(run.running) == ["a:0"]


def test_jitter_stays_within_its_fraction_and_differs_from_item_to_item() -> None:
    job_state = JobState(rules=JobRules(id="a", order=0, retry_delay=10.0, retry_jitter=0.1))
    delays = [retry_delay(job_state, index, 1) for index in range(200)]
    assert all(9.0 <= delay <= 11.0 for delay in delays)
    assert max(delays) - min(delays) > 1.0
    assert delays == [retry_delay(job_state, index, 1) for index in range(200)]


def test_a_wait_without_delay_starts_again_at_once() -> None:
    run = CoreDriver([single("a", 0, attempts=2, retry_delay=0.0)]).open()
    run.fail("a:0")
    assert run.started == ["a:0", "a:0"]


def test_a_backoff_holds_neither_a_slot_nor_a_place_in_the_window() -> None:
    run = CoreDriver([job("a", 0, attempts=2, max_concurrency=1)], {"a": 3}, slots=1).open()
    run.fail("a:0")
    assert list(run.running) == ["a:1"]


def test_a_retry_that_is_due_comes_before_later_items_and_does_not_spin_while_it_has_no_slot() -> None:
    run = CoreDriver([job("a", 0, attempts=2, retry_delay=1.0)], {"a": 3}, slots=1).open()
    run.fail("a:0")
    run.pass_time(5.0)
    assert list(run.running) == ["a:1"]
    assert run.wake() is None, "it waits for a slot, not for a time"
    run.succeed("a:1")
    assert run.running == {"a:0": (2, 0)}


def test_a_retry_that_is_due_waits_for_its_window_without_spinning() -> None:
    run = CoreDriver([job("a", 0, attempts=2, retry_delay=1.0, max_concurrency=1)], {"a": 2}, slots=4).open()
    run.fail("a:0")
    run.pass_time(5.0)
    assert list(run.running) == ["a:1"]
    assert run.wake() is None


def test_hopeless_is_never_tried_again() -> None:
    run = CoreDriver([single("a", 0, attempts=5)]).open()
    run.end("a:0", Verdict.HOPELESS)
    assert run.result == ("failed", "a:0")


def test_a_lost_worker_uses_no_attempt_up_and_its_item_runs_again_at_once() -> None:
    run = CoreDriver([single("a", 0, attempts=1)]).open()
    run.end("a:0", Verdict.LOST)
    run.end("a:0", Verdict.LOST)
    assert run.running["a:0"][0] == 3
    run.succeed("a:0")
    assert run.result == ("completed", None)


def test_three_lost_workers_in_a_row_fail_the_item() -> None:
    run = CoreDriver([single("a", 0, attempts=9)]).open()
    for _ in range(3):
        run.end("a:0", Verdict.LOST)
    assert run.result == ("failed", "a:0")


def test_an_attempt_that_ends_by_itself_begins_the_count_of_lost_workers_anew() -> None:
    run = CoreDriver([single("a", 0, attempts=2, retry_delay=0.0)]).open()
    for verdict in (Verdict.LOST, Verdict.LOST, Verdict.FAILED, Verdict.LOST, Verdict.LOST, Verdict.SUCCEEDED):
        run.end("a:0", verdict)
    assert len(run.started) == 6
    assert run.result == ("completed", None)


def test_an_attempt_that_an_earlier_supervisor_drained_runs_again() -> None:
    run = CoreDriver([single("a", 0)]).open()
    run.end("a:0", Verdict.DRAINED)
    assert run.running["a:0"][0] == 2
    run.succeed("a:0")
    assert run.result == ("completed", None)


def test_an_answer_is_corrected_once_in_an_attempt_that_counts_for_none_and_at_once() -> None:
    run = CoreDriver([single("a", 0, attempts=2, retry_delay=10.0)]).open()
    run.end("a:0", Verdict.CORRECTABLE)
    assert run.running["a:0"][0] == 2
    run.end("a:0", Verdict.CORRECTABLE)
    assert run.wake() == pytest.approx(10.0), "the second time it is a failure like any other"
    run.pass_time_to_next_wake()
    run.end("a:0", Verdict.CORRECTABLE)
    assert run.started == ["a:0"] * 3
    assert run.result == ("failed", "a:0")
