"""The slots of a pool: what is taken, who has it, what wakes those who wait, and what is made of a bad lock file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.errors import StateUnwritableError
from orchestrator.jobsfile.model import Pool
from orchestrator.shared.pools.slots import PoolSlots
from orchestrator.system.locks import travelling
from orchestrator.workers import faultpoints
from orchestrator.workers.locks import unlock


def pool_of(home: Path, slots: int) -> PoolSlots:
    return PoolSlots(home, Pool(name="api", slots=slots))


@contextmanager
def held(pool: PoolSlots, *notes: str) -> Iterator[list[int]]:
    fds = []
    for note in notes:
        fd = pool.try_take_slot(note)
        assert fd is not None
        fds.append(fd)
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


@contextmanager
def armed(fault: str) -> Iterator[None]:
    faultpoints.arm(fault)
    try:
        yield
    finally:
        faultpoints.arm(None)


def test_as_many_as_it_has_slots_are_taken_and_one_is_free_again_when_it_is_let_go(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, 2)
    with held(pool, "run/a:0 m0", "run/a:1 m1") as fds:
        assert pool.try_take_slot("run/a:2 m2") is None
        assert not pool.is_any_free()
        unlock(fds.pop())
        assert pool.is_any_free()
        with held(pool_of(tmp_path, 2), "run/a:2 m2"):
            assert pool.try_take_slot("run/a:3 m3") is None


def test_the_holders_are_told_by_their_own_notes(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, 3)
    with held(pool, "first/with-a-long-name:0 mark", "second/b m") as fds:
        assert sorted(pool_of(tmp_path, 3).holders()) == ["first/with-a-long-name:0 mark", "second/b m"]
        unlock(fds.pop(0))
        assert pool.holders() == ["second/b m"]
        with held(pool, "c/d e"):
            assert sorted(pool.holders()) == ["c/d e", "second/b m"], "nothing of a longer note is left"
    assert pool.holders() == []


def test_runs_with_different_numbers_together_never_hold_more_than_the_larger(tmp_path: Path) -> None:
    small, large = pool_of(tmp_path, 2), pool_of(tmp_path, 4)
    with held(large, *"abcd"):
        assert small.try_take_slot("e") is None
    with held(small, *"ab"):
        assert small.try_take_slot("c") is None
        with held(large, *"cd"):
            assert large.try_take_slot("e") is None


def test_letting_go_changes_the_stamp_even_twice_within_one_tick_of_the_kernel(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, 2)
    seen = {pool.stamp()}
    with held(pool, "a", "b") as fds:
        seen.add(pool.stamp())
        for _ in range(3):
            unlock(fds.pop(0))
            seen.add(pool.stamp())
            fd = pool.try_take_slot("c")
            assert fd is not None
            fds.append(fd)
        assert len(seen) == 5


def test_a_release_is_seen_also_by_who_looks_at_fewer_slots(tmp_path: Path) -> None:
    small, large = pool_of(tmp_path, 1), pool_of(tmp_path, 2)
    with held(large, "a") as fds:
        before = small.stamp()
        unlock(fds.pop())
        assert small.stamp() != before


def test_what_a_lock_file_says_is_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "pools/api"
    folder.mkdir(parents=True)
    (folder / "0.lock").write_text("1\n")  # pid of init: alive, and no holder of ours
    (folder / "1.lock").write_bytes(b"\xff\xfe not text")
    pool = pool_of(tmp_path, 2)
    assert pool.holders() == []
    with held(pool, "a", "b"):
        assert sorted(pool.holders()) == ["a", "b"]


def test_lock_files_and_folders_that_were_deleted_are_made_again(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, 1)
    with held(pool, "a"):
        pass
    (tmp_path / "pools/api/0.lock").unlink()
    with held(pool, "b"):
        assert pool.try_take_slot("c") is None
    shutil.rmtree(tmp_path / "pools")
    with held(pool, "d"):
        assert pool.try_take_slot("e") is None


def test_a_lock_file_that_is_replaced_during_the_try_is_not_taken_for_the_one_that_others_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pools/api/0.lock"
    path.parent.mkdir(parents=True)
    path.touch()
    real = travelling.lock_descriptor
    replaced: list[bool] = []

    def replace_first(fd: int) -> bool:
        if not replaced:
            replaced.append(True)
            path.unlink()
            path.touch()
        return real(fd)

    monkeypatch.setattr(travelling, "lock_descriptor", replace_first)
    with held(pool_of(tmp_path, 1), "a") as fds:
        assert os.fstat(fds[0]).st_ino == path.stat().st_ino
        assert pool_of(tmp_path, 1).try_take_slot("b") is None


@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EROFS"])
def test_where_locking_is_impossible_no_mere_file_takes_its_place(tmp_path: Path, error: str) -> None:
    with armed(f"lock.taking:1:{error}"), pytest.raises(StateUnwritableError, match=r"pools/api/0\.lock: cannot be locked"):
        pool_of(tmp_path, 1).try_take_slot("a")


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOMEM", "EAGAIN"])
def test_a_shortage_of_the_machine_is_let_out_for_the_caller_to_wait(tmp_path: Path, error: str) -> None:
    with armed(f"lock.taking:1:{error}"), pytest.raises(OSError) as raised:  # noqa: PT011
        pool_of(tmp_path, 1).try_take_slot("a")
    assert not isinstance(raised.value, StateUnwritableError)
    with held(pool_of(tmp_path, 1), "b"):
        pass


def test_a_note_that_cannot_be_written_leaves_nothing_held(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, 1)
    with armed("lock.noting:1:ENOSPC"), pytest.raises(StateUnwritableError):
        pool.try_take_slot("a")
    assert pool.is_any_free()
    before = len(os.listdir("/dev/fd"))
    with held(pool, "b"):
        pass
    assert len(os.listdir("/dev/fd")) == before
