"""The content of one file, copied to another.

Promise: a write to one never shows in the other. Where the file system can, both share their blocks until one of them is written;
else what is a hole in the original stays one, and an end of the attempt is heard between two pieces.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator

from ..interruption import heed
from .beneath import OutsideError, lies_beneath, place_of

_FICLONE = 0x40049409
"""The ioctl of Linux that has a file share the blocks of another until one of the two is written."""

_PIECE_BYTES = 1 << 20


def copy_content(source: str, target: str, root: str = "") -> None:
    """Copy the content of the file `source` to `target`, which is made (0600), or loses what it had.

    `root`: a real path; what does not lie beneath it is not read (OutsideError). Empty: all is. Raises OSError, Interrupted.
    """
    origin = _open_without_waiting(source)
    try:
        # Of the open file: a folder on the way may have become a link just now.
        if root and not lies_beneath(found := place_of(origin), root):
            raise OutsideError(source, found)
        copy_open_file(origin, target)
    finally:
        os.close(origin)


def copy_open_file(origin: int, target: str) -> None:
    """The same of a plain file that is open for reading."""
    with open(target, "wb", buffering=0, opener=_open_for_its_owner) as copy:
        if _shares_blocks(origin, copy.fileno()):
            return
        size = os.fstat(origin).st_size
        for start, end in _written_parts(origin, size):
            _copy_part(origin, copy.fileno(), start, end)
        # A hole at the end.
        os.ftruncate(copy.fileno(), size)


def _open_for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _open_without_waiting(path: str) -> int:
    """A FIFO that stands there would be waited for, and a device may have no end. A link is none of a moment ago."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no file", path)
    return fd


def _shares_blocks(origin: int, copy: int) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(copy, _FICLONE, origin)
    except OSError:  # another file system, or one that cannot
        return False
    return True


def _written_parts(origin: int, size: int) -> Iterator[tuple[int, int]]:
    """Where something is written in the file: from a place to another. All of it where the file system cannot tell."""
    place = 0
    while place < size:
        heed()
        try:
            start = os.lseek(origin, place, os.SEEK_DATA)
            end = os.lseek(origin, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # the rest is a hole
            start, end = place, size
        yield start, min(end, size)
        place = end


def _copy_part(origin: int, copy: int, place: int, end: int) -> None:
    while place < end:
        heed()
        piece = os.pread(origin, min(_PIECE_BYTES, end - place), place)
        if not piece:
            return  # somebody has cut it meanwhile
        place += os.pwrite(copy, piece, place)
