"""The lock files 0.lock, 1.lock, … of a folder, any of which will do: the slots of a pool, of a run.

Each process locks below its own number, so processes with different numbers together never hold more than the largest. What
a lock file says (a note of who took it) is never believed: the lock alone counts, and the kernel frees it with its holder.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from orchestrator.errors import StateUnwritableError
from orchestrator.system.locks.holders import is_locked
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.processes.spawn import SHORTAGES

Stamp = tuple[int | None, ...]
"""What tells that somebody let go: compare for inequality only, clocks jump."""


def try_lock_in_state(path: str | Path) -> int | None:
    """As `try_lock`, of a lock file in the state folder, whose folder is made if it is missing.

    Raises StateUnwritableError where locking is impossible (never a soft lock: a mere file would outlive its holder), OSError
    for a shortage of the machine, which passes.
    """
    try:
        try:
            return try_lock(path)
        except FileNotFoundError:
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return try_lock(path)
    except OSError as error:
        raise _in_words(path, error) from error


def note_holder(fd: int, note: str, path: Path) -> None:
    """Write into the lock file who holds it now. Raises StateUnwritableError, OSError for a shortage; the lock stays."""
    try:
        fault_point("lock.noting")
        # The rest of a longer note stays behind the line: to cut it off costs every start one more call of the system.
        os.pwrite(fd, f"{note}\n".encode(), 0)
    except OSError as error:
        raise _in_words(path, error) from error


def try_take(path: Path, note: str) -> int | None:
    """`try_lock_in_state`, and `note_holder`; nothing is held if it raises."""
    fd = try_lock_in_state(path)
    if fd is None:
        return None
    try:
        note_holder(fd, note, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_free(path: Path) -> bool:
    """Whether the lock could be had just now (it is let go at once): also what a kill has freed, without a touch."""
    fd = try_lock_in_state(path)
    if fd is None:
        return False
    os.close(fd)
    return True


def note_of_holder(path: Path) -> str | None:
    """What the one who holds the lock has noted; None if nobody holds it. The lock is not taken to find that out."""
    return path.read_bytes().partition(b"\n")[0].decode(errors="replace") if is_locked(path) else None


def stamp_of(path: str | Path) -> int | None:
    """When the lock file was touched last (nanoseconds); None if there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return None


class NumberedLocks:
    """The locks of one folder. How many there are is told at each call, for it may change."""

    def __init__(self, folder: Path) -> None:
        self._path = cache(lambda number: folder / f"{number}.lock")  # looked at ten times a second while somebody waits
        self._first = 0

    def try_take(self, count: int, note: str) -> int | None:
        """Lock any of the first `count`; the descriptor, or None if all are held. Raises StateUnwritableError, OSError."""
        # From the one that was free last: of a busy folder the first tries would mostly be lost.
        for number in self._from_first(count):
            fd = try_take(self._path(number), note)
            if fd is not None:
                self._first = number
                return fd
        return None

    def is_any_free(self, count: int) -> bool:
        """Whether one of the first `count` could be had just now."""
        for number in self._from_first(count):
            if is_free(self._path(number)):
                self._first = number
                return True
        return False

    def stamp(self, count: int) -> Stamp:
        """Changes when somebody lets go (`workers.locks.unlock`). Take it before the try, or a release in between is missed."""
        return tuple(stamp_of(self._path(number)) for number in range(count))

    def notes(self, count: int) -> list[str | None]:
        """Of each of the first `count` locks what its holder has noted; None if nobody holds it."""
        return [note_of_holder(self._path(number)) for number in range(count)]

    def _from_first(self, count: int) -> list[int]:
        first = self._first if self._first < count else 0
        return [*range(first, count), *range(first)]


def _in_words(path: str | Path, error: OSError) -> OSError | StateUnwritableError:
    if error.errno in SHORTAGES:
        return error
    return StateUnwritableError(f"{path}: cannot be locked: {error.strerror or error}", "mend that, then resume the run")
