"""A file of the state, read by place while somebody writes to it, replaces it or removes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import StateRefusedError
from orchestrator.workers.files.holes import written_parts
from orchestrator.workers.files.opening import open_file
from orchestrator.workers.processes.spawn import SHORTAGES

BLOCK_BYTES = 1 << 16
"""How much of a file is read and decoded at a time. A larger block is slower: malloc gets each one afresh from the kernel."""


class SourceFile:
    """A file of the run, open for reading by place, also after it was deleted. Closed with its last user.

    Raises FileNotFoundError, OSError for a shortage of the machine, and StateRefusedError for what cannot be read, or is no plain
    file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = open_file(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in SHORTAGES:
                raise
            raise _unreadable(path, error) from error

    def __del__(self) -> None:
        # Nothing to close when the open itself failed.
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._fd).st_size

    def moment(self) -> tuple[int, int]:
        """Bytes in the file, and when it was last written to (nanoseconds): differs whenever a writer did something."""
        found = os.fstat(self._fd)
        return found.st_size, found.st_mtime_ns

    def identity(self) -> tuple[int, ...]:
        """Differs between two files, and between two states of one."""
        found = os.fstat(self._fd)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def is_at_its_path(self) -> bool:
        """Whether this very file stands at its path, and neither another one nor none."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        # The number of an open file is not given to another one.
        return os.path.samestat(found, os.fstat(self._fd))

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`: fewer only at the end of the file. Raises StateRefusedError."""
        try:
            data = os.pread(self._fd, length, offset)
            while len(data) < length and (more := os.pread(self._fd, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return data

    def written(self, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """See `written_parts`. Raises StateRefusedError."""
        return written_parts(self.read, start, end)


def _unreadable(path: Path, error: OSError) -> StateRefusedError:
    return StateRefusedError(f"{path}: cannot be read: {error.strerror}", "it was left as it is")
