"""The lock files 0.lock, 1.lock, … of a folder, any of which will do: the slots of a pool, of a run.

Each process locks below its own number, so processes with different numbers together never hold more than the largest.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from orchestrator.system.locks.lock_file import Stamp, is_free, note_of_holder, stamp_of, try_take


class NumberedLocks:
    """The locks of one folder. How many there are is told at each call, for it may change.

    `run_folder`: of the run whose slots they are; None: they are shared by all runs.
    """

    def __init__(self, folder: Path, run_folder: Path | None = None) -> None:
        self._run_folder = run_folder
        self._path = cache(lambda number: folder / f"{number}.lock")  # looked at ten times a second while somebody waits
        self._first = 0

    def try_take(self, count: int, note: str) -> int | None:
        """Lock any of the first `count`; the descriptor, or None if all are held. Raises StateUnwritableError, OSError."""
        # From the one that was free last: of a busy folder the first tries would mostly be lost.
        for number in self._from_first(count):
            fd = try_take(self._path(number), note, self._run_folder)
            if fd is not None:
                self._first = number
                return fd
        return None

    def is_any_free(self, count: int) -> bool:
        """Whether one of the first `count` could be had just now."""
        for number in self._from_first(count):
            if is_free(self._path(number), self._run_folder):
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
