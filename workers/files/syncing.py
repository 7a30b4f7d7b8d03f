"""Making what was written survive power loss. Both sides use it: outputs and promised files here, the records over there."""

from __future__ import annotations

import os
import sys


def sync_data(fd: int) -> None:
    """Return once what was written to `fd` survives power loss (its size too; not its name in the folder). Raises OSError."""
    if sys.platform == "darwin":
        # Its fsync does not reach the disk's platter; this does.
        import fcntl

        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Return once the names in `folder` survive power loss. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
