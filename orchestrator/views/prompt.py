"""Asking a person at the terminal: one question at a time, answered by a whole line, read without blocking.

Promise: no answer is taken that was not meant. Text that was typed before the question stood there, an empty line, the end of the
input and a signal are no answers. The terminal is read only while this process is in its foreground: the kernel would stop a
process in the background for it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

import msgspec

from orchestrator.system.wording import shown
from orchestrator.views.happenings import PromptClosed, PromptOpened
from orchestrator.views.listeners import Listeners
from orchestrator.views.outlet import Outlet

_SHOWN_LINES = 40
_SHOWN_BYTES = 1 << 16
_LINE_WIDTH = 400
_LONGEST_LINE_BYTES = 1 << 16


class Said(msgspec.Struct, frozen=True):
    """The option that a person chose, and the message that they added (may be empty)."""

    choice: str
    message: str


def has_terminal(fd: int) -> bool:
    """Whether this process may read `fd` now: it is a terminal, and our process group is in its foreground."""
    try:
        return os.isatty(fd) and os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


class Prompt:
    """Asks on the terminal `fd` with words on `outlet`. The `listeners` are told, so that no view draws there meanwhile."""

    def __init__(self, fd: int, outlet: Outlet, listeners: Listeners) -> None:
        self._fd = fd
        self._outlet = outlet
        self._listeners = listeners
        self._options: Sequence[str] = ()
        self._typed = b""

    def open(self, name: str, question: str, options: Sequence[str], show_file: str | None) -> None:
        """Put the question of the gate `name`. `show_file`: a file whose beginning is shown above it; None: none."""
        # Before a word is written: a view that draws now would draw over the question.
        self._listeners.hear(PromptOpened())
        self._options = options
        self._typed = b""
        # Keys that were pressed before the question stood there are no answer to it.
        if has_terminal(self._fd):
            import termios  # only where a gate asks

            termios.tcflush(self._fd, termios.TCIFLUSH)
        for line in file_lines(show_file) if show_file is not None else ():
            self._outlet.line(line)
        for line in question.splitlines():
            self._outlet.line(f"{name}: {shown(line, 2000)}")
        self._prompt()

    def close(self, words: str) -> None:
        """Take the question back, and say why in `words`. Without an open question it does nothing."""
        if self._options:
            self._options = ()
            self._outlet.line(f"({words})")
            self._listeners.hear(PromptClosed())

    def filenos(self) -> list[int]:
        """The terminal: readable when a line was typed."""
        return [self._fd]

    def read(self) -> Said | EOFError | None:
        """The choice that was made; None: none yet; EOFError: nobody can be asked here any more. Does not block."""
        # In the background now, hung up, or Ctrl-D: the question stays open, and is answered elsewhere.
        if not has_terminal(self._fd):
            return EOFError()
        try:
            data = os.read(self._fd, 4096)
        except OSError:
            data = b""
        if not data:
            return EOFError()
        # A terminal gives whole lines; several may have come at once, and one may be cut.
        self._typed += data
        *lines, self._typed = self._typed.split(b"\n")
        self._typed = self._typed[-_LONGEST_LINE_BYTES:]
        for line in lines:
            said = understood(line.decode("utf-8", "replace"), self._options)
            if isinstance(said, Said):
                # The lines behind it are dropped: they were typed before the next question stood there.
                self._options = ()
                self._listeners.hear(PromptClosed())
                return said
            self._outlet.line(said)
            self._prompt()
        return None

    def _prompt(self) -> None:
        self._outlet.write(f"  {' / '.join(self._options)} (and a message, if you like): ")
        self._outlet.flush()


def understood(line: str, options: Sequence[str]) -> Said | str:
    """The choice that a line (`CHOICE [MESSAGE]`) makes; a text that says why it makes none.

    A choice may be written in upper or lower case, and shortened as long as only one option begins so.
    """
    # The exact option first: `yes` must be possible beside `yes-to-all`.
    word, _, message = line.strip().partition(" ")
    word = word.rstrip(":,")
    if not word:
        return "  an empty line is no answer"
    found = [option for option in options if option == word]
    found = found or [option for option in options if option.lower() == word.lower()]
    found = found or [option for option in options if option.lower().startswith(word.lower())]
    if len(found) == 1:
        return Said(found[0], message.strip())
    meant = f" could be {' or '.join(found)}" if found else " is none of the choices"
    return f"  {shown(word, 40)}{meant}"


def file_lines(path: str) -> list[str]:
    """The beginning of a text file, as lines that are safe for a terminal; one line that says why it cannot be shown."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # without waiting for the writer of a FIFO
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return [f"{shown(path)} is not a file"]
            text = os.read(fd, _SHOWN_BYTES + 1)
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        return [f"{shown(path)} cannot be shown: {getattr(error, 'strerror', None) or error}"]
    lines = text.decode("utf-8", "replace").splitlines()
    told = [f"--- {shown(path)}", *(shown(line.expandtabs(), _LINE_WIDTH) for line in lines[:_SHOWN_LINES])]
    is_cut = len(lines) > _SHOWN_LINES or len(text) > _SHOWN_BYTES
    return [*told, "--- and more" if is_cut else "---"]
