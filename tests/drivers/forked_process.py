"""What a forked process puts right to be what a new one would be: its streams, its signals, how it is shown in `/proc`."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any


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

    The room is what this process was started with. The C library reads the environment there until all of it was set anew.
    """
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    arguments_start, arguments_end, environment_start, environment_end = (int(field) for field in fields[45:49])
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        _fill(memory, arguments_start, arguments_end, argv)
        if environment is not None:
            _fill(memory, environment_start, environment_end, [f"{name}={value}" for name, value in environment.items()])


def _fill(memory: io.FileIO, start: int, end: int, words: list[str]) -> None:
    text = b"".join(os.fsencode(word) + b"\0" for word in words)[: end - start - 1]
    memory.seek(start)
    memory.write(text.ljust(end - start, b"\0"))
