"""The files of a worker's folder: opened anew whatever an item left in their place, and moved to where they are kept.

Promise: an item that removes or replaces files of its worker harms itself alone. That its output is gone is told apart
(`TamperedError`) from a disk that takes no more, which would befall any item. The next attempt finds its files made anew.
Invariant: a file that is moved is the one that was written, and never another that was put in its place.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from .opening import StrangeFileError, open_file, stands_at
from .syncing import GoneFolderError, make_folder

_ANEW = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
_OF_STRANGE_FILES = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY)
"""What a call says where something else stands than was made there. No disk says so of itself."""


class TamperedError(OSError):
    """A file of an attempt was removed or replaced while the attempt ran; `strerror` goes on "the output …"."""


def open_anew(path: str) -> int:
    """The descriptor of an empty file at `path` (absolute, in a worker's folder), to be read and appended to. Raises OSError."""
    try:
        descriptor = open_file(path, _ANEW)
    except (FileNotFoundError, StrangeFileError):
        # An earlier item has put something else there. Its worker's folder may be gone, but never the folder of the run.
        folder = os.path.dirname(path)
        if not os.path.isdir(folder):
            with suppress(FileExistsError):
                os.mkdir(os.path.dirname(folder), 0o700)
            _remove(folder)
            os.mkdir(folder, 0o700)
        _remove(path)
        descriptor = open_file(path, _ANEW)
    # An agent inherits it, and is to find an ordinary file.
    os.set_blocking(descriptor, True)
    return descriptor


def place_file(descriptor: int, path: str, final_path: str) -> None:
    """Move the open file at `path` to `final_path`; folders on the way are made. Raises TamperedError, and OSError.

    Both are absolute and lie in the folder of one run. That something else stands where all that is kept goes is the run's
    trouble, and no item's: StrangeFileError.
    """
    if not stands_at(os.fstat(descriptor), path):
        run_folder = os.path.commonpath([path, final_path])
        if not os.path.isdir(run_folder):
            raise GoneFolderError(run_folder)
        how = "replaced" if os.path.lexists(path) else "removed"
        raise TamperedError(errno.ENOENT, f"was {how} while it ran ({path})", path)
    try:
        _rename(path, final_path)
    except OSError as error:
        raise _blamed(error, path, final_path) from error


def make_place(path: str, final_path: str) -> None:
    """Make the folders on the way to `final_path`. `path` and errors: as of `place_file`."""
    try:
        make_folder(os.path.dirname(final_path), os.path.commonpath([path, final_path]), is_synced=False)
    except OSError as error:
        raise _blamed(error, path, final_path) from error


def _blamed(error: OSError, path: str, final_path: str) -> OSError:
    """The error of a call that was to make `final_path`: the run's trouble, or the item's, where something else is in the way."""
    if error.errno not in _OF_STRANGE_FILES or isinstance(error, GoneFolderError):
        return error
    run_folder = os.path.commonpath([path, final_path])
    top = os.path.join(run_folder, os.path.relpath(final_path, run_folder).split("/", 1)[0])
    if top != final_path and not os.path.isdir(top):
        return StrangeFileError(error.errno, f"{top} is no folder any more: move away what stands there", top)
    words = f"has no place any more: something else stands at {final_path}, or on the way to it"
    return TamperedError(error.errno, words, final_path)


def _rename(path: str, final_path: str) -> None:
    try:
        os.rename(path, final_path)
    except FileNotFoundError:
        make_folder(os.path.dirname(final_path), os.path.commonpath([path, final_path]), is_synced=False)
        os.rename(path, final_path)


def _remove(path: str) -> None:
    """Remove whatever stands there, if anything does. Raises OSError."""
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if is_folder:
        import shutil

        shutil.rmtree(path)
    else:
        os.unlink(path)
