"""Files that the user names: jobs files, lists of items, prompts, schemas, archives.

Promise: opening one returns at once, and reading it comes to an end. A pipe is read, as of a shell's `<(ls)`, if somebody writes
to it. It refuses, in words: a pipe to which nobody writes, for its opener would wait for ever; a device, which may give bytes for
ever; a folder, a socket.

An agent may have put a pipe, or a link to a terminal, where a file was, and keep it open: its supervisor would be deaf.
So a pipe is waited for, and a terminal read, only where its path says that it is one (`/dev/stdin`, `/dev/fd/63`).
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import time
from typing import BinaryIO

LARGEST_BYTES = 256 << 20
"""Of a file that is read whole, of what comes through a pipe, and of a line."""
_BLOCK_BYTES = 1 << 16
_DEVICES = ("/dev/", "/proc/")
"""How paths begin of what is no file."""
_IN_MEMORY = "/dev/shm/"
"""Below it lie ordinary folders."""
_PATIENCE_SECONDS = 2.0
"""For all of a pipe that has a name of its own."""


def open_named(path: str | os.PathLike[str]) -> BinaryIO:
    """The file at `path`, open for reading from its beginning. Raises OSError, whose `strerror` is for the user."""
    is_meant = is_of_devices(os.fspath(path))
    # Not to wait for the other end of a pipe.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if stat.S_ISFIFO(found.st_mode):
            return io.BytesIO(_all_of_pipe(fd, path, None if is_meant else time.monotonic() + _PATIENCE_SECONDS))
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
        # A terminal ends with Ctrl-D, and /dev/null at once.
        if stat.S_ISCHR(found.st_mode) and not (is_meant and os.isatty(fd)) and not os.path.samestat(found, os.stat(os.devnull)):
            raise OSError(errno.EINVAL, "it is a device, and no file", os.fspath(path))
        os.set_blocking(fd, True)
        # A descriptor of its own, so that this one is closed here in any case.
        return open(os.dup(fd), "rb")
    finally:
        os.close(fd)


def read_named(path: str | os.PathLike[str]) -> bytes:
    """All bytes of the file at `path`. Raises OSError as `open_named` does, and for more than 256 MiB."""
    data = bytearray()
    with open_named(path) as file:
        # By blocks: room for all that is allowed would be made beforehand.
        while block := file.read(_BLOCK_BYTES):
            data += block
            if len(data) > LARGEST_BYTES:
                raise _too_large(path)
    return bytes(data)


def is_of_devices(path: str) -> bool:
    """Whether `path` says by itself that it is no file."""
    return path.startswith(_DEVICES) and not path.startswith(_IN_MEMORY)


def _all_of_pipe(fd: int, path: str | os.PathLike[str], give_up_at: float | None) -> bytes:
    """`give_up_at`: monotonic seconds; None: it is waited for as long as somebody has it open."""
    data = bytearray()
    writers = select.poll()
    writers.register(fd, select.POLLIN)
    while True:
        try:
            block = os.read(fd, _BLOCK_BYTES)
        except BlockingIOError:
            # Somebody has it open, and has not written yet.
            left = None if give_up_at is None else give_up_at - time.monotonic()
            if left is not None and left <= 0:
                words = "it is a pipe, and whoever has it open has not written all of it: write it to a file"
                raise OSError(errno.ETIMEDOUT, words, os.fspath(path)) from None
            writers.poll(None if left is None else left * 1000)
            continue
        if not block:
            break
        data += block
        if len(data) > LARGEST_BYTES:
            raise _too_large(path)
    if not data:
        raise OSError(errno.ENXIO, "it is a pipe, and nobody writes to it", os.fspath(path))
    return bytes(data)


def _too_large(path: str | os.PathLike[str]) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {LARGEST_BYTES >> 20} MiB", os.fspath(path))
