"""Our own environment, hidden from what runs beside us: agents run as the user, and could read it in `/proc/PID/environ`.

For a process that is ours alone, never for a program that has us as its library.
"""

from __future__ import annotations

import ctypes
import os
import sys

from orchestrator.workers.environment import EVIDENCE, become_unreadable
from orchestrator.workers.processes.identity import kernel_told
from orchestrator.workers.processes.variables import passed_of
from orchestrator.workers.protocol import MARK_VARIABLE


def hide_environment() -> None:
    """Have nobody but root read the environment that this process was started with. It stays what it is for this process.

    Linux alone; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    # Whoever runs inside an item has to be found by its mark, so nothing but the mark is left there. All others are closed.
    if MARK_VARIABLE in os.environ:
        _show_only(passed_of(os.environb, EVIDENCE))
    else:
        become_unreadable()


def _show_only(shown: dict[bytes, bytes]) -> None:
    """Write over the place where the kernel put the environment, which is what others are shown."""
    # Each variable to a new place first: the C library has them where the kernel put them until they are set once more.
    for name, value in list(os.environb.items()):
        if name:
            os.environb[name] = value
    begin, end = _place()
    told = b"".join(name + b"=" + value + b"\0" for name, value in shown.items())
    if begin and len(told) <= end - begin:
        ctypes.memset(begin, 0, end - begin)
        ctypes.memmove(begin, told, len(told))


def _place() -> tuple[int, int]:
    """Where the environment begins and ends in memory; zeros where the kernel does not tell."""
    told = kernel_told("self")
    return (0, 0) if told is None else (int(told.fields[47]), int(told.fields[48]))
