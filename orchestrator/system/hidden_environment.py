"""Our own environment, hidden from what runs beside us: agents run as the user, and could read it in `/proc/PID/environ`.

For a process that is ours alone, never for a program that has us as its library.
"""

from __future__ import annotations

import ctypes
import os
import sys

from orchestrator.workers.environment import become_unreadable
from orchestrator.workers.protocol import MARK_VARIABLE, WORKER_FOLDER_VARIABLE

_EVIDENCE = (MARK_VARIABLE, WORKER_FOLDER_VARIABLE)
"""What stays to be seen: who ends what a killed worker left finds a nested run by it."""


def hide_environment() -> None:
    """Have nobody but root read the environment that this process was started with. It stays what it is for this process.

    Linux alone; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    # Whoever runs inside an item has to be found by its mark, so nothing but the mark is left there. All others are closed.
    if MARK_VARIABLE in os.environ:
        _show_only({name: os.environ[name] for name in _EVIDENCE if name in os.environ})
    else:
        become_unreadable()


def _show_only(shown: dict[str, str]) -> None:
    """Write over the place where the kernel put the environment, which is what others are shown."""
    # Each variable to a new place first: the C library has them where the kernel put them until they are set once more.
    for name, value in list(os.environb.items()):
        if name:
            os.environb[name] = value
    begin, end = _place()
    told = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in shown.items())
    if begin and len(told) <= end - begin:
        ctypes.memset(begin, 0, end - begin)
        ctypes.memmove(begin, told, len(told))


def _place() -> tuple[int, int]:
    """Where the environment begins and ends in memory; zeros where the kernel does not tell."""
    with open("/proc/self/stat", "rb") as file:
        line = file.read()
    # The command name stands in parentheses and may hold any byte: count from the last one.
    fields = line[line.rindex(b")") + 2 :].split(b" ")
    return int(fields[47]), int(fields[48])
