"""A resumed run whose attempts outlived its supervisor: it tells what became of their tokens, if they are still its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drivers.store_samples import started
from drivers.token_driver import FAILED, ITEM, TOKEN, DeskRuns, Run, granted, outcome
from drivers.token_samples import token_locked

from orchestrator.shared.tokens import publications
from orchestrator.shared.tokens.answers import Shared, SharedWith, TryAgain
from orchestrator.store.records import AttemptEnded, Status
from orchestrator.workers.protocol import Outcome


def test_a_resumed_run_publishes_what_an_adopted_attempt_came_to(runs: DeskRuns) -> None:
    run = runs.killed_while_it_runs()
    other = runs("b")
    other.joins(0)
    again = runs("a")
    again.adopts()
    assert other.hears() == []
    done = outcome()
    run.workers[0].ends(done)
    run.workers[0].die()
    again.ends(0, done)
    assert other.hears() == [SharedWith((ITEM,), done, True, "a/port:0")]


def test_an_adopted_item_keeps_its_token_through_its_backoff(runs: DeskRuns) -> None:
    run = runs.killed_while_it_runs()
    again = runs("a")
    again.adopts()
    assert again.desk.reserved_items() == []  # it runs
    run.workers[0].ends(FAILED)
    run.workers[0].die()
    again.ends(0, FAILED, Status.WAITING)
    assert again.desk.reserved_items() == [ITEM]
    other = runs("b")
    other.joins(0)
    assert other.hears() == []
    granted(again.ask(0))


def taken_over_meanwhile(runs: DeskRuns) -> tuple[Run, Run]:
    """A run that has adopted its item, whose attempt then failed; and another run, which has taken the token over."""
    run = runs.killed_while_it_runs()
    again = runs("a")
    again.adopts()
    run.workers[0].ends(FAILED)
    run.workers[0].die()
    other = runs("b")
    other.takes(0)
    return again, other


def test_an_adopted_item_whose_token_was_taken_over_meanwhile_joins_and_hears(runs: DeskRuns) -> None:
    again, other = taken_over_meanwhile(runs)
    again.ends(0, FAILED, Status.WAITING)
    again.joins(0)
    done = outcome()
    other.ends(0, done)
    assert again.hears() == [SharedWith((ITEM,), done, True, "b/port:0")]


@pytest.mark.parametrize(("verdict", "status"), [(outcome(), Status.SUCCEEDED), (FAILED, Status.FAILED)])
def test_a_verdict_whose_lock_somebody_keeps_is_told_by_who_takes_the_token_over(
    runs: DeskRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verdict: Outcome, status: Status
) -> None:
    monkeypatch.setattr(publications, "FINISH_SECONDS", 0.05)
    run = runs.killed_while_it_runs()
    again, other = runs("a"), runs("b")
    again.adopts()
    other.joins(0)
    run.workers[0].die()
    with token_locked(tmp_path, TOKEN):
        again.desk.settle_item(ITEM, status, verdict, None)
        (note,) = again.desk.finish_publishing()
        assert f"port:0: what came of it is not published, for process {os.getpid()} keeps the lock" in note
        again.records(
            started(0), AttemptEnded(job="port", index=0, attempt=1, status=status, outcome=verdict, payload="p", token=TOKEN)
        )
        again.dies()
    assert other.hears() == [TryAgain((ITEM,))]
    assert other.ask(0) == Shared(verdict, status is Status.SUCCEEDED, "a/port:0")


def test_what_somebody_else_published_meanwhile_is_not_overwritten(runs: DeskRuns) -> None:
    again, other = taken_over_meanwhile(runs)
    other.ends(0)
    published = other.record()
    again.ends(0, FAILED)
    assert again.record() == published
