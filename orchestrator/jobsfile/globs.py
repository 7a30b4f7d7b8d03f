"""The paths that a pattern of `for_each = { glob = … }` names, as `glob` of Python gives them, but for links to folders.

Promise: it ends, whatever links there are: `**` goes into no link to a folder (as git and ripgrep do not); a link is followed
where the pattern itself stands for it. It can be done in parts: between two folders it may be put aside, and go on later.
"""

from __future__ import annotations

import fnmatch
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence

Matching = Callable[[str, str], list[str]]
"""The paths that a pattern names, relative to a folder."""


def has_wildcard(text: str) -> bool:
    """Whether it names more than what is called so."""
    return not frozenset("*?[").isdisjoint(text)


class NotYet(Exception):
    """A walk has had its time, and goes on where it stands when it is asked again."""


def matching_paths(pattern: str, folder: str) -> list[str]:
    """The paths as the pattern writes them, sorted; hidden ones only where the pattern names the dot."""
    return sorted({path for path in _walk(pattern, folder) if path})


class Walks:
    """Walks through folders that each go on for at most so many seconds at a time.

    What a walk has found is kept until `forget_found`: a list that asks for several walks begins anew with each try.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._unfinished: dict[tuple[str, str], tuple[Iterator[str | None], set[str]]] = {}
        self._found: dict[tuple[str, str], list[str]] = {}

    def matching_paths(self, pattern: str, folder: str) -> list[str]:
        """As the function of that name. Raises NotYet."""
        if (pattern, folder) in self._found:
            return self._found[pattern, folder]
        walk, found = self._unfinished.setdefault((pattern, folder), (_walk(pattern, folder), set()))
        until = time.monotonic() + self._seconds
        for path in walk:
            if path:
                found.add(path)
            elif time.monotonic() >= until:
                raise NotYet
        del self._unfinished[pattern, folder]
        self._found[pattern, folder] = sorted(found)
        return self._found[pattern, folder]

    def forget_found(self) -> None:
        """A list is made: the next one finds out anew what is there."""
        self._found.clear()

    def forget(self) -> None:
        """Nothing goes on any more."""
        self._unfinished.clear()
        self._found.clear()


def _walk(pattern: str, folder: str) -> Iterator[str | None]:
    parts = re.sub("/+", "/", pattern).split("/")
    # `**/**` means the same as `**`, and would be walked once for each.
    once = [part for part, following in zip(parts, [*parts[1:], ""], strict=True) if part != "**" or following != "**"]
    return _below(folder, "", once)


def _below(folder: str, before: str, parts: Sequence[str]) -> Iterator[str | None]:
    """What matches `parts` behind the path `before`, which is empty or ends in a slash; None at each folder that is read."""
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _at_any_depth(folder, before, rest)
    elif has_wildcard(first):
        yield None
        names = [each.name for each in _entries(folder, before) if first.startswith(".") or not each.name.startswith(".")]
        for name in fnmatch.filter(names, first):
            if not rest:
                yield before + name
            elif os.path.isdir(os.path.join(folder, before + name)):
                yield from _below(folder, f"{before}{name}/", rest)
    # A name without magic is asked for directly: its folder may not be readable, and the file be there.
    elif rest:
        yield from _below(folder, f"{before}{first}/", rest)
    elif os.path.lexists(os.path.join(folder, before + first)) and (first or os.path.isdir(os.path.join(folder, before))):
        yield before + first


def _at_any_depth(folder: str, before: str, rest: Sequence[str]) -> Iterator[str | None]:
    """`**`: what matches `rest` here and in each folder below; without `rest` all that is here and below."""
    # Folders that are still to be read, instead of a call for each level: there may be more levels than calls.
    to_read = [before]
    while to_read:
        here = to_read.pop()
        if rest:
            yield from _below(folder, here, rest)
        elif here and here == before:
            yield here
        yield None
        for entry in _entries(folder, here):
            if entry.name.startswith("."):
                continue
            if not rest:
                yield here + entry.name
            if entry.is_dir(follow_symlinks=False):
                to_read.append(f"{here}{entry.name}/")


def _entries(folder: str, inside: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(os.path.join(folder, inside)) as entries:
            return list(entries)
    except OSError:  # gone, or not to be read: nothing in it matches
        return []
