"""How long the locks of an attempt are held by what it started: no longer, and none of another attempt."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

from orchestrator.workers.processes.carried_locks import LockCarrier, carry_locks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere copies are inherited")


def locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def inherited_for(path: Path) -> int:
    """What a process inherits for a lock of which nobody else has a copy any more."""
    lock = locked(path)
    [inherited] = carry_locks([lock])
    os.close(lock)
    return inherited


def is_locked(path: Path) -> bool:
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_what_has_escaped_from_an_attempt_holds_its_locks_and_none_of_a_later_one(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    escaped, later = inherited_for(first), inherited_for(second)
    assert is_locked(first)
    assert is_locked(second)
    os.close(later)
    assert not is_locked(second)
    assert is_locked(first)
    os.close(escaped)
    assert not is_locked(first)


def test_attempts_that_are_queued_have_the_locks_of_the_first_by_one_socket(tmp_path: Path) -> None:
    carrier, lock = LockCarrier(), locked(tmp_path / "lock")
    inherited = [*carrier.carry([lock])]
    assert carrier.carry([lock]) == inherited
    carrier.let_go()
    os.close(lock)
    assert not is_locked(tmp_path / "lock")


def test_a_lock_that_comes_by_the_number_of_an_earlier_one_is_carried_as_itself(tmp_path: Path) -> None:
    carrier, lock = LockCarrier(), locked(tmp_path / "first")
    carrier.carry([lock])
    carrier.let_go()
    os.close(lock)
    again = locked(tmp_path / "second")
    assert again == lock
    inherited = os.dup(*carrier.carry([again]))
    carrier.let_go()
    os.close(again)
    assert is_locked(tmp_path / "second"), "by what a process has inherited"
    os.close(inherited)
    assert not is_locked(tmp_path / "second")


def test_locks_that_are_not_the_same_get_another_socket(tmp_path: Path) -> None:
    carrier, lock, folders = LockCarrier(), locked(tmp_path / "lock"), locked(tmp_path / "folders")
    carrier.carry([lock, folders])
    os.close(folders)
    assert is_locked(tmp_path / "folders")
    carrier.carry([lock])
    assert not is_locked(tmp_path / "folders")
    carrier.let_go()
    os.close(lock)
