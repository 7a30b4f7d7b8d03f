"""Which run is an item's child, and what that run's end means for the item."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from drivers.store_samples import LISTED, ended, header, new_run, started

from orchestrator.attempts.child_runs import ChildRuns, child_id, child_outcome
from orchestrator.attempts.rendering import ChildWork
from orchestrator.core.events import Verdict
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.load import read_history
from orchestrator.store.outcomes import verdict_of
from orchestrator.store.records import Record, RunEnded, Status
from orchestrator.store.run_dir import check_run_id, create_run_dir
from orchestrator.store.run_store import RunStore
from orchestrator.store.settings_records import RunOptions
from orchestrator.workers.protocol import AttemptClass, Outcome

WORK = ChildWork("/project/child.toml", {"name": "x"})


def born(home: Path, run_id: str, inputs: dict[str, Any], path: str = WORK.path) -> None:
    """A child run that exists."""
    told = msgspec.structs.replace(header(run_id, jobs_file=path), inputs=inputs, parent="r1/port:0")
    RunStore.create(create_run_dir(home, run_id), told, "[jobs]\n").close()


def child_of_attempt(home: Path, attempt: int, *records: Record, work: ChildWork = WORK) -> str:
    run_dir = new_run(home)
    store = RunStore.open(run_dir)
    store.append([LISTED, *records])
    store.take_checkpoint()  # what a resume has to go on with
    store.close()
    reader = RunReader.read(run_dir)
    reader.history.header.jobs["port"] = True
    return ChildRuns(reader, RunOptions()).run_of("port", 0, attempt, work)


def end(attempt: int, status: Status, child: str, round_number: int = 0) -> Record:
    return msgspec.structs.replace(ended(0, attempt, status, round_number=round_number), child=child)


def start(attempt: int, child: str) -> Record:
    return msgspec.structs.replace(started(0, attempt), child=child)


def test_the_first_attempt_of_an_item_begins_the_run_that_is_called_after_it(tmp_path: Path) -> None:
    assert child_of_attempt(tmp_path, 1) == "r1.port.0"


@pytest.mark.parametrize("status", [Status.WAITING, Status.FAILED, Status.INTERRUPTED, Status.CANCELLED])
def test_an_item_that_did_not_succeed_goes_on_with_its_run(tmp_path: Path, status: Status) -> None:
    born(tmp_path, "r1.port.0", {"name": "x", "count": 3})
    assert child_of_attempt(tmp_path, 2, start(1, "r1.port.0"), end(1, status, "r1.port.0")) == "r1.port.0"


def test_a_run_that_was_never_born_leaves_its_id_to_the_next_attempt(tmp_path: Path) -> None:
    assert child_of_attempt(tmp_path, 2, start(1, "r1.port.0"), end(1, Status.WAITING, "r1.port.0")) == "r1.port.0"


def lost(checkpoint: Path) -> None:
    (checkpoint.parent / "outputs" / "port").mkdir(parents=True)
    checkpoint.unlink()


def damaged(checkpoint: Path) -> None:
    checkpoint.write_bytes(b"{")


@pytest.mark.parametrize("lose", [lost, damaged])
def test_no_new_run_does_the_work_of_one_that_cannot_be_read(lose: Callable[[Path], None], tmp_path: Path) -> None:
    born(tmp_path, "r1.port.0", {"name": "x"})
    lose(tmp_path / "runs" / "r1.port.0" / "checkpoint.json")
    assert child_of_attempt(tmp_path, 2, start(1, "r1.port.0"), end(1, Status.FAILED, "r1.port.0")) == "r1.port.0"


def test_an_item_that_began_anew_before_goes_on_with_the_later_run(tmp_path: Path) -> None:
    born(tmp_path, "r1.port.0-2", {"name": "x"})
    past = [start(1, "r1.port.0"), end(1, Status.SUCCEEDED, "r1.port.0"), start(2, "r1.port.0-2")]
    assert child_of_attempt(tmp_path, 3, *past, end(2, Status.INTERRUPTED, "r1.port.0-2")) == "r1.port.0-2"


@pytest.mark.parametrize(
    ("last", "inputs", "path"),
    [
        (end(1, Status.SUCCEEDED, "r1.port.0"), {"name": "x"}, WORK.path),
        (end(1, Status.WAITING, "r1.port.0", round_number=1), {"name": "x"}, WORK.path),
        (end(1, Status.FAILED, "r1.port.0"), {"name": "y"}, WORK.path),
        (end(1, Status.FAILED, "r1.port.0"), {"name": "x"}, "/project/other.toml"),
    ],
    ids=["it has succeeded", "a round has ended", "it is given something else", "another file"],
)
def test_an_item_that_begins_anew_has_a_new_run(tmp_path: Path, last: Record, inputs: dict[str, Any], path: str) -> None:
    born(tmp_path, "r1.port.0", inputs, path)
    assert child_of_attempt(tmp_path, 2, start(1, "r1.port.0"), last) == "r1.port.0-2"


def test_no_two_items_share_a_run_and_every_id_can_be_the_id_of_a_run() -> None:
    items = ["a", "a:0", "a:1", "a:10", "a1", "a1:0", f"{'j' * 64}:7", f"{'j' * 64}:8"]
    runs = ["r", "r.a", "20261121-130843-abcd", "x" * 64, f"{'x' * 50}."]
    ids = [child_id(run, item, attempt) for run in runs for item in items for attempt in (1, 2, 12)]
    for each in ids:
        check_run_id(each)
    assert len(set(ids)) == len(ids)
    assert child_id("r", "a:0", 1) == "r.a.0"


@pytest.mark.parametrize(
    ("exit_code", "verdict", "words"),
    [
        (1, Verdict.FAILED, "child run c failed: leaf:2: exit code 9"),
        (2, Verdict.FAILED, "child run c: exit code 2"),
        (3, Verdict.PAUSED, "child run c is paused: orchestrate status c, then orchestrate resume p"),
        (4, Verdict.CANCELLED, "child run c was cancelled"),
        (5, Verdict.HOPELESS, "child run c was rejected: leaf:2: exit code 9"),
        (75, Verdict.FAILED, "child run c: exit code 75"),
        (130, Verdict.PAUSED, "child run c was stopped: orchestrate resume p"),
        (143, Verdict.PAUSED, "child run c was stopped: orchestrate resume p"),
        (None, Verdict.LOST, "the supervisor of child run c was killed: ended by SIGKILL"),
    ],
)
def test_what_the_exit_of_a_child_means_for_its_item(tmp_path: Path, exit_code: int | None, verdict: Verdict, words: str) -> None:
    child = new_run(tmp_path, "c")
    store = RunStore.open(child)
    store.append([RunEnded(status="failed", at=5.0, exit_code=1, error_item="leaf:2", error_message="exit code 9")])
    store.close()
    outcome = Outcome(
        attempt_class=AttemptClass.COMMAND_FAILED,
        started_at=1.0,
        finished_at=2.0,
        duration_seconds=1.0,
        exit_code=exit_code,
        message="ended by SIGKILL" if exit_code is None else f"exit code {exit_code}",
    )
    found = child_outcome(outcome, read_history(child), "p")
    assert (verdict_of(found, None), found.message) == (verdict, words)
