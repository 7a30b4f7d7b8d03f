"""What an item is told about work that another run does, or has done."""

from __future__ import annotations

import time
from typing import Any

import pytest
from drivers.token_driver import FAILED, HOUR, ITEM, DeskRuns, granted, kinds, outcome

from orchestrator.shared.tokens.answers import Granted, Refused, RefusedAll, Shared, SharedWith, TryAgain, Unregistered
from orchestrator.store.records import Status
from orchestrator.workers.protocol import Outcome


@pytest.mark.parametrize(("verdict", "is_success"), [(outcome(), True), (FAILED, False)])
def test_a_joiner_of_another_run_shares_what_was_published(runs: DeskRuns, verdict: Outcome, is_success: bool) -> None:
    run, other, late = runs("a"), runs("b"), runs("c")
    run.takes(0)
    other.joins(0)
    run.ends(0, verdict)
    assert other.hears() == [SharedWith((ITEM,), verdict, is_success, "a/port:0")]
    assert other.kept == [ITEM]
    assert isinstance(late.ask(0, token_ttl=HOUR), Shared if is_success else Granted), "a failure stands for nothing later on"


def test_work_in_flight_in_another_run_refuses_other_work_and_who_says_so_and_lets_run_anyway(runs: DeskRuns) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    before = run.record()
    for number, keys, words in (
        (0, {"payload": "other"}, "a/port:0 has p, this item has other"),
        (1, {"if_running": "reject"}, "a/port:0 does its work"),
    ):
        refused = other.ask(number, **keys)
        assert isinstance(refused, Refused)
        assert words in refused.message
    assert isinstance(other.ask(2, if_running="run_anyway"), Unregistered)
    other.ends(2)
    assert run.record() == before, "what it came to is nobody's"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"token_ttl": HOUR}, Shared),
        ({"token_ttl": 0.0}, Granted),
        ({}, Granted),
        ({"token_ttl": HOUR, "if_done": "rerun"}, Granted),
        ({"token_ttl": HOUR, "if_done": "reject"}, Refused),
        ({"token_ttl": HOUR, "payload": "new"}, Granted),
        ({"token_ttl": HOUR, "payload": "new", "if_changed": "reject"}, Refused),
    ],
)
def test_what_is_done_is_replayed_done_again_or_refused_as_the_asker_says(
    runs: DeskRuns, keys: dict[str, Any], expected: type
) -> None:
    run, other, third = runs("a"), runs("b"), runs("c")
    run.takes(0)
    run.ends(0)
    answer = other.ask(0, **keys)
    assert isinstance(answer, expected)
    if isinstance(answer, Refused):
        assert "a/port:0" in answer.message
    if isinstance(answer, Granted):
        other.begins(0)
        other.ends(0)
        again = third.ask(0, token_ttl=HOUR, payload=keys.get("payload", "p"))
        assert isinstance(again, Shared)
        assert again.deduped_from == "b/port:0", "the last verdict counts"


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_clock_that_is_set_an_hour_loses_no_wait_and_no_replay(
    runs: DeskRuns, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    run, waiting, late = runs("a"), runs("b"), runs("c")
    run.takes(0)
    waiting.joins(0)
    waiting.hears()
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(jump * 1e9))
    run.ends(0)
    assert kinds(waiting.hears(0.5)) == [SharedWith]
    assert isinstance(late.ask(0, token_ttl=60.0), Shared)


def test_an_outcome_whose_output_is_gone_is_not_replayed(runs: DeskRuns) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    run.ends(0)
    other.can_keep = False
    granted(other.ask(0, token_ttl=HOUR))


def test_a_joiner_whose_copy_of_the_output_failed_may_do_the_work(runs: DeskRuns) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    other.joins(0)
    run.ends(0)
    other.can_keep = False
    assert other.hears() == [TryAgain((ITEM,))]
    granted(other.ask(0))


def test_a_fresh_run_does_the_work_again_and_still_joins_work_in_flight(runs: DeskRuns) -> None:
    run, fresh = runs("a"), runs("b", is_fresh=True)
    run.takes(0)
    fresh.joins(0)
    fresh.desk.settle_item(ITEM, Status.CANCELLED, None, None)
    run.ends(0)
    granted(fresh.ask(0, token_ttl=HOUR))


def test_a_token_that_an_ancestor_holds_is_refused_at_once(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    nested = runs("b", ancestors=(run.mark(0),))
    answer = nested.ask(0)
    assert isinstance(answer, Refused)
    assert "a/port:0, in which this item runs" in answer.message
    next_attempt = runs("c", ancestors=(run.mark(0, attempt=2),))
    assert isinstance(next_attempt.ask(0), Refused)


@pytest.mark.parametrize("taker", ["another run", "the same run"])
def test_who_met_a_token_that_was_just_being_taken_gets_his_own_answer_once_it_is(runs: DeskRuns, taker: str) -> None:
    """Between the lock and the record of who has it nobody can tell whom to refuse, to replace, or to run beside."""
    run, other = runs("a"), runs("b")
    granted(run.ask(0))
    for number, if_running in enumerate(("join", "reject", "run_anyway", "replace"), 1):
        other.joins(number, if_running=if_running)
    other.joins(5, payload="other")
    if taker == "the same run":
        run.desk.give_back(ITEM)
        granted(other.ask(0))
        other.begins(0)
    else:
        run.begins(0)
    told = other.hears()
    assert kinds(told) == [RefusedAll, TryAgain, TryAgain, TryAgain]
    assert [each.items for each in told if isinstance(each, TryAgain)] == [((0, 2),), ((0, 3),), ((0, 4),)]
    assert isinstance(other.ask(2, if_running="reject"), Refused)
    assert isinstance(other.ask(3, if_running="run_anyway"), Unregistered)
    assert other.hears() == []  # the others wait
