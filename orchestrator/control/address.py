"""Where a supervisor listens: a Unix stream socket in the folder of its run (0700, so that only its owner can connect)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET_NAME = "control.sock"

_SAFE_PATH_BYTES = 90
"""The kernel takes 108 bytes of a socket's path; HOME may lie deeper."""


@contextmanager
def reachable(folder: Path) -> Iterator[str]:
    """The path by which the socket in `folder` can be bound or connected, however long the folder's own path is."""
    path = str(folder / SOCKET_NAME)
    if len(os.fsencode(path)) < _SAFE_PATH_BYTES or not os.path.isdir("/proc/self/fd"):
        yield path
        return
    # The short way to a long path: through an open descriptor of the folder.
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)
