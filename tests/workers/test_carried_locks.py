"""How long the locks of an attempt are held by what it started: no longer, and none of another attempt."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

from orchestrator.workers.processes.carried_locks import carry_locks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere copies are inherited")


def inherited_for(path: Path) -> int:
    """What a process inherits for a lock of which nobody else has a copy any more."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
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
