"""The halt word of a run: eight bytes that its workers share, and look at before each start that is queued.

Promise: a worker that has seen the word change begins no start that was queued before that. A worker whose attempt did not end
well changes it, before it tells that end. It is only ever changed to what it never was, so nobody has to set it back, and two
changes at once are as good as one. The supervisor only looks at it: what it wants back it asks for.

It survives nothing: what was queued under a supervisor that is gone is never begun.
"""

from __future__ import annotations

import os
import time

from .files.opening import open_file

HALT_WORD_NAME = "halt"
"""Beside the folders of the workers of a run."""

NO_WORD = b""
"""What it is before it was changed for the first time."""

_BYTES = 8


class HaltWord:
    """The word in the file `path`, which is made if it is missing. Raises OSError.

    It is read and written by calls, and not mapped: an item that cuts the file would kill those that have it mapped.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = open_file(path, os.O_RDWR | os.O_CREAT)

    def read(self) -> bytes:
        """What it is now."""
        return os.pread(self._descriptor, _BYTES, 0)

    def change(self) -> None:
        """Let nothing begin any more that is queued now."""
        os.pwrite(self._descriptor, time.monotonic_ns().to_bytes(_BYTES, "little"), 0)

    def close(self) -> None:
        """Look at it no more."""
        os.close(self._descriptor)
