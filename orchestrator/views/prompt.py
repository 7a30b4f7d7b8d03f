"""Asking at the terminal: one question at a time, its answer read without blocking, nothing but a whole choice ever taken.

Promise: what was typed before a question stood there is no answer to it; an empty line, the end of the input and a signal are
none either. It reads only while its process has the terminal: a process in the background would be stopped for it.
"""

from __future__ import annotations

import os
import stat
import termios
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
    """What somebody chose, and what they said with it."""

    choice: str
    message: str


def has_terminal(fd: int) -> bool:
    """Whether this process may read the terminal `fd` now: it is one, and ours is its foreground process group."""
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
        """Put the question of the gate `name`."""
        self._listeners.hear(PromptOpened())
        self._options = options
        self._typed = b""
        if has_terminal(self._fd):
            termios.tcflush(self._fd, termios.TCIFLUSH)
        for line in file_lines(show_file) if show_file is not None else ():
            self._outlet.line(line)
        for line in question.splitlines():
            self._outlet.line(f"{name}: {shown(line, 2000)}")
        self._prompt()

    def close(self, words: str) -> None:
        """Take the question back, and say why."""
        if self._options:
            self._options = ()
            self._outlet.line(f"({words})")
            self._listeners.hear(PromptClosed())

    def filenos(self) -> list[int]:
        """The terminal."""
        return [self._fd]

    def read(self) -> Said | EOFError | None:
        """What was chosen; EOFError: nobody can be asked here any more; None: nothing yet."""
        if not has_terminal(self._fd):
            return EOFError()
        try:
            data = os.read(self._fd, 4096)
        except OSError:
            data = b""
        if not data:
            return EOFError()
        self._typed += data
        *lines, self._typed = self._typed.split(b"\n")
        self._typed = self._typed[-_LONGEST_LINE_BYTES:]
        for line in lines:
            said = understood(line.decode("utf-8", "replace"), self._options)
            if isinstance(said, Said):
                # No word of another line is an answer to the next question.
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
    """The choice that a line makes, `CHOICE [MESSAGE]`, in upper or lower case or as the only one that begins so; else words."""
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
    """The beginning of a text file, as it may be shown on a terminal; in words, why it cannot be."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO does not hold us up
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
