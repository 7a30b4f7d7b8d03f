"""Bytes made in parts by two processes, each of them every other part: what takes long by itself takes half as long.

Promise: what comes out is what one process would have made, byte for byte and in order, or the exception that it would have
raised. A child that breaks off, or is killed, leaves no hole: this process goes on behind its last byte. Memory holds a piece,
and what fits in a pipe: a child that is ahead waits. It does not outlive its parent by more than the piece that it is at.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO

from orchestrator.system.processors import usable_processors

_PIPE_BYTES = 1 << 20
"""A part that fits lets the child begin with its next one while this process is at its own."""
_LENGTH_BYTES = 8
"""Before each piece is its length; 0: the part ends."""


def may_be_two() -> bool:
    """Whether a second process is of use, and safe: a fork takes no other thread along, and each lock that one holds."""
    return usable_processors() > 1 and threading.active_count() == 1


def made_by_two(make: Callable[[int], Iterable[bytes]], count: int) -> Generator[bytes]:
    """The pieces of `make(0)`, `make(1)` and so on up to `count`, one behind the other. A part is the same whenever it is made.

    To be closed if not all is taken: then nothing of the child is left.
    """
    reading, writing = os.pipe()
    # Only Linux lets one ask for the size; elsewhere the child waits sooner.
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    with open(reading, "rb") as of_child:
        try:
            pid: int | None = os.fork()
        except OSError:
            pid = None  # There is no room for a process: as if it had broken off at once.
        if pid == 0:
            _make_every_other(make, count, reading, writing)
        os.close(writing)
        try:
            yield from _joined(make, count, of_child)
        finally:
            # What it still has to tell breaks it off.
            of_child.close()
            # Where this process was told to ignore the ends of its children the kernel has waited for it.
            if pid is not None:
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)


def _joined(make: Callable[[int], Iterable[bytes]], count: int, of_child: BinaryIO) -> Iterator[bytes]:
    for part in range(count):
        given = 0
        if part % 2:
            while piece := _told(of_child):
                yield piece
                given += len(piece)
            if piece is not None:
                continue
        # This process's own; or the child is gone. Whatever has broken it off is met here, too, if it was no signal.
        for piece in make(part):
            if len(piece) > given:
                yield piece[given:]
            given = max(given - len(piece), 0)


def _told(of_child: BinaryIO) -> bytes | None:
    """The next piece, empty at the end of a part; None: the child is gone."""
    length = of_child.read(_LENGTH_BYTES)
    wanted = int.from_bytes(length, "big")
    piece = of_child.read(wanted)
    return piece if len(length) == _LENGTH_BYTES and len(piece) == wanted else None


def _make_every_other(make: Callable[[int], Iterable[bytes]], count: int, reading: int, writing: int) -> None:
    """The life of the child. What it meets its parent meets, too, and tells."""
    try:
        # Else it would wait for itself to read.
        os.close(reading)
        with open(writing, "wb") as told:
            for part in range(1, count, 2):
                for piece in filter(None, make(part)):
                    told.write(len(piece).to_bytes(_LENGTH_BYTES, "big") + piece)
                told.write(bytes(_LENGTH_BYTES))
                told.flush()
    finally:
        os._exit(0)
