"""Which files a pattern names, below a folder: `*`, `?` and `[…]` within a name, `**` for any number of folders; hidden ones too.

Promise: it ends, whatever links an agent has made. `**` follows none; a link to a folder is followed where the pattern itself
stands for it, and if `is_inside` only as long as that does not lead out.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence

from .beneath import lies_beneath
from .walking import walk

_MAGIC = frozenset("*?[")


def matches(patterns: Sequence[str], folder: str, *, root: str = "") -> list[str]:
    """The relative paths below `folder` that match, in order; what lies in a match is not listed.

    `root`: a real path. A link that leads out of it is not followed; its own path stands in the list. Empty: any may be.
    """
    found: set[str] = set()
    for pattern in patterns:
        parts = [part for part in os.path.normpath(pattern).split("/") if part]
        # `**/**` means the same as `**`, and would be walked once for each.
        once = [part for part, next_ in zip(parts, [*parts[1:], ""], strict=True) if part != "**" or next_ != "**"]
        found |= set(_below(folder, "", once, root))
    return [name for name in sorted(found) if not any(parent in found for parent in folders_above(name))]


def _below(folder: str, inside: str, parts: Sequence[str], root: str) -> Iterator[str]:
    """What matches `parts` in the folder `inside`, relative to `folder`."""
    first, rest = parts[0], parts[1:]
    place = os.path.join(folder, inside)
    # A link has led out: tell of it, and go no further.
    if root and not lies_beneath(os.path.realpath(place), root):
        yield inside
    elif first == "**":
        # What is here; behind it each folder below, too. Links are not followed, so this ends.
        if not rest:
            yield from (os.path.join(inside, name) for name in _names(place))
            return
        for here, _, _ in walk(place):
            yield from _below(folder, os.path.join(inside, here.removeprefix(place).lstrip("/")), rest, root)
    else:
        # A name without magic is asked for directly: its folder may not be readable, and the file be there.
        names = fnmatch.filter(_names(place), first) if _MAGIC & set(first) else [first]
        for name in names:
            path = os.path.join(inside, name)
            if rest and os.path.isdir(os.path.join(folder, path)):
                yield from _below(folder, path, rest, root)
            elif not rest and os.path.lexists(os.path.join(folder, path)):
                yield path


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:  # gone, or not to be read: nothing in it matches
        return []


def folders_above(name: str) -> Iterator[str]:
    """The folders that a relative path leads through, the nearest first."""
    while name := os.path.dirname(name):
        yield name
