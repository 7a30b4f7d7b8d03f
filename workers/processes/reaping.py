"""`wait4` of the C library, for any child that has changed: what a process used, without the objects that Python makes of it.

Promise: it tells what `os.wait4` would tell. Python makes a list of sixteen numbers for it, and looks for the module of their
names, each time; and an exception where no child is left, as is so after each command: together as dear as a line of the log.
"""

from __future__ import annotations

import os
import struct
import sys
from functools import cache
from typing import NamedTuple

_OPTIONS = os.WNOHANG | os.WUNTRACED | os.WCONTINUED
_USAGE = struct.Struct("5l")
"""How `struct rusage` begins: seconds and microseconds in the program, the same in the kernel, and the most memory at once."""
_USAGE_BYTES = 1024
"""Room for the whole of it: 144 bytes with 64 bits."""


class Reaped(NamedTuple):
    """A child that has ended, or was stopped or continued; `pid` 0: none has changed; -1: there is no child.

    `status` is its wait status, `cpu_seconds` what it used with its children that were waited for. `max_rss` in the unit of the
    system: see `ru_maxrss`.
    """

    pid: int
    status: int = 0
    cpu_seconds: float = 0.0
    max_rss: int = 0


_UNCHANGED = Reaped(0)
_NO_CHILD = Reaped(-1)


class Reaper:
    """Takes in the children of this process, one at a time. Waits for nothing."""

    def __init__(self) -> None:
        self._is_direct = sys.platform == "linux" and sys.maxsize > 1 << 32
        if self._is_direct:
            import ctypes  # Only a worker needs it, and the supervisor loads this module, too.

            self._wait4 = ctypes.PyDLL(None).wait4
            self._status = ctypes.c_int()
            self._usage = ctypes.create_string_buffer(_USAGE_BYTES)
            self._into_status, self._into_usage = ctypes.byref(self._status), ctypes.byref(self._usage)

    def reap(self) -> Reaped:
        """What has changed."""
        if not self._is_direct:
            return _reap_by_python()
        pid = self._wait4(-1, self._into_status, _OPTIONS, self._into_usage)
        # It fails for no other reason than that there is no child.
        if pid <= 0:
            return _UNCHANGED if pid == 0 else _NO_CHILD
        seconds, microseconds, kernel_seconds, kernel_microseconds, max_rss = _USAGE.unpack_from(self._usage)
        used = seconds + kernel_seconds + (microseconds + kernel_microseconds) / 1_000_000
        return Reaped(pid, self._status.value, used, max_rss)


def _reap_by_python() -> Reaped:
    try:
        pid, status, usage = os.wait4(-1, _OPTIONS)
    except ChildProcessError:
        return _NO_CHILD
    return Reaped(pid, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


@cache
def reaper() -> Reaper:
    """The one of this process."""
    return Reaper()
