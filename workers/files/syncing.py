"""Making what was written survive power loss. Both sides use it: outputs and promised files here, the records over there."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from functools import partial

from ..interruption import do_heeding
from .opening import StrangeFileError, open_file
from .walking import walk


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


class GoneFolderError(StrangeFileError):
    """The folder of a run is gone, so nothing is made below its place: a skeleton there would keep it from being put back."""

    def __init__(self, folder: str) -> None:
        super().__init__(errno.ENOENT, "the folder of the run is gone: moved, or removed", folder)


def make_folder(folder: str, run_folder: str | None, *, mode: int = 0o700, is_synced: bool = True) -> None:
    """Have `folder`, and those above it that are missing, with `mode` less the umask. `is_synced`: for power loss.

    `run_folder`: that of the run which it lies in. It is never made: without it this raises GoneFolderError. Raises OSError.
    """
    missing: list[str] = []
    while not os.path.isdir(folder):
        if folder == run_folder:
            raise GoneFolderError(folder)
        missing.append(folder)
        folder = os.path.dirname(folder)
    for folder in reversed(missing):
        try:
            os.mkdir(folder, mode)
        except FileExistsError as error:
            # Another process was quicker; or it is no folder.
            if not os.path.isdir(folder):
                raise StrangeFileError(errno.ENOTDIR, "what should be its folder is none", folder) from error
        if is_synced:
            sync_folder(os.path.dirname(folder))


def run_folder_of(output: str) -> str:
    """The folder of the run that keeps `output`, the file or folder of one attempt (`RUN/outputs/JOB/B/NAME`, absolute)."""
    for _ in range(4):
        output = os.path.dirname(output)
    return output


def replace_durably(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at `path` whole; survives power loss when this returns. `mode`: less the umask. Raises OSError."""
    temporary = f"{path}.new"
    with open(open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
        file.flush()
        sync_data(file.fileno())
    os.replace(temporary, path)
    sync_folder(os.path.dirname(path))


def sync_trees(folders: Sequence[str]) -> None:
    """Return once all that was written below `folders`, by whatever process, survives power loss, names too.

    Linux syncs the whole file system in one call, where a call for each file takes twenty times as long. Raises OSError, and
    Interrupted.
    """
    if sys.platform == "linux":
        # Once is enough for folders that lie on one file system.
        folders = list({os.stat(folder).st_dev: folder for folder in folders}.values())
    for folder in folders:
        do_heeding(partial(_sync_tree, folder))


def _sync_tree(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _sync_file_system(fd):
            return
        for parent, _, names in walk(folder):
            for name in names:
                sync_file(os.path.join(parent, name))
            sync_folder(parent)
        sync_data(fd)  # one flush of the disk's cache for all of them
    finally:
        os.close(fd)


def _sync_file_system(fd: int) -> bool:
    """Whether the system can sync the file system that `fd` lies on, and has."""
    if sys.platform != "linux":
        return False
    import ctypes

    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    if syncfs(fd) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.ENOSYS:
        return False
    raise OSError(number, os.strerror(number))


def sync_file(path: str) -> None:
    """Return once what stands in the plain file at `path`, if it is one, survives power loss. Raises OSError."""
    # Neither a link nor a FIFO: what it leads to is not ours, and opening it might wait for ever.
    if not os.path.isfile(path) or os.path.islink(path):
        return
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
