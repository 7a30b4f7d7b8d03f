"""Locks that do not work or are removed, a full disk, a machine without room: nobody starts beside a living holder."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.token_driver import ITEM, TOKEN, DeskRuns, granted, outcome

from orchestrator.errors import StateUnwritableError
from orchestrator.shared.tokens.answers import SharedWith
from orchestrator.shared.tokens.record import TokenFiles
from orchestrator.store.records import Status
from orchestrator.workers.faultpoints import arm


@pytest.mark.parametrize("what", ["removed", "replaced", "with a pid in it"])
def test_a_lock_file_that_somebody_meddled_with_lets_nobody_start_beside_a_living_holder(
    runs: DeskRuns, tmp_path: Path, what: str
) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    path = TokenFiles(tmp_path).lock_path(TOKEN)
    if what == "with a pid in it":
        path.write_text("1\n")
    else:
        path.unlink()
        if what == "replaced":
            path.touch()
    other.joins(0)
    assert other.hears() == []
    done = outcome()
    run.ends(0, done)
    assert other.hears() == [SharedWith((ITEM,), done, True, "a/port:0")]


def test_where_locks_do_not_work_the_run_says_so(runs: DeskRuns) -> None:
    run = runs("a")
    arm("lock.taking:1:ENOLCK")
    with pytest.raises(StateUnwritableError, match="cannot be locked"):
        run.ask(0)


def test_a_machine_without_room_is_the_callers_to_retry(runs: DeskRuns) -> None:
    run = runs("a")
    arm("lock.taking:1:EMFILE")
    with pytest.raises(OSError, match="Too many open files"):
        run.ask(0)
    arm(None)
    granted(run.ask(0))


def test_a_shortage_while_it_looks_delays_a_publication_and_loses_none(runs: DeskRuns) -> None:
    run = runs.killed_while_it_runs()
    again = runs("a")
    again.adopts()
    run.workers[0].ends(outcome())
    run.workers[0].die()
    arm("lock.taking:1:EMFILE")
    again.desk.settle_item(ITEM, Status.SUCCEEDED, outcome(), None)
    again.hears()
    arm(None)
    again.hears()
    again.desk.finish_publishing()
    known = again.record()
    assert known is not None
    assert known.state == "done"


def test_a_verdict_that_cannot_be_published_is_told_and_the_lock_stays(runs: DeskRuns) -> None:
    run, other = runs("a"), runs("b")
    run.takes(0)
    arm("token.publishing:1:ENOSPC")
    run.desk.settle_item(ITEM, Status.SUCCEEDED, outcome(), None)
    with pytest.raises(StateUnwritableError, match="No space left") as raised:
        run.desk.finish_publishing()
    assert "free some space" in raised.value.hint
    known = run.record()
    assert known is not None
    assert known.state == "held"
    other.joins(0)
