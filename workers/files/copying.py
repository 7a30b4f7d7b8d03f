"""Folders as a whole: copied, their sizes, removed; and single files of them kept with a result.

A write to a copied file never shows in the original (`contents.py`). Symbolic links stay links; sockets, FIFOs and devices are
left out. A copy hears the end of its attempt.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

from ..interruption import heed
from .beneath import OutsideError, lies_beneath, open_beneath, real_beneath
from .contents import copy_content, copy_open_file
from .patterns import matches
from .room import no_room_told
from .syncing import make_folder, run_folder_of, sync_data, sync_folder
from .walking import remove_levels, walk

_MOST_NOTES = 20
"""Of what was left out: it goes into the records, and onto a terminal."""

_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO)
"""What opening says of a folder, a device, a link that leads nowhere."""


def copy_folder(source: str, target: str, left_out: Collection[str] = ()) -> None:
    """Copy all below `source` (absolute) to the new folder `target`, but no `.git` and nothing of `left_out`.

    Raises OSError, Interrupted.

    A `.git` may be a file that names the repository by a path: with it git would take the copy for the original. Items that are
    at work there may put a link in the place of a folder meanwhile: no file that lies outside of `source` is read.
    """
    avoided, root = {os.path.realpath(path) for path in left_out}, os.path.realpath(source)

    def ignored(folder: str, names: list[str]) -> list[str]:
        heed()
        real = os.path.realpath(folder)
        return [name for name in names if name == ".git" or os.path.join(real, name) in avoided or _is_special(folder, name)]

    def copy_file(origin: str, copy: str) -> None:
        _copy_file(origin, copy, root)

    try:
        shutil.copytree(source, target, symlinks=True, ignore=ignored, copy_function=copy_file)
    except RecursionError as error:
        raise OSError(errno.ENAMETOOLONG, "folders lie too deep in each other to be copied", source) from error
    except shutil.Error as error:
        first = error.args[0][0]
        no_room = next(filter(None, (no_room_told(str(each[2])) for each in error.args[0])), None)
        raise OSError(errno.EINVAL if no_room is None else no_room.errno, f"{first[0]}: {first[2]}") from error


def copy_matches(patterns: Sequence[str], source: str, target: str, root: str) -> list[str]:
    """Copy what matches below `source` to the same places below `target`, unless something is there; relative paths of these.

    Nothing is written outside of `root` (of `real_root`), where `target` lies: OutsideError. Raises OSError, Interrupted.
    """
    copied: list[str] = []
    for name in matches(patterns, source):
        origin, place = os.path.join(source, name), os.path.join(target, name)
        if os.path.lexists(place):
            continue
        # A commit that the workspace was made of may have a link where a folder was.
        os.makedirs(real_beneath(os.path.dirname(place), root), exist_ok=True)
        if os.path.isdir(origin) and not os.path.islink(origin):
            copy_folder(origin, place)
        else:
            _copy_file(origin, place)
        copied.append(name)
    return copied


def keep_files(
    patterns: Sequence[str], folder: str, target: str, limit_bytes: int, root: str | None = None
) -> tuple[list[str], list[str]]:
    """Copy the files that match below `folder` to `target`, durably; the copies' paths, and in words what was left out.

    `target`: a folder among the outputs of a run. Links are followed beneath `root` (of `real_root`; None: `folder`) only.
    Together the copies are at most `limit_bytes`. Raises OSError, OutsideError if `folder` itself lies outside.
    """
    # Ordered sets: two patterns may name one file, and a note is told once.
    kept: dict[str, None] = {}
    left_out: dict[str, None] = {}
    room = limit_bytes
    real = os.path.realpath(folder)
    root = real if root is None else root
    if patterns and not lies_beneath(real, root):
        raise OutsideError(folder, real)
    for pattern in patterns:
        files = [file for name in matches([pattern], folder, root=root) for file in _files_in(folder, name)]
        if not files:
            left_out[f"no file matches {pattern}"] = None
        for name in files:
            origin, copy = os.path.join(folder, name), os.path.join(target, name)
            if copy in kept:
                continue
            size, refused = _keep_file(origin, copy, root, room, run_folder_of(target))
            if refused:
                left_out[f"{name} {refused}"] = None
            else:
                room -= size
                kept[copy] = None
    # The copies are durable; now their names, the deepest folders first.
    for made in sorted({os.path.dirname(copy) for copy in kept}, reverse=True):
        sync_folder(made)
    notes = list(left_out)
    more = len(notes) - _MOST_NOTES
    return list(kept), notes if more <= 0 else [*notes[:_MOST_NOTES], f"and {more} more"]


def bytes_on_disk(folder: str) -> int:
    """What the files below `folder` take."""
    total = 0
    for parent, _, names in walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512
    return total


def remove_folder(path: str) -> None:
    """Remove `path` and all below it, also what its owner made read-only. Nothing there is fine. Raises OSError.

    Of a link, `path` itself or one below it, the link alone is removed.
    """

    def writable(function: Callable[..., Any], name: str, error: Any) -> None:
        del error
        # Somebody else was quicker.
        if not os.path.lexists(name):
            return
        # A name can be removed only from a folder that may be written, and a folder be listed only if it may be read.
        os.chmod(os.path.dirname(name), 0o700)
        if function is not os.unlink and not os.path.islink(name):
            os.chmod(name, 0o700)
        if function in (os.rmdir, os.unlink):
            function(name)
        else:
            shutil.rmtree(name)

    if not os.path.lexists(path):
        return
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
        return
    try:
        if sys.version_info >= (3, 12):
            shutil.rmtree(path, onexc=writable)
        else:
            shutil.rmtree(path, onerror=writable)
    except RecursionError:
        remove_levels(path)
    except OSError as error:
        # It opens a folder for each level, and at the end their paths.
        if error.errno not in (errno.EMFILE, errno.ENAMETOOLONG):
            raise
        remove_levels(path)


def _copy_file(source: str, target: str, root: str = "") -> None:
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    heed()
    copy_content(source, target, root)
    shutil.copystat(source, target)


def _keep_file(origin: str, copy: str, root: str, room: int, run_folder: str) -> tuple[int, str]:
    """Copy one file durably; its size, and why it was left out (empty if it was not). Raises OSError."""
    # An agent may make a link to anything that its user may read, also just now: so the file is opened, and then looked at.
    try:
        descriptor = open_beneath(origin, root)
    except OutsideError:
        return 0, "leads out of the workspace"
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        return 0, "is no file"
    try:
        found = os.fstat(descriptor)
        if found.st_nlink > 1 and found.st_uid != os.geteuid():
            return 0, "is a hard link to a file of another user"
        if found.st_size > room:
            return 0, "does not fit into max_output"
        make_folder(os.path.dirname(copy), run_folder, is_synced=False)
        copy_open_file(descriptor, copy)
    finally:
        os.close(descriptor)
    written = os.open(copy, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync_data(written)
    finally:
        os.close(written)
    return found.st_size, ""


def _files_in(folder: str, name: str) -> Iterator[str]:
    """The file itself; of a folder all files in it. Relative paths."""
    path = os.path.join(folder, name)
    if not os.path.isdir(path) or os.path.islink(path):
        yield name
        return
    for parent, folders, names in walk(path):
        folders.sort()
        for each in sorted(names):
            yield os.path.relpath(os.path.join(parent, each), folder)


def _is_special(folder: str, name: str) -> bool:
    with suppress(FileNotFoundError):
        mode = os.lstat(os.path.join(folder, name)).st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))
    return False
