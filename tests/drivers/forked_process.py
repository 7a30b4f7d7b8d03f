"""What a forked process puts right to be what a new one would be: its streams, its signals, how it is shown in `/proc`."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import struct
import sys
from functools import cache
from typing import Any

_LIBC = ctypes.CDLL(None)
_LIBC.sbrk.restype = ctypes.c_void_p
_PR_SET_MM = 35
_PR_SET_MM_MAP = 14
_BOUNDS = {
    "start_code": 26,
    "end_code": 27,
    "start_data": 45,
    "end_data": 46,
    "start_brk": 47,
    "brk": 0,
    "start_stack": 28,
    "arg_start": 48,
    "arg_end": 49,
    "env_start": 50,
    "env_end": 51,
}
"""Of `struct prctl_mm_map` in its order, with their places in `/proc/PID/stat`, which does not tell `brk`."""


def take_streams(streams: list[int]) -> None:
    """Standard streams, as Python makes them when it starts; no other descriptor stays open."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    is_buffered = not sys.stdout.write_through  # else: PYTHONUNBUFFERED
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        first: io.TextIOWrapper = getattr(sys, name)
        raw = io.FileIO(number, "wb" if number else "rb", closefd=False)
        raw.name = f"<{name}>"
        buffer: Any = raw
        if number == 0:
            buffer = io.BufferedReader(raw)
        elif is_buffered:
            buffer = io.BufferedWriter(raw)
        made = io.TextIOWrapper(
            buffer,
            first.encoding,
            first.errors,
            newline="\n",
            line_buffering=is_buffered and (number == 2 or raw.isatty()),
            write_through=not is_buffered,
        )
        made.mode = "w" if number else "r"  # type: ignore[misc]
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)


def reset_signals() -> None:
    """A new program has no handlers; what was ignored stays so."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def show_in_proc(argv: list[str], environment: dict[str, str] | None = None) -> None:
    """Write both where the kernel reads `/proc/PID/cmdline` and `/proc/PID/environ`, as far as there is room.

    The room is what the first of these processes was started with. The C library reads the environment there until all of it was
    set anew.
    """
    room = dict(_room())
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        room["arg_end"] = _fill(memory, room["arg_start"], room["arg_end"], argv)
        if environment is not None:
            words = [f"{name}={value}" for name, value in environment.items()]
            room["env_end"] = _fill(memory, room["env_start"], room["env_end"], words)
    # Where the kernel cannot be told where they end now, thousands of empty words follow: each costs who reads them.
    room["brk"] = _LIBC.sbrk(0)
    bounds = struct.pack("=11Q Q I i", *(room[name] for name in _BOUNDS), 0, 0, -1)
    _LIBC.prctl(_PR_SET_MM, _PR_SET_MM_MAP, bounds, len(bounds), 0)


@cache
def _room() -> dict[str, int]:
    """Where the kernel looks for what the first of these processes was started with, and for the rest of `_BOUNDS`."""
    with open("/proc/self/stat", "rb") as file:
        fields = [int(field) for field in file.read().rpartition(b")")[2].split()[1:]]
    return {name: fields[place - 4] for name, place in _BOUNDS.items()}


def _fill(memory: io.FileIO, start: int, end: int, words: list[str]) -> int:
    """Where they end."""
    text = b"".join(os.fsencode(word) + b"\0" for word in words)[: end - start - 1]
    memory.seek(start)
    memory.write(text.ljust(end - start, b"\0"))
    return start + len(text)
