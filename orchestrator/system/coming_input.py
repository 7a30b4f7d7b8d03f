"""A stream that is read while it still comes, as a pipe whose other end is still written to.

One thread reads. Another one may let go of the stream at any moment: then the reader comes to its end at once, though nothing was
written, and the writer gets SIGPIPE.
"""

from __future__ import annotations

import io
import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MOST_AHEAD_BYTES = 1 << 20
"""So much is read ahead. What has more is as good as endless."""

_BLOCK_BYTES = 1 << 16


class ComingInput(io.RawIOBase):
    """Of a descriptor, which stays the caller's. Reading raises OSError; closing it changes nothing, `release` does.

    `before_wait` is called by the thread that reads, each time that nothing is there to be read.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._ahead = io.BytesIO()
        self._has_ended = False
        self._reader, self._writer = os.pipe()
        self._poll = select.poll()
        for watched in (fd, self._reader):
            self._poll.register(watched, select.POLLIN)
        self.is_let_go = False
        self.before_wait: Callable[[], None] = _do_nothing

    def readable(self) -> bool:
        """It is."""
        return True

    def read_ahead(self, seconds: float) -> bool:
        """Read for so long; whether all was read. Before anything else reads on. What cannot be read is told to who reads on."""
        until = time.monotonic() + seconds
        with suppress(OSError):
            while self._ahead.tell() < MOST_AHEAD_BYTES and self._is_ready(max(until - time.monotonic(), 0.0)):
                data = os.read(self._fd, _BLOCK_BYTES)
                self._ahead.write(data)
                if not data:
                    self._has_ended = True
                    break
        self._ahead.seek(0)
        return self._has_ended

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read what is there, or wait for it. 0: nothing more comes, or it was let go of."""
        with memoryview(buffer) as view:
            if (taken := self._ahead.readinto(view)) or self._has_ended or self.is_let_go:
                return taken
            if not self._is_ready(0.0):
                self.before_wait()
                self._is_ready(None)
            if self.is_let_go:
                return 0
            data = os.read(self._fd, len(view))
            view[: len(data)] = data
        self._has_ended = not data
        return len(data)

    def let_go(self) -> None:
        """Have the reader come to its end. From any thread."""
        self.is_let_go = True
        os.write(self._writer, b"!")

    def end_writer(self) -> None:
        """Let go of the descriptor itself, which is an empty one then. Once nothing reads any more."""
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(null, self._fd)
        os.close(null)

    def release(self) -> None:
        """Keep no descriptor. Once nothing reads any more but what was read ahead to the end."""
        os.close(self._reader)
        os.close(self._writer)

    def _is_ready(self, seconds: float | None) -> bool:
        """Whether there is something to read, or it was let go of."""
        return bool(self._poll.poll(None if seconds is None else seconds * 1000))


def _do_nothing() -> None:
    """Nobody wants to hear of a wait."""
