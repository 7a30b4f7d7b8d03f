"""Hears of the next write to a file of one folder: a worker whose agent writes nothing sleeps until it does.

By a signal of the kernel for a folder (dnotify), and not by inotify: a user has 128 instances of that in all, editors need them,
and each worker would take one. Where there is no such signal (macOS) the streams are looked at by the clock.
"""

from __future__ import annotations

import fcntl
import os
import signal

_HAS_SIGNAL = hasattr(fcntl, "F_NOTIFY")


class WriteBell:
    """Of `folder`. For the main thread of a process that waits where signals wake it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._is_of_use = _HAS_SIGNAL

    def arm(self) -> bool:
        """Have SIGIO come at the next write, once. What was written before is not told. False: nothing will be."""
        if not self._is_of_use:
            return False
        try:
            if self._descriptor is None:
                # Before the first signal can come: by itself it ends a process.
                signal.signal(signal.SIGIO, lambda *_: None)
                self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.fcntl(self._descriptor, fcntl.F_NOTIFY, fcntl.DN_MODIFY)
        except OSError:
            # A kernel without it, or no descriptor is left: the clock does it.
            self._is_of_use = False
        return self._is_of_use
