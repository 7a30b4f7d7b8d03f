"""Folders gone through and removed however deep they lie in each other: an agent may make more levels than there are calls.

Promise: no call for each level, and no descriptor. Links are not followed. What cannot be read is passed over.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import suppress


def walk(folder: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Each folder from `folder` on, parents first, with the names of the folders and of the other files in it; as `os.walk`.

    A link to a folder is named as a folder. A name that the caller takes out of the folders is not gone into.
    """
    to_read = [folder]
    while to_read:
        here = to_read.pop()
        folders: list[str] = []
        names: list[str] = []
        with suppress(OSError), os.scandir(here) as entries:
            for entry in entries:
                (folders if _is_folder(entry) else names).append(entry.name)
        yield here, folders, names
        below = (os.path.join(here, name) for name in reversed(folders))
        to_read += [path for path in below if not os.path.islink(path)]


def remove_levels(folder: str) -> None:
    """Remove all below `folder`, and itself. Raises OSError.

    Each folder is first moved to the top: so no path is longer than the kernel takes one.
    """
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # Names that nobody else has there: what is moved stands beside what was there from the beginning.
        taken, number = set(os.listdir(top)), 0
        to_empty = deque(_emptied(top))
        while to_empty:
            name = to_empty.popleft()
            inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
            try:
                for below in _emptied(inside):
                    while (free := f"{number}") in taken:
                        number += 1
                    number += 1
                    os.rename(below, free, src_dir_fd=inside, dst_dir_fd=top)
                    to_empty.append(free)
            finally:
                os.close(inside)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(folder)


def _emptied(folder: int) -> list[str]:
    """Remove from the open folder all but folders; the names of these, which may be written now."""
    os.fchmod(folder, 0o700)
    folders = []
    for name in os.listdir(folder):
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            # One that may not be read cannot be opened, and one that may not be written not be moved.
            os.chmod(name, 0o700, dir_fd=folder)
            folders.append(name)
        else:
            os.unlink(name, dir_fd=folder)
    return folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
