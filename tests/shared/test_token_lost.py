"""Work that is lost while items wait for it: one of them takes it over, and not for ever."""

from __future__ import annotations

from pathlib import Path

from drivers.token_driver import ITEM, TOKEN, DeskRuns, granted, kinds, outcome
from drivers.token_samples import token_locked

from orchestrator.shared.tokens.answers import Refused, SharedWith, TryAgain
from orchestrator.store.records import Status


def test_of_many_joiners_of_lost_work_one_is_asked_and_the_others_wait_for_it(runs: DeskRuns) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    for number in range(3):
        other.joins(number)
    run.ends(0, status=Status.CANCELLED)
    assert other.hears() == [TryAgain((ITEM,))]
    assert granted(other.ask(0)).promotions == 1
    other.begins(0)
    assert other.hears() == []
    done = outcome()
    other.ends(0, done)
    assert other.hears() == [SharedWith(((0, 1), (0, 2)), done, True, "b/port:0")]


def test_work_that_is_lost_four_times_in_a_row_fails_for_everybody(runs: DeskRuns) -> None:
    waiting = [runs(f"w{number}") for number in range(6)]
    holder = runs("a")
    holder.takes(0)
    for run in waiting:
        run.joins(0)
    for promotions in range(1, 4):
        holder.ends(0, status=Status.INTERRUPTED)
        holder, waiting = waiting[0], waiting[1:]
        assert kinds(holder.hears()) == [TryAgain]
        assert granted(holder.ask(0)).promotions == promotions
        holder.begins(0)
        assert [told for run in waiting for told in run.hears()] == []
    holder.ends(0, status=Status.INTERRUPTED)
    first, *others = waiting
    assert kinds(first.hears()) == [TryAgain]
    answer = first.ask(0)
    assert isinstance(answer, Refused)
    assert "lost 4 times in a row" in answer.message
    for run in others:
        (told,) = run.hears()
        assert isinstance(told, SharedWith)
        assert not told.is_success
        assert "lost 4 times in a row" in told.outcome.message
    assert granted(runs("fresh").ask(0)).promotions == 0


def test_work_that_began_and_was_lost_between_two_looks_counts_for_who_waited(runs: DeskRuns) -> None:
    first, second, waiting = runs("a"), runs("b"), runs("c")
    first.takes(0)
    waiting.joins(0)
    first.ends(0, status=Status.CANCELLED)
    second.takes(0)
    second.ends(0, status=Status.CANCELLED)
    second.rewrite(promotions=2)
    assert waiting.hears() == [TryAgain((ITEM,))]
    assert granted(waiting.ask(0)).promotions == 3


def test_a_lock_that_was_only_looked_at_makes_nobody_an_heir(runs: DeskRuns, tmp_path: Path) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    run.ends(0, status=Status.CANCELLED)
    run.rewrite(promotions=3)
    with token_locked(tmp_path, TOKEN):
        other.joins(0)
    assert other.hears() == [TryAgain((ITEM,))]
    assert granted(other.ask(0)).promotions == 0
