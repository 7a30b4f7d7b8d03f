"""Before each group a writer looks whether its lock file stands at its path; it holds its journal whatever becomes of that."""

from __future__ import annotations

import os

import pytest
from drivers.store_samples import LISTED, ended, started

from orchestrator.errors import RunHeldError, StateUnwritableError
from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import RunStore
from orchestrator.store.supervisor_lock import SupervisorLock
from orchestrator.system.locks.holders import is_locked


def test_the_look_costs_one_stat_a_group(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = SupervisorLock(run_dir)
    lock.try_acquire()
    store = RunStore.open(run_dir, lock)
    asked: list[str] = []
    for name in ("stat", "lstat", "fstat"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda path, *rest, real=real, **more: (asked.append(path), real(path, *rest, **more))[1])
    for index in range(5):
        store.append([started(index)])
    assert asked == [str(run_dir.supervisor_lock)] * 5
    store.close()
    lock.release()


def test_a_second_one_is_held_at_the_lock_and_at_the_journal_and_writes_nothing(run_dir: RunDir) -> None:
    lock = SupervisorLock(run_dir)
    lock.try_acquire()
    store = RunStore.open(run_dir, lock)
    store.append([LISTED, started(0)])
    run_dir.supervisor_lock.unlink()
    before = {path: path.read_bytes() for path in (run_dir.checkpoint, run_dir.journal(1))}
    with pytest.raises(RunHeldError, match=f"supervised by process {os.getpid()}"):
        SupervisorLock(run_dir).try_acquire(timeout_seconds=0)
    with pytest.raises(RunHeldError, match="a living supervisor of run r1 writes it"):
        RunStore.open(run_dir)
    assert {path: path.read_bytes() for path in before} == before
    # The next group puts the file back, and the next generation is held as this one.
    store.append([ended(0)])
    assert is_locked(run_dir.supervisor_lock)
    store.take_checkpoint()
    with pytest.raises(RunHeldError):
        RunStore.open(run_dir)
    store.close()
    lock.release()
    SupervisorLock(run_dir).try_acquire(timeout_seconds=0)
    assert read_history(run_dir).jobs["port"].counts()["succeeded"] == 1


def test_a_folder_that_was_put_in_its_place_is_not_written_to(run_dir: RunDir) -> None:
    lock = SupervisorLock(run_dir)
    lock.try_acquire()
    store = RunStore.open(run_dir, lock)
    moved = run_dir.path.rename(run_dir.path.with_name("moved"))
    run_dir.path.mkdir()
    before = (moved / "journal-1.jsonl").read_bytes()
    with pytest.raises(StateUnwritableError, match="another folder was put in the place"):
        store.append([LISTED])
    with pytest.raises(StateUnwritableError):
        store.append([LISTED])
    assert (moved / "journal-1.jsonl").read_bytes() == before
    store.close()
    lock.release()
