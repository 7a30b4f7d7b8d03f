"""Signals of a supervisor, turned into something that a selector can wait for.

A handler only notes the number; a byte on the wakeup descriptor wakes the loop. A signal that was ignored when we started
(`nohup`, a background job of a shell) stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType, TracebackType

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class SignalInbox:
    """Context manager: catches SIGINT, SIGTERM, SIGHUP, SIGUSR1 while it is open, and puts the old handlers back."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        self._noted: list[signal.Signals] = []
        self._old_handlers: dict[signal.Signals, object] = {}
        self._old_wakeup_fd = -1

    def __enter__(self) -> SignalInbox:
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        for number in CAUGHT:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._old_handlers[number] = signal.signal(number, self._note)
        self._old_wakeup_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        signal.set_wakeup_fd(self._old_wakeup_fd)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        os.close(self._read_fd)
        os.close(self._write_fd)

    def fileno(self) -> int:
        """Readable after a signal."""
        return self._read_fd

    def take(self) -> list[signal.Signals]:
        """The signals that came since the last call, in order."""
        self._empty()
        noted, self._noted = self._noted, []
        return noted

    def _empty(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read_fd, 512):
                continue

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(signal.Signals(number))
