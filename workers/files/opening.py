"""Opening or replacing a file of the state: the call returns at once whatever stands there, and nothing else is read or written.

Promise: a descriptor that is returned is that of a plain file, which belongs to us or to whoever owns the folder around it.
It refuses: a FIFO, whose opener would wait for its other end; a socket, a folder, a device; a symbolic link, which may lead
anywhere; the file of another user. What is refused was neither read nor written nor cut. `strerror` says what stands there.
"""

from __future__ import annotations

import errno
import os
import stat

from ..wording import size_in_words

_KINDS = {
    stat.S_IFIFO: "a FIFO stands in its place",
    stat.S_IFSOCK: "a socket stands in its place",
    stat.S_IFDIR: "a folder stands in its place",
    stat.S_IFLNK: "a symbolic link stands in its place",
    stat.S_IFCHR: "a device stands in its place",
    stat.S_IFBLK: "a device stands in its place",
}
_OF_OTHER_KINDS = (errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENODEV, errno.EMLINK, errno.ENOTDIR)
"""What `open` says of a link, of a FIFO or a socket without its other end, of a folder, of a device, below what is no folder."""

LARGEST_BYTES = 256 << 20
"""Of a file of the state that is read whole. Records and outputs are read piece by piece, or by a size that was recorded."""

_ALWAYS = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class StrangeFileError(OSError):
    """Something else stands where a file of the state should be; `strerror` says what, and `filename` where."""


def open_file(path: str | os.PathLike[str], flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """The descriptor of a file of the state, which no child inherits. Raises StrangeFileError, and OSError as `os.open` does."""
    return open_found(path, flags, mode)[0]


def open_found(path: str | os.PathLike[str], flags: int, mode: int = 0o600) -> tuple[int, os.stat_result]:
    """As `open_file`, with what `fstat` told of the file: whose lock is taken for each attempt is not asked for it again."""
    try:
        # It is cut below, once it is known to be ours.
        fd = os.open(path, flags & ~os.O_TRUNC | _ALWAYS, mode)
    except OSError as error:
        if error.errno not in _OF_OTHER_KINDS:
            raise
        raise StrangeFileError(error.errno, _words_at(path) or error.strerror, os.fspath(path)) from None
    try:
        found = os.fstat(fd)
        if words := _words_of(found, path):
            raise StrangeFileError(errno.EINVAL, words, os.fspath(path))
        if flags & os.O_TRUNC and found.st_size:
            os.ftruncate(fd, 0)
    except BaseException:
        os.close(fd)
        raise
    return fd, found


def stands_at(mine: os.stat_result, path: str | os.PathLike[str]) -> bool:
    """Whether `path` still leads to the file of which the open descriptor tells `mine`."""
    try:
        found = os.lstat(path)
        return found.st_ino == mine.st_ino and found.st_dev == mine.st_dev
    except (FileNotFoundError, NotADirectoryError):
        return False


def read_file(path: str | os.PathLike[str], largest: int | None = LARGEST_BYTES) -> bytes:
    """All bytes of a file of the state. Raises as `open_file` does, and StrangeFileError of one of more than `largest` bytes."""
    fd, found = open_found(path, os.O_RDONLY)
    try:
        # A hole of gigabytes, as a power cut or somebody else may leave it, would be read for minutes.
        if largest is not None and found.st_size > largest:
            raise StrangeFileError(errno.EFBIG, f"it is larger than {size_in_words(largest)}", os.fspath(path))
        # Not by a file of Python, which asks the kernel six times more. What is given short of what was asked for is all.
        asked = found.st_size + 1
        data = given = os.read(fd, asked)
        while len(given) == asked:
            data += (given := os.read(fd, asked))
        return data
    finally:
        os.close(fd)


def replace_file(path: str, data: bytes) -> None:
    """Replace the file at `path` whole, though others do so just now. Survives SIGKILL, not power loss. Raises as `open_file`."""
    folder, name = os.path.split(path)
    temporary = f"{folder}/.{name}.{os.getpid()}.new"
    with open(open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(data)
    os.replace(temporary, path)


def _words_of(found: os.stat_result, path: str | os.PathLike[str]) -> str:
    """What is wrong with a file, in words; empty if it is a plain one of ours."""
    if not stat.S_ISREG(found.st_mode):
        return _KINDS.get(stat.S_IFMT(found.st_mode), "it is no plain file")
    # A file server may have us as another user in all of a folder; then no file in it is strange.
    if found.st_uid != os.geteuid() and found.st_uid != os.stat(os.path.dirname(path) or ".").st_uid:
        return f"it belongs to another user ({found.st_uid})"
    return ""


def _words_at(path: str | os.PathLike[str]) -> str:
    try:
        return _words_of(os.lstat(path), path)
    except NotADirectoryError:
        return "what should be its folder is none"
    except OSError:  # it went meanwhile, or lies behind links that go round in a circle
        return ""
