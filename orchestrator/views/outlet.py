"""Where a view writes its text: a stream that goes silent when its reader has gone.

No secret of ours passes it, and nothing that a terminal would obey but what a view draws.

A view must never end a run, nor hold it up. A terminal may stand still (Ctrl-S, a connection that stalls): it is written without
waiting for it, and what it does not take is kept until it does. A pipe is the matter of `queued_listener`. A file takes all.
"""

from __future__ import annotations

import os
import stat
from typing import IO, TextIO

from orchestrator.system.redaction import of_this_process
from orchestrator.system.wording import for_terminal, shown

MOST_UNWRITTEN_BYTES = 1 << 20
"""Of what a terminal is to show while it stands still: some 10,000 lines. What comes after them is counted."""


class Outlet:
    """Writes to `stream` (None: nowhere) until that fails once."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    @property
    def is_open(self) -> bool:
        """Whether somebody may still be reading."""
        return self._stream is not None

    @property
    def is_behind(self) -> bool:
        """Whether something that was written is not out yet: then a new picture would come too late to be true."""
        return False

    def line(self, text: str) -> None:
        """Write one line and flush it: nothing in `text` ends it."""
        self._put(shown(_without_secrets(text)) + "\n")
        self.flush()

    def write(self, text: str) -> None:
        """Write words, perhaps several lines: what failed is told in the words of whatever failed."""
        self._put(for_terminal(_without_secrets(text)))

    def draw(self, text: str) -> None:
        """Write what moves the cursor and gives colours. The words in it are `shown` already."""
        self._put(_without_secrets(text))

    def _put(self, text: str) -> None:
        if self._stream is not None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError:
                self._put(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except (OSError, ValueError):  # closed pipe, full disk, a terminal that hung up, a closed file object
                self._stream = None

    def flush(self) -> None:
        """Have what was written seen."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None

    def finish(self) -> None:
        """Wait until all that was written is out: the last word. Nothing is held up by it any more but the exit."""
        self.flush()

    def isatty(self) -> bool:
        """Whether a terminal is behind it."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """The descriptor behind it (rich asks it for the size of the terminal). Raises OSError without one."""
        if self._stream is None:
            raise OSError("this outlet is closed")
        return self._stream.fileno()


class TerminalOutlet(Outlet):
    """Writes to the terminal behind `stream` without ever waiting for it, but for `finish`.

    `fd` is the same terminal, opened once more: others who have it open do not want their writes to fail when it stands still.
    """

    def __init__(self, stream: TextIO, fd: int) -> None:
        super().__init__(stream)
        self._fd = fd
        self._unwritten = bytearray()
        self._dropped = 0

    @property
    def is_behind(self) -> bool:
        """Whether the terminal has not taken everything."""
        self.flush()
        return bool(self._unwritten)

    def _put(self, text: str) -> None:
        """Keep `text` until the terminal takes it; `flush` tries."""
        if self._stream is None:
            return
        if len(self._unwritten) < MOST_UNWRITTEN_BYTES:
            self._unwritten += text.encode(self.encoding, "backslashreplace")
        else:
            self._dropped += text.count("\n")

    def flush(self) -> None:
        """Write what the terminal takes now."""
        try:
            while self._unwritten:
                del self._unwritten[: os.write(self._fd, self._unwritten)]
                if not self._unwritten and self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    self.write(f"note: {dropped} lines are not shown: the terminal stood still\n")
        except BlockingIOError:
            return
        except OSError:  # it hung up
            self._stream = None
            self._unwritten.clear()

    def finish(self) -> None:
        """Write everything, and wait for the terminal if it stands still."""
        os.set_blocking(self._fd, True)
        self.flush()


def _without_secrets(text: str) -> str:
    return of_this_process().redact_text(text)


def outlet_to(stream: TextIO | None) -> Outlet:
    """The outlet that a view of a run needs, by what is behind `stream`. A pipe's is for a thread of its own."""
    if stream is not None and waits_for_reader(stream):
        return Outlet(own_stream(stream))
    if stream is not None and stream.isatty():
        try:
            fd = os.open(os.ttyname(stream.fileno()), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return Outlet(stream)  # a terminal of another user, or one that has no name here: a container's
        return TerminalOutlet(stream, fd)
    return Outlet(stream)


def waits_for_reader(stream: IO[str] | None) -> bool:
    """Whether what is written to `stream` has to be read by somebody before more can be written: a pipe or a socket.

    A file takes all, and a terminal is written without waiting for it.
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
