"""A provider that takes no more just now: less at once, later, no attempt used up; and back to full speed when it recovers."""

from __future__ import annotations

import pytest
from drivers.core_driver import CoreDriver, job, single
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.events import Verdict
from orchestrator.core.explanations import why_it_waits
from orchestrator.core.states import PENDING, AdoptedAttempt, RestoredJob
from orchestrator.core.throttle import FIRST_WAIT_SECONDS, LONGEST_TOLD_SECONDS, LONGEST_WAIT_SECONDS, rate_limit

ACME = "acme-1"


def acme(items: int, slots: int = 8, **rules: object) -> CoreDriver:
    """A run of one job whose items all use one account."""
    return CoreDriver([job("a", 0, accounts=(ACME,), **rules)], {"a": items}, slots=slots).open()


def throttle(run: CoreDriver, *items: str, seconds: float | None = None) -> None:
    for item in items:
        run.end(item, Verdict.THROTTLED, seconds=seconds)


def test_a_throttle_halves_what_runs_at_once_and_starts_nothing_until_its_wait_is_over() -> None:
    run = acme(50)
    throttle(run, "a:0")
    assert len(run.running) == 7
    run.succeed("a:1")
    assert len(run.running) == 6, "nothing starts before the wait is over"
    run.pass_time(FIRST_WAIT_SECONDS)
    assert len(run.running) == 6, "and then no more than half of what ran"
    run.succeed("a:2", "a:3", "a:4")
    assert len(run.running) == 4
    assert "a:0" in run.running


def test_all_that_were_in_flight_when_it_came_are_one_throttle() -> None:
    run = acme(50)
    throttle(run, *(f"a:{index}" for index in range(8)))
    assert run.wake() == pytest.approx(FIRST_WAIT_SECONDS)
    run.pass_time_to_next_wake()
    assert list(run.running) == ["a:0", "a:1", "a:2", "a:3"]


def test_a_straggler_of_an_earlier_throttle_changes_nothing_although_the_wait_is_over() -> None:
    run = acme(50, slots=4)
    throttle(run, "a:0")
    run.pass_time(FIRST_WAIT_SECONDS)
    throttle(run, "a:1", "a:2")
    assert list(run.running) == ["a:3", "a:0"], "two at once as before, and no wait"
    run.succeed("a:3")
    assert list(run.running) == ["a:0", "a:1"]


def test_the_wait_doubles_with_each_throttle_up_to_a_bound() -> None:
    run = acme(20, slots=1)
    waits = []
    for number in range(30):
        item = next(iter(run.running))
        throttle(run, item)
        waits.append(run.wake())
        if number % 9 == 8:  # an item is throttled so often only with successes of others in between
            run.cancel(item)
        run.pass_time_to_next_wake()
    assert waits[:10] == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256, 300])
    assert waits[-1] == pytest.approx(LONGEST_WAIT_SECONDS)


def test_the_wait_falls_with_each_success() -> None:
    run = acme(20, slots=1)
    for _ in range(4):
        throttle(run, "a:0")
        run.pass_time_to_next_wake()
    run.succeed("a:0", "a:1")
    throttle(run, "a:2")
    assert run.wake() == pytest.approx(4.0), "8 s were the last wait, 2 are left after two successes"


@pytest.mark.parametrize(
    ("told", "wait"),
    [(None, 1.0), (0.2, 1.0), (-5.0, 1.0), (30.0, 30.0), (9e9, LONGEST_TOLD_SECONDS)],
)
def test_what_the_provider_asks_for_is_honoured_within_reason(told: float | None, wait: float) -> None:
    run = acme(20)
    throttle(run, "a:0", seconds=told)
    assert run.wake() == pytest.approx(wait)


def test_a_straggler_that_is_told_a_longer_time_prolongs_the_wait() -> None:
    run = acme(20)
    throttle(run, "a:0", seconds=5.0)
    throttle(run, "a:1", seconds=30.0)
    throttle(run, "a:2", seconds=2.0)
    assert run.wake() == pytest.approx(30.0)


def test_one_more_runs_after_each_round_of_successes_until_nothing_is_bounded() -> None:
    run = acme(200)
    throttle(run, *list(run.running))
    run.pass_time_to_next_wake()
    seen = []
    for _ in range(4 + 5 + 6 + 7):
        seen.append(len(run.running))
        run.succeed(next(iter(run.running)))
    assert seen == [4] * 4 + [5] * 5 + [6] * 6 + [7] * 7
    assert len(run.running) == 8
    assert run.state.accounts[ACME].bound is None


def test_a_bound_of_the_job_is_all_that_one_has_to_climb_back_to() -> None:
    run = acme(200, slots=16, max_concurrency=4)
    throttle(run, *list(run.running))
    run.pass_time_to_next_wake()
    assert why_it_waits(run.state, (0, 9), run.now) == (f"it waits for the rate limit of {ACME}: 2 of 4 at once, and so many run")
    for _ in range(2 + 3):
        run.succeed(next(iter(run.running)))
    assert run.state.accounts[ACME].bound is None


def test_an_item_that_is_throttled_ten_times_in_a_row_is_failed_and_has_used_no_attempt() -> None:
    run = CoreDriver([single("a", 0, accounts=(ACME,), attempts=1)]).open()
    for number in range(1, 11):
        assert run.running["a:0"][0] == number
        throttle(run, "a:0")
        if number < 10:
            run.pass_time_to_next_wake()
    assert run.result == ("failed", "a:0")


def test_a_failure_of_the_item_itself_begins_the_count_anew() -> None:
    run = CoreDriver([single("a", 0, accounts=(ACME,), attempts=2, retry_delay=0.0)]).open()
    for verdict in [Verdict.THROTTLED] * 9 + [Verdict.FAILED] + [Verdict.THROTTLED] * 9:
        run.end("a:0", verdict)
        if not run.running:
            run.pass_time_to_next_wake()
    run.succeed("a:0")
    assert run.result == ("completed", None)


def test_an_account_that_is_throttled_holds_back_all_of_its_jobs_and_no_other() -> None:
    rules = [job("a", 0, accounts=(ACME,)), job("b", 1, accounts=(ACME,)), job("c", 2, accounts=("other",)), job("d", 3)]
    run = CoreDriver(rules, {"a": 1, "b": 1, "c": 1, "d": 1}, slots=1).open()
    throttle(run, "a:0")
    assert list(run.running) == ["c:0"]
    run.succeed("c:0", "d:0")
    assert not run.running
    run.pass_time_to_next_wake()
    run.succeed("a:0", "b:0")
    assert run.result == ("completed", None)


def test_an_item_of_no_known_account_waits_alone() -> None:
    run = CoreDriver([job("a", 0)], {"a": 3}, slots=1).open()
    throttle(run, "a:0")
    assert list(run.running) == ["a:1"]
    run.end("a:1", Verdict.PARKED, seconds=7.0)
    assert list(run.running) == ["a:2"]
    run.succeed("a:2")
    run.pass_time(FIRST_WAIT_SECONDS)
    run.succeed("a:0")
    assert run.wake() == pytest.approx(6.0)


def test_items_that_find_out_their_account_at_their_start_wait_for_it_alone_and_are_asked_once() -> None:
    run = CoreDriver([job("a", 0)], {"a": 6}, slots=3).open()
    for item, account in (("a:0", "x"), ("a:1", "y"), ("a:2", "x")):
        run.tell_account(item, account)
    throttle(run, "a:0")  # x: one at once, after a second
    assert list(run.running) == ["a:1", "a:2", "a:3"]
    run.hold("a:3", rate_limit("x"), seconds=0.0, account="x")
    run.tell_account("a:4", "y")
    assert list(run.running) == ["a:1", "a:2", "a:4"]
    run.pass_time(FIRST_WAIT_SECONDS)
    run.succeed("a:1")
    assert list(run.running) == ["a:2", "a:4", "a:5"], "a:2 is all that may run of x: a:0 and a:3 are not even asked"
    run.succeed("a:2")
    assert list(run.running) == ["a:4", "a:5", "a:0"]
    run.tell_account("a:0", "x")
    run.succeed("a:4")
    words = "it waits for the rate limit of x: 1 of 3 at once, and so many run"
    assert why_it_waits(run.state, (0, 3), run.now) == words
    run.succeed("a:5", "a:0")
    run.succeed("a:3")
    assert run.result == ("completed", None)


def test_an_adopted_attempt_counts_for_its_account() -> None:
    past = RestoredJob([PENDING] * 4, {}, (AdoptedAttempt(0, 1, 0, ACME),))
    run = CoreDriver([job("a", 0, accounts=(ACME,))], {"a": 4}, slots=4, restored={"a": past}).open()
    assert len(run.running) == 4
    throttle(run, "a:0", "a:1", "a:2", "a:3")
    run.pass_time_to_next_wake()
    assert len(run.running) == 2


def test_a_run_that_waits_for_a_rate_limit_can_be_stopped_at_once() -> None:
    run = acme(3, slots=1)
    throttle(run, "a:0", seconds=600.0)
    run.cancel()
    assert run.result == ("cancelled", None)


def test_why_tells_of_the_rate_limit() -> None:
    run = acme(50)
    throttle(run, "a:0", seconds=12.0)
    words = f"it waits for the rate limit of {ACME}: 4 of 8 at once, next start in 12 s"
    assert why_it_waits(run.state, (0, 0), run.now) == words
    assert why_it_waits(run.state, (0, 40), run.now) == words
    assert why_it_waits(run.state, (0, 1), run.now) == "", "it runs"


@given(st.lists(st.sampled_from([Verdict.SUCCEEDED, Verdict.SUCCEEDED, Verdict.THROTTLED]), max_size=60), st.integers(1, 6))
def test_however_it_goes_something_runs_or_a_wait_of_five_minutes_at_most_ends_soon(verdicts: list[Verdict], slots: int) -> None:
    run = acme(1000, slots=slots, continue_on_error=True)
    for verdict in verdicts:
        run.end(next(iter(run.running)), verdict)
        if not run.running:
            assert 0 < (run.wake() or 0) <= LONGEST_WAIT_SECONDS
            run.pass_time_to_next_wake()
        assert run.running
