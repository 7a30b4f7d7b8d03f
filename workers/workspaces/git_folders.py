"""Git's own folder of a repository, looked at by hand: where it is, and what in it git would wait for.

An agent that commits may write there. git opens `config` and its like in each call: a FIFO in the place of one has no end before
somebody writes to it, and a link to a device perhaps never.

Promise: nothing is opened but a `.git` and a `commondir` that are plain files of one line. It refuses to handle: files elsewhere
that the configuration includes, a pipe in the place of one object, and what is put there between the look and the call; a git
that hangs then is given up.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ..files.opening import read_file
from ..files.walking import walk
from .pinned import Where

_LONGEST_BYTES = 4096
"""Of the files that lead to a commit or a folder; git itself makes none so long."""

_LARGEST_BYTES = 64 << 20
"""git reads them whole. The packed refs of a million branches have as much."""

_READ_WHOLE = frozenset(
    ("config", "config.worktree", "HEAD", "commondir", "gitdir", "packed-refs", "shallow", "alternates", "attributes", "exclude")
)
_LEADING_OF_WORKTREES = ("gitdir", "commondir", "HEAD", "locked")
_SOCKET = ".ipc"
_SUBFOLDERS = ("", "info", "logs", "objects/info", "objects/pack")
"""Where in its folder git opens files whatever it is asked, with those of `refs`."""


def git_folder(folder: str) -> str | None:
    """Where git's own files for the repository at `folder` are; None: not where git itself has them."""
    place = os.path.join(folder, ".git")
    with suppress(OSError):
        if stat.S_ISDIR(os.lstat(place).st_mode):
            return place
    told = line_of(place)
    if told is None or not told.startswith("gitdir: "):
        return None
    return os.path.normpath(os.path.join(folder, told.removeprefix("gitdir: ")))


def line_of(path: str) -> str | None:
    """The line of a plain file of a line; None: there is none such."""
    try:
        if os.lstat(path).st_size > _LONGEST_BYTES:
            return None
        return os.fsdecode(read_file(path)).removesuffix("\n")
    except (OSError, ValueError):
        return None


def folders_of(where: Where) -> tuple[str, str] | None:
    """Git's own folder at `where`, and the one that it shares with other worktrees; None: not where git itself has them."""
    if not isinstance(where, str):
        return where.git_dir, where.common_dir
    if (own := git_folder(where)) is not None:
        common = line_of(os.path.join(own, "commondir"))
        return own, own if common is None else os.path.join(own, common)
    is_bare = os.path.lexists(f"{where}/HEAD") and os.path.isdir(f"{where}/objects")
    return (where, where) if is_bare else None


def waited_for(where: Where) -> str:
    """The first file that git would wait for whatever it is asked at `where`, in words; empty: none. Refs are not looked at."""
    folders = set(folders_of(where) or ())
    return _first_of(path for folder in folders for path in _strange_in(folder))


def waiting_ref(common_dir: str) -> str:
    """The first of the refs, and of their logs, that git would wait for, in words; empty: none."""
    tops = (os.path.join(common_dir, name) for name in ("refs", "logs"))
    return _first_of(os.path.join(here, name) for top in tops for here, _, names in walk(top) for name in names)


def waited_for_in_worktrees(common_dir: str) -> list[str]:
    """The files of all worktrees of a repository that a git which looks at these would wait for."""
    found: list[str] = []
    with suppress(OSError), os.scandir(os.path.join(common_dir, "worktrees")) as worktrees:
        for worktree in worktrees:
            paths = (os.path.join(worktree.path, name) for name in _LEADING_OF_WORKTREES)
            found += [path for path in paths if why_not_opened(path, is_read_whole=False)]
    return found


def why_not_opened(path: str, *, is_read_whole: bool = True) -> str:
    """Why git is not to open it, in words behind its name; empty: it may, or there is nothing."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        return "is no plain file, and git would wait for its end: git is not asked"
    return "is too large to be read: git is not asked" if is_read_whole and found.st_size > _LARGEST_BYTES else ""


def _first_of(paths: Iterable[str]) -> str:
    return next((f"{path} {words}; put back what was there" for path in paths if (words := why_not_opened(path))), "")


def _strange_in(folder: str) -> Iterator[str]:
    """What git may open in its folder, and is not known to be plain and short."""
    for below in _SUBFOLDERS:
        here = os.path.join(folder, below)
        with suppress(OSError), os.scandir(here) as entries:
            for entry in entries:
                is_plain = entry.is_file(follow_symlinks=False)
                # The kind is told with the name. At a socket git's own file watcher listens, and to open it fails at once.
                if entry.name in _READ_WHOLE or not (is_plain or entry.is_dir() or entry.name.endswith(_SOCKET)):
                    yield entry.path
