"""A folder that holds records of a run is that run, whatever became of its checkpoint; what never began is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from drivers.store_samples import LISTED, ended, header, new_run, started

from orchestrator.errors import StateRefusedError, UserError
from orchestrator.store.checkpoint import read_header
from orchestrator.store.journal import Journal
from orchestrator.store.known_runs import find_run, list_runs, list_unborn
from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir, create_run_dir
from orchestrator.store.run_store import RunStore
from orchestrator.store.salvage import read_whole


@pytest.fixture
def begun(tmp_path: Path) -> RunDir:
    """A run of which something is recorded."""
    run_dir = new_run(tmp_path)
    store = RunStore.open(run_dir)
    store.append([LISTED, started(0), ended(0)])
    store.close()
    return run_dir


READERS: list[Callable[[RunDir], object]] = [
    read_history,
    read_whole,
    RunStore.open,
    lambda run_dir: read_header(run_dir.checkpoint),
    lambda run_dir: create_run_dir(run_dir.home, run_dir.run_id),
    lambda run_dir: RunStore.create(run_dir, header(run_dir.run_id), "[jobs]\n"),
]


def test_a_run_without_its_checkpoint_is_refused_by_whoever_opens_it_or_would_begin_another_in_its_place(begun: RunDir) -> None:
    begun.checkpoint.unlink()
    before = begun.journal(1).read_bytes()
    for read in READERS:
        with pytest.raises(StateRefusedError, match=r"checkpoint\.json: missing, and the folder holds records") as caught:
            read(begun)
        assert f"what items wrote lies in {begun.path}/outputs" in caught.value.hint
    assert begun.journal(1).read_bytes() == before
    assert list_runs(begun.home) == [begun]
    assert list_unborn(begun.home) == []
    assert find_run(begun.home, "r1") == find_run(begun.home, None) == begun


def only_a_later_journal(run_dir: RunDir) -> None:
    run_dir.journal(1).rename(run_dir.journal(2))


def only_outputs(run_dir: RunDir) -> None:
    run_dir.journal(1).unlink()
    (run_dir.path / "outputs" / "port").mkdir(parents=True)


def only_a_worker(run_dir: RunDir) -> None:
    run_dir.journal(1).unlink()
    run_dir.worker_folder(0).mkdir(parents=True)


@pytest.mark.parametrize("lose", [only_a_later_journal, only_outputs, only_a_worker])
def test_any_trace_of_work_tells_of_a_run(lose: Callable[[RunDir], None], begun: RunDir) -> None:
    begun.checkpoint.unlink()
    lose(begun)
    assert begun.has_lost_checkpoint


def test_what_a_kill_left_of_a_birth_is_no_run_however_far_it_came(tmp_path: Path) -> None:
    run_dir = create_run_dir(tmp_path, "x" * 64)
    for name in ("items", "slots", "workers", "outputs"):
        (run_dir.path / name).mkdir()
    run_dir.jobs_toml(0).write_text("[jobs]\n")
    Journal.create(run_dir.journal(1), 1, run_dir.run_id).close()
    whole = run_dir.journal(1).read_bytes()
    for size in range(0, len(whole) + 1, 50):
        run_dir.journal(1).write_bytes(whole[:size].ljust(len(whole), b"\0"))
        assert not run_dir.exists, size
    run_dir.journal(1).write_bytes(whole)
    assert list_unborn(tmp_path) == [run_dir]
    RunStore.create(run_dir, header(run_dir.run_id), "[jobs]\n").close()
    assert run_dir.exists


def test_what_a_killed_prune_left_is_no_run_and_no_place_for_another(begun: RunDir) -> None:
    begun.checkpoint.rename(begun.removal_mark)
    assert not begun.exists
    assert list_unborn(begun.home) == [begun]
    with pytest.raises(UserError, match="no run"):
        read_history(begun)
    with pytest.raises(UserError, match="r1 is only half removed") as caught:
        create_run_dir(begun.home, "r1")
    assert "orchestrate prune" in caught.value.hint
    shutil.rmtree(begun.path)
    assert new_run(begun.home) == begun


def test_a_living_supervisor_puts_its_lost_checkpoint_back(begun: RunDir) -> None:
    store = RunStore.open(begun)
    store.look_after_files()
    assert not store.wants_checkpoint
    begun.checkpoint.unlink()
    store.look_after_files()
    assert store.wants_checkpoint
    store.take_checkpoint()
    assert not store.wants_checkpoint
    store.close()
    assert read_history(begun).jobs["port"].last_end(0) is not None
