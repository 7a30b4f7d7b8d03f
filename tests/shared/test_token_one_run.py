"""What items of one run are told about their tokens, by a desk without a supervisor."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from drivers.token_driver import FAILED, HOUR, ITEM, TOKEN, DeskRuns, granted, outcome
from drivers.token_samples import token_locked

from orchestrator.shared.tokens.answers import Granted, Joins, Refused, Shared, SharedWith, TryAgain, Unregistered
from orchestrator.store.outcomes import DoneHere
from orchestrator.store.records import Status


def test_items_of_one_run_with_one_token_share_the_outcome_of_the_first(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    for number in (3, 1, 2):
        run.joins(number)
    done = outcome()
    run.ends(0, done)
    assert run.desk.poll(time.monotonic()) == [SharedWith(((0, 1), (0, 2), (0, 3)), done, True, "a/port:0")]


def test_what_is_to_be_told_to_items_of_the_same_run_is_due_at_once(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    run.joins(1)
    run.desk.settle_item((0, 0), Status.SUCCEEDED, outcome(), None)
    due = run.desk.next_look
    assert due is not None
    assert due <= time.monotonic()


def test_a_duplicate_in_its_run_joins_without_a_lock_and_without_a_look_at_the_disk(runs: DeskRuns, tmp_path: Path) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    other.joins(0)
    (tmp_path / "tokens").rename(tmp_path / "elsewhere")
    assert isinstance(run.desk.ask_this_run(run.asking(1)), Joins)
    assert isinstance(other.desk.ask_this_run(other.asking(1)), Joins)  # one of its run waits already
    assert run.desk.ask_this_run(run.asking(2, token="another")) is None
    assert not (tmp_path / "tokens").exists()


def test_a_failure_is_shared_too(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    run.joins(1)
    run.ends(0, FAILED)
    assert run.desk.poll(time.monotonic()) == [SharedWith(((0, 1),), FAILED, False, "a/port:0")]


def test_who_asks_after_a_failure_of_this_run_does_the_work_himself(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    run.ends(0, FAILED)
    assert granted(run.ask(1)).promotions == 0


def test_a_joiner_that_is_cancelled_harms_nobody(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    run.joins(1)
    run.joins(2)
    run.desk.settle_item((0, 1), Status.CANCELLED, None, None)
    run.ends(0)
    (told,) = run.desk.poll(time.monotonic())
    assert isinstance(told, SharedWith)
    assert told.items == ((0, 2),)


def test_another_payload_for_a_token_in_flight_is_refused_and_both_are_named(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    answer = run.ask(1, payload="other")
    assert isinstance(answer, Refused)
    assert "a/port:0 has p, this item has other" in answer.message


def test_run_anyway_runs_beside_it_and_leaves_the_record_alone(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    before = run.record()
    assert isinstance(run.ask(1, if_running="run_anyway"), Unregistered)
    assert run.record() == before


def test_through_a_backoff_the_token_stays_reserved_and_holds_no_lock(runs: DeskRuns, tmp_path: Path) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    run.ends(0, FAILED, Status.WAITING)
    other.joins(0)
    with token_locked(tmp_path, TOKEN):  # the lock itself is free
        assert run.desk.reserved_items() == [ITEM]
    granted(run.ask(0))
    run.begins(0, attempt=2, sequence=1)
    done = outcome()
    run.ends(0, done)
    assert other.hears() == [SharedWith((ITEM,), done, True, "a/port:0")]


def test_who_asks_for_its_own_token_while_somebody_looks_at_it_keeps_it(runs: DeskRuns, tmp_path: Path) -> None:
    """It is told to wait, the loop says so to the desk, and a duplicate of the same run waits beside it."""
    run = runs("a")
    run.takes(0)
    run.joins(1)
    run.ends(0, FAILED, Status.WAITING)
    with token_locked(tmp_path, TOKEN):
        run.joins(0)
        run.ends(0, FAILED, Status.WAITING)
    assert TryAgain((ITEM,)) in run.hears()
    assert isinstance(run.ask(0), Granted)


def test_an_item_that_is_not_started_after_all_gives_its_token_back(runs: DeskRuns) -> None:
    run, other = runs("a"), runs("b")
    granted(run.ask(0))
    run.desk.give_back(ITEM)
    assert run.record() is None
    granted(other.ask(0))


@pytest.mark.parametrize("is_in_history", [True, False])
def test_items_of_one_run_share_its_outcome_and_an_item_that_runs_again_does_not_share_its_own(
    runs: DeskRuns, is_in_history: bool
) -> None:
    run = runs("a")
    run.takes(0)
    run.ends(0)
    if is_in_history:
        run.done[TOKEN] = DoneHere("port:0", "p", outcome())
    for if_done in ("replay", "rerun", "reject"):
        shared = run.ask(1, if_done=if_done)
        assert isinstance(shared, Shared)
        assert shared.deduped_from == "a/port:0"
    granted(run.ask(0, token_ttl=HOUR, if_done="reject"))


def test_at_the_end_everything_is_let_go(runs: DeskRuns, tmp_path: Path) -> None:
    run = runs("a")
    for number in range(20):
        run.takes(number, token=f"t{number}")
        run.joins(number + 100, token=f"t{number}")
    for number in range(20):
        run.desk.settle_item((0, number), Status.SUCCEEDED, outcome(), None)
    run.desk.finish_publishing()
    told = run.desk.poll(time.monotonic())
    assert sum(len(each.items) for each in told if isinstance(each, SharedWith)) == 20
    assert not any(run.desk.knows((0, number)) for number in [*range(20), *range(100, 120)])
    for number in range(20):
        with token_locked(tmp_path, f"t{number}"):
            known = run.record(f"t{number}")
            assert known is not None
            assert known.state == "done"
    run.desk.poll(time.monotonic() + 60)
    assert run.desk.next_look is None
