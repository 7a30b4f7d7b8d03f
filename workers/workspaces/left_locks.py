"""Locks that a git has left which was killed: they stand in the way of every later one, until somebody removes them.

Promise: a lock is removed only if it is on a branch of ours, or in a worktree of ours, and nobody can be at work by it. A branch
is in a repository of the user's, where another git may hold its lock for a moment (`git gc` does, of each branch): so its lock
counts as left only if it stays the same for a while and no process has it open.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from ..interruption import pause
from .git import GitFailed
from .pinned import Pinned

_LEFT_SECONDS = 3.0
"""A git that lives holds the lock of one branch for a fraction of this, without a pause."""

_POLL_SECONDS = 0.05


def remove_left_locks(worktree: Pinned, branch: str) -> None:
    """Remove those of the worktree, and that of its branch. Only when every process of the attempt before has ended.

    Raises GitFailed: somebody holds the lock of the branch.
    """
    for name in ("index.lock", "HEAD.lock"):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(worktree.git_dir, name))
    remove_branch_lock(os.path.join(worktree.common_dir, branch_lock(branch)))


def branch_lock(branch: str) -> str:
    """Where git locks the branch, in its own folder of the repository."""
    return f"refs/heads/{branch}.lock"


def remove_branch_lock(path: str) -> None:
    """Wait until nobody holds the lock at `path` (absolute), which is of a branch of ours; one that was left is removed.

    Raises GitFailed, with the words who holds it.
    """
    seen, since = _identity(path), time.monotonic()
    while seen is not None:
        pause(_POLL_SECONDS)
        now = _identity(path)
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since >= _LEFT_SECONDS:
            if (holder := _holder_of(path)) is not None:
                raise GitFailed(f"{path}: process {holder} holds this lock")
            with suppress(FileNotFoundError):
                os.unlink(path)
            return


def _identity(path: str) -> tuple[int, int, int] | None:
    """Tells this lock from one that is made later at the same place; None: there is none."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_ctime_ns, found.st_size


def _holder_of(path: str) -> int | None:
    """A process of this user's that has the file open."""
    import psutil

    from ..processes.tree import processes_of_user

    real = os.path.realpath(path)
    for process in processes_of_user():
        with suppress(psutil.Error, OSError):
            if any(file.path == real for file in process.open_files()):
                return process.pid
    return None
