"""Whether a holder that was killed is really gone, and what must not be taken for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from drivers.token_driver import HOUR, ITEM, TOKEN, DeskRuns, granted, outcome

from orchestrator.shared.tokens.answers import TryAgain
from orchestrator.shared.tokens.record import TokenFiles
from orchestrator.workers.protocol import MARK_VARIABLE


def test_an_attempt_that_got_the_same_sequence_after_a_kill_is_not_the_holders(runs: DeskRuns) -> None:
    """Killed between the record of the token and the journal: the next session gives out worker and sequence once more."""
    run = runs("a")
    run.takes(0)
    run.dies()
    again = runs("a")
    again.worker().begins(again.mark(9))
    granted(runs("b").ask(0))


def test_nothing_of_who_takes_a_token_over_is_ended_for_the_attempt_that_never_began(runs: DeskRuns) -> None:
    """The next session gives its first attempt the same mark; until it has written the record, that names the dead."""
    run, other = runs("a"), runs("b")
    run.takes(0)
    run.dies()
    again = runs("a")
    granted(again.ask(0))
    with subprocess.Popen(["sleep", "60"], env={**os.environ, MARK_VARIABLE: again.mark()}, start_new_session=True) as agent:
        other.joins(0)
        other.close()  # waits for what it ends
        assert agent.poll() is None
        agent.kill()


def test_the_outcome_of_another_attempt_with_the_same_sequence_is_never_shared(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    run.dies()
    again = runs("a")
    worker = again.worker()
    worker.begins(again.mark(9))
    worker.ends(outcome(said="of another item"))
    worker.die()
    granted(runs("b").ask(0, token_ttl=HOUR))


def test_a_worker_that_is_past_the_start_that_never_came_is_no_holder(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    run.dies()
    worker = runs("a").worker()
    worker.begins("a.n/port:9/1", sequence=1)
    granted(runs("b").ask(0))


def test_a_start_that_may_be_on_its_way_to_a_living_worker_is_waited_for(runs: DeskRuns) -> None:
    run = runs("a")
    worker = run.worker()
    run.takes(0)
    run.dies()
    other = runs("b")
    other.joins(0)
    worker.die()
    assert other.hears() == [TryAgain((ITEM,))]
    assert granted(other.ask(0)).promotions == 1


def test_a_dead_holders_run_may_have_been_removed(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    run.dies()
    shutil.rmtree(run.run_dir.path)
    granted(runs("b").ask(0))


@pytest.mark.parametrize("is_removed", [True, False])
def test_what_a_holder_left_whose_log_was_removed_or_emptied_is_ended_first(runs: DeskRuns, is_removed: bool) -> None:
    run = runs("a")
    run.takes(0)
    run.worker().begins(run.mark())
    run.close()
    log = run.run_dir.worker_folder(0) / "log"
    log.unlink() if is_removed else os.truncate(log, 0)
    with subprocess.Popen(["sleep", "60"], env={**os.environ, MARK_VARIABLE: run.mark()}, start_new_session=True) as agent:
        other = runs("b")
        other.joins(0)
        assert other.hears_in_time() == [TryAgain((ITEM,))]
        assert agent.poll() is not None, "it has ended"
        granted(other.ask(0))


def test_nothing_is_ended_of_a_run_without_logs_that_is_supervised_again(runs: DeskRuns) -> None:
    run = runs("a")
    run.takes(0)
    run.dies()
    (run.run_dir.worker_folder(0) / "log").unlink()
    runs("a")
    granted(runs("b").ask(0))


def test_a_record_that_a_power_loss_emptied_stops_nobody(runs: DeskRuns, tmp_path: Path) -> None:
    run = runs("a")
    run.takes(0)
    run.dies()
    TokenFiles(tmp_path).record_path(TOKEN).write_bytes(b"")
    granted(runs("b").ask(0))


def test_a_holder_of_an_earlier_boot_is_dead_whatever_lives_with_its_pid(runs: DeskRuns) -> None:
    run = runs("a")
    granted(run.ask(0))
    run.begins(0)
    known = run.record()
    assert known is not None
    run.rewrite(holder=msgspec.structs.replace(known.holder, boot_id="an earlier boot"))
    run.dies()
    runs("a")
    granted(runs("b").ask(0))
