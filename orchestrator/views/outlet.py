"""A text stream that goes silent when whoever read it has gone: a view must never end a run. No secret of ours passes it."""

from __future__ import annotations

import os
import stat
from typing import IO, TextIO

from orchestrator.system.redaction import of_this_process


class Outlet:
    """Writes to `stream` (None: nowhere) until that fails once. Looks enough like a file for rich to write to it."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    @property
    def is_open(self) -> bool:
        """Whether somebody may still be reading."""
        return self._stream is not None

    def line(self, text: str) -> None:
        """Write one line and flush it."""
        self.write(text + "\n")
        self.flush()

    def write(self, text: str) -> int:
        """Write `text`, without secrets: what failed is told in the words of whatever failed."""
        text = of_this_process().text(text)
        if self._stream is not None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError):  # closed pipe, full disk, a terminal that hung up, a closed file object
                self._stream = None
        return len(text)

    def flush(self) -> None:
        """Have what was written seen."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None

    def isatty(self) -> bool:
        """Whether a terminal is behind it."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor behind it (rich asks it for the size of the terminal). Raises OSError without one."""
        if self._stream is None:
            raise OSError("this outlet is closed")
        return self._stream.fileno()


def waits_for_reader(stream: IO[str] | None) -> bool:
    """Whether what is written to `stream` has to be read by somebody before more can be written: a pipe or a socket.

    A file takes all. A terminal is not meant: see `listeners`.
    """
    if stream is None:
        return False
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # no descriptor is behind it, or a closed one
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def own_stream(stream: TextIO) -> TextIO:
    """Another stream to the descriptor of `stream`, for a thread that may wait there for ever.

    A stream that a thread waits in is locked, and the interpreter, which flushes sys.stderr at its end, would abort.
    """
    return open(stream.fileno(), "w", encoding=stream.encoding, errors=stream.errors, closefd=False)
