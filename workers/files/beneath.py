"""What lies beneath a folder that a stranger may write: entered, opened and looked up without being led out of it by a link.

An agent may put a link in place of any file or folder of its workspace, at any moment. So a path is never looked at first and
used afterwards: it is opened, the kernel is asked where the open file is, and what is done is done with that.

Promise: a descriptor that is returned lay beneath the root when it was opened. Links that stay beneath the root are followed.
What lies outside is neither read nor, on Linux, opened. It refuses to handle: hard links, which the kernel cannot tell from the
file itself.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

_ONLY_A_PLACE = getattr(os, "O_PATH", os.O_NONBLOCK | os.O_NOCTTY)
"""The open file says where it is, and is not opened to be read: a FIFO would be waited for, and a device may do something."""

_F_GETPATH = 50
"""The call of macOS that tells where an open file is."""


class OutsideError(OSError):
    """A link leads out of the root. `strerror` says where to; `filename` is the path that was asked for."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(errno.EXDEV, f"a link leads out of the workspace, to {found}", path)


def real_root(folder: str) -> str:
    """The real path of a folder that is to be stayed beneath. Raises OutsideError if it is a link itself, OSError."""
    if os.path.islink(folder):
        raise OutsideError(folder, os.path.realpath(folder))
    return os.path.realpath(folder)


def enter_beneath(folder: str, root: str) -> None:
    """Make `folder` the current directory, if it lies beneath `root` (of `real_root`). Raises OutsideError, OSError."""
    descriptor = _opened(folder, root, os.O_DIRECTORY)
    try:
        os.fchdir(descriptor)
    finally:
        os.close(descriptor)


def open_beneath(path: str, root: str) -> int:
    """The descriptor, for reading, of a plain file beneath `root` (of `real_root`).

    Raises OutsideError, IsADirectoryError for what is no plain file, OSError.
    """
    place = _opened(path, root, 0)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is no file", path)
        if sys.platform != "linux":
            return os.dup(place)
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)


def real_beneath(path: str, root: str) -> str:
    """The real path of `path`, which need not exist, if that lies beneath `root` (of `real_root`). Raises OutsideError.

    Only while nobody is at work there: a link that comes later leads elsewhere.
    """
    found = os.path.realpath(path)
    if not lies_beneath(found, root):
        raise OutsideError(path, found)
    return found


def lies_beneath(real: str, root: str) -> bool:
    """Whether a real path is `root`, or lies beneath it."""
    return f"{real}/".startswith(f"{root.rstrip('/')}/")


def _opened(path: str, root: str, flags: int) -> int:
    descriptor = os.open(path, _ONLY_A_PLACE | os.O_CLOEXEC | flags)
    try:
        found = place_of(descriptor)
        if not lies_beneath(found, root):
            raise OutsideError(path, found)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def place_of(descriptor: int) -> str:
    """Where an open file is, as the kernel tells it."""
    if sys.platform == "linux":
        return os.readlink(f"/proc/self/fd/{descriptor}")
    import fcntl

    return os.fsdecode(fcntl.fcntl(descriptor, _F_GETPATH, bytes(1024)).partition(b"\0")[0])
