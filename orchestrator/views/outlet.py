"""A text stream that goes silent when whoever read it has gone: a view must never end a run. No secret of ours passes it."""

from __future__ import annotations

from typing import TextIO

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
