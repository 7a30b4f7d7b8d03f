"""A usage limit that is reached: the account is parked until its reset, one attempt tries, then all go on; or another account."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job, single

from orchestrator.core.events import Declined, Verdict
from orchestrator.core.explanations import limits_waited_for, waiting_counts, why_it_waits
from orchestrator.core.parking import DEFAULT_PARK_SECONDS, trial, usage_limit
from orchestrator.core.states import Stop

X, Y = "acme-1", "bolt-2"


def park(run: CoreDriver, *items: str, seconds: float | None = 60.0) -> None:
    for item in items:
        run.end(item, Verdict.PARKED, seconds=seconds)


def test_a_parked_account_starts_nothing_until_its_reset_and_no_attempt_is_used_up() -> None:
    run = CoreDriver([job("a", 0, accounts=(X,), attempts=1), job("b", 1)], {"a": 3, "b": 1}, slots=2).open()
    park(run, "a:0", "a:1")
    assert list(run.running) == ["b:0"], "who needs no account goes on"
    run.succeed("b:0")
    assert run.wake() == pytest.approx(60.0)
    run.pass_time_to_next_wake()
    assert list(run.running) == ["a:0", "a:1"]
    run.succeed("a:0", "a:1", "a:2")
    assert run.result == ("completed", None)


def test_an_unknown_reset_is_taken_to_be_half_an_hour_away() -> None:
    run = CoreDriver([single("a", 0, accounts=(X,))]).open()
    park(run, "a:0", seconds=None)
    assert run.wake() == pytest.approx(DEFAULT_PARK_SECONDS)


def test_while_one_attempt_tries_whether_the_limit_is_over_all_others_wait_for_it() -> None:
    run = CoreDriver([job("a", 0, accounts=(X,))], {"a": 5}, slots=4).open()
    park(run, "a:0", "a:1", "a:2", "a:3")
    run.pass_time_to_next_wake()
    for item in ("a:1", "a:2", "a:3"):
        run.hold(item, trial(X), account=X)
    assert list(run.running) == ["a:0"]
    assert run.wake() is None, "it is told when the trial is over"
    assert why_it_waits(run.state, (0, 4), run.now) == (
        f"it waits for another attempt to find out whether the usage limit of {X} is over"
    )
    run.succeed("a:0")
    assert not run.running
    run.free_resource(trial(X))
    assert list(run.running) == ["a:1", "a:2", "a:3", "a:4"]


def test_a_limit_that_somebody_takes_back_by_hand_is_over_at_once() -> None:
    run = CoreDriver([single("a", 0, accounts=(X,))]).open()
    park(run, "a:0", seconds=9999.0)
    assert why_it_waits(run.state, (0, 0), run.now) == (f"it waits for the usage limit of {X} to be over; tried again in 167 min")
    run.free_resource(usage_limit(X))
    assert list(run.running) == ["a:0"]


def test_with_a_second_account_the_first_that_is_not_parked_is_taken() -> None:
    run = CoreDriver([job("a", 0, accounts=(X, Y))], {"a": 9}, slots=2).open()
    assert run.accounts == {"a:0": X, "a:1": X}
    park(run, "a:0")
    assert run.accounts == {"a:1": X, "a:0": Y}, "it goes on with the other at once"
    park(run, "a:0", seconds=30.0)
    assert list(run.running) == ["a:1"]
    words = f"it waits for the usage limit of {Y} or {X} to be over; tried again in 30 s"
    assert why_it_waits(run.state, (0, 2), run.now) == words
    assert limits_waited_for(run.state, (0, 2)) == [Y, X]
    assert run.wake() == pytest.approx(30.0), "with both parked, until the first reset"
    run.pass_time_to_next_wake()
    assert run.accounts == {"a:1": X, "a:0": Y}
    run.pass_time(30.0)
    run.succeed("a:0")
    assert run.accounts["a:2"] == X, "and the first one again as soon as it may be"


def test_while_the_first_account_is_tried_the_second_is_used() -> None:
    run = CoreDriver([job("a", 0, accounts=(X, Y))], {"a": 9}, slots=2).open()
    run.hold("a:1", trial(X), account=X)
    assert run.accounts == {"a:0": X, "a:1": Y}


@pytest.mark.parametrize("is_told_at_start", [False, True])
def test_who_is_to_pause_pauses_the_run_and_what_runs_may_finish(is_told_at_start: bool) -> None:
    run = CoreDriver([job("a", 0, accounts=(X,), on_usage_limit="pause")], {"a": 5}, slots=2).open()
    if not is_told_at_start:
        park(run, "a:0")
        assert list(run.running) == ["a:1", "a:0"], "who starts it finds out that there still is a limit"
    run.hold("a:0", usage_limit(X), seconds=60.0, account=X)
    assert run.state.stop is Stop.PAUSE
    assert list(run.running) == ["a:1"]
    run.succeed("a:1")
    assert run.result == ("paused", None)
    assert run.finish is not None
    assert run.finish.reason == usage_limit(X)
    assert run.states_of("a")[:2] == ["interrupted", "succeeded"]


def test_who_was_told_to_pause_before_a_limit_was_met_does_not_pause_for_that() -> None:
    run = CoreDriver([job("a", 0, accounts=(X,), on_usage_limit="pause")], {"a": 5}, slots=2).open()
    run.stop(Stop.PAUSE)
    run.hold("a:0", usage_limit(X), seconds=60.0, account=X)
    run.succeed("a:1")
    assert run.result == ("paused", None)
    assert run.finish is not None
    assert run.finish.reason == ""


def test_who_is_to_fail_is_asked_item_by_item_and_fails_without_an_attempt() -> None:
    run = CoreDriver([job("a", 0, accounts=(X,), on_usage_limit="fail", continue_on_error=True)], {"a": 3}, slots=1).open()
    park(run, "a:0")
    for item in ("a:0", "a:1", "a:2"):
        assert list(run.running) == [item]
        run.decline(item, Declined.REFUSED)
    assert run.result == ("failed", "a:0")


def test_an_item_that_meets_a_limit_ten_times_in_a_row_is_failed() -> None:
    run = CoreDriver([single("a", 0, accounts=(X,))]).open()
    for number in range(10):
        park(run, "a:0")
        if number < 9:
            run.pass_time_to_next_wake()
    assert run.result == ("failed", "a:0")


def test_items_that_find_their_account_at_their_start_are_asked_again_only_when_it_may_be_had() -> None:
    run = CoreDriver([job("a", 0)], {"a": 30}, slots=2).open()
    run.tell_account("a:0", X)
    run.tell_account("a:1", X)
    park(run, "a:0")
    asked = 0
    while len(run.running) > 1:
        item = next(item for item in run.running if item != "a:1")
        run.hold(item, usage_limit(X), seconds=60.0, account=X)
        asked += 1
    assert asked == 29, "each once"
    assert waiting_counts(run.state) == {"a": 29}
    run.pass_time(59.0)
    assert list(run.running) == ["a:1"]
    run.pass_time(1.0)
    assert list(run.running) == ["a:1", "a:0"]


def test_what_waits_for_an_account_may_find_another_when_that_is_parked() -> None:
    run = CoreDriver([job("a", 0)], {"a": 2}, slots=2).open()
    run.tell_account("a:0", X)
    run.tell_account("a:1", X)
    run.end("a:0", Verdict.THROTTLED, seconds=500.0)
    assert list(run.running) == ["a:1"]
    park(run, "a:1", seconds=1000.0)
    assert sorted(run.running) == ["a:0", "a:1"], "each looks for an account anew"
    run.tell_account("a:0", Y)
    run.tell_account("a:1", Y)
    run.succeed("a:0", "a:1")
    assert run.result == ("completed", None)


@pytest.mark.parametrize("how", [Stop.PAUSE, Stop.DRAIN, Stop.NOW])
@pytest.mark.parametrize("finds_out", [False, True])
def test_a_run_that_waits_for_a_reset_stops_at_once(how: Stop, finds_out: bool) -> None:
    run = CoreDriver([job("a", 0, accounts=() if finds_out else (X,))], {"a": 4}, slots=1).open()
    if finds_out:
        for item in ("a:0", "a:1", "a:2", "a:3"):
            run.hold(item, usage_limit(X), seconds=5000.0, account=X)
    else:
        park(run, "a:0", seconds=5000.0)
    assert not run.running
    run.stop(how)
    assert run.result[0] == ("paused" if how is Stop.PAUSE else "interrupted")


def test_one_item_that_waits_for_a_reset_can_be_cancelled() -> None:
    run = CoreDriver([job("a", 0)], {"a": 2}, slots=1).open()
    run.hold("a:0", usage_limit(X), seconds=5000.0, account=X)
    run.hold("a:1", usage_limit(X), seconds=5000.0, account=X)
    run.cancel("a:0")
    run.free_resource(usage_limit(X))
    assert list(run.running) == ["a:1"]
    run.succeed("a:1")
    assert run.result == ("failed", "a:0")
