"""What the files of `creates` are made of (`sources`): which files that are, and whether they have changed since.

Contents are known by their SHA-256, read in blocks. A file whose size, time and inode are as they were is not read again.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Sequence

from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.jobsfile.globs import has_wildcard, matching_paths
from orchestrator.store.made_of import Source

_MOST_WALKS = 64
_MOST_KNOWN = 50_000
"""So many walks and contents are remembered; then it begins anew."""

_BLOCK_BYTES = 1 << 20
_SAME_TIME_NS = 2_000_000_000
"""A file that was changed so shortly before may be changed again and keep its time: file systems have ticks."""


class SourceFiles:
    """Sources as they are found. Walks and contents are remembered: a thousand items may have the same sources.

    Several threads may ask at the same time: at worst two of them read the same.
    """

    def __init__(self) -> None:
        self._walks: dict[tuple[str, str, int], list[str]] = {}
        self._known: dict[str, Source] = {}

    def paths(self, sources: Iterable[str], folder: str, state: int) -> list[str]:
        """The paths that are named or matched, in order, and behind a folder what is in it. `state`: another number when what is
        there may have become other.

        `sources` are relative to `folder`. A pattern may match nothing. Raises ItemRefused for a named path at which nothing is.
        """
        found: list[str] = []
        for source in sources:
            is_pattern = _is_pattern(source, folder)
            if not is_pattern and not stat.S_ISDIR(_stat(source, folder).st_mode):
                found.append(source)
            else:
                found += self._walked(source, folder, state, is_pattern=is_pattern)
        return found

    def newer(self, made: Sequence[str], paths: Iterable[str], folder: str) -> tuple[str, str] | None:
        """The first of `paths` that was changed after one of `made` was, and that one; None: they are up to date."""
        made_at, oldest = min((os.stat(path).st_mtime_ns, path) for path in made)
        for path in paths:
            found = _stat_unless_gone(path, folder)
            if found is not None and found.st_mtime_ns > made_at:
                return path, oldest
        return None

    def read(self, paths: Iterable[str], folder: str, before: Iterable[Source]) -> list[Source]:
        """The sources as they are, without folders, sorted by path. `before`: as they once were.

        Raises ItemRefused for a path that cannot be read.
        """
        known = {source.path: source for source in before}
        sources = (self._source(path, folder, known.get(path)) for path in sorted(set(paths)))
        return [source for source in sources if source is not None]

    def _walked(self, source: str, folder: str, state: int, *, is_pattern: bool) -> list[str]:
        key = (source, folder, state)
        found = self._walks.get(key)
        if found is None:
            found = matching_paths(source, folder) if is_pattern else [source]
            # What `**` matches has all that is in its folders already.
            if not (is_pattern and source.endswith(("**", "**/*"))):
                found = [*found, *(inside for path in found for inside in _inside(path, folder))]
            if len(self._walks) >= _MOST_WALKS:
                self._walks.clear()
            self._walks[key] = found
        return found

    def _source(self, path: str, folder: str, before: Source | None) -> Source | None:
        found = _stat_unless_gone(path, folder)
        if found is None or stat.S_ISDIR(found.st_mode):
            return None
        if not stat.S_ISREG(found.st_mode):
            return Source(path, 0, 0, 0, "")
        place = os.path.join(folder, path)
        for known in (before, self._known.get(place)):
            if known is not None and known.mtime_ns and _is_like(known, found):
                return Source(path, known.size, known.mtime_ns, known.inode, known.digest)
        # The time is that of before the reading: what is changed meanwhile is read once more the next time.
        is_settled = found.st_mtime_ns < time.time_ns() - _SAME_TIME_NS
        mtime = found.st_mtime_ns if is_settled else 0
        source = Source(path, found.st_size, mtime, found.st_ino, _digest(place, path))
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[place] = source
        return source


def difference(before: Sequence[Source], now: Sequence[Source]) -> str:
    """In words the first difference of contents; "": there is none."""
    then = {source.path: source.digest for source in before}
    for source in now:
        if source.path not in then:
            return f"{source.path} is new"
        if then.pop(source.path) != source.digest:
            return f"{source.path} has changed"
    return f"{min(then)} is gone" if then else ""


def _is_pattern(source: str, folder: str) -> bool:
    # An item may be called `a[1].png`: what is there is no pattern.
    return has_wildcard(source) and not os.path.lexists(os.path.join(folder, source))


def _inside(path: str, folder: str) -> list[str]:
    """What is in the folder at `path`; nothing if it is a file."""
    place = os.path.join(folder, path)
    return [os.path.join(path, inside) for inside in matching_paths("**", place)] if os.path.isdir(place) else []


def _stat(path: str, folder: str) -> os.stat_result:
    try:
        return os.stat(os.path.join(folder, path))
    except OSError as error:
        raise _refused(path, error) from error


def _stat_unless_gone(path: str, folder: str) -> os.stat_result | None:
    """None: it went since its folder was walked, or is a link to nothing."""
    try:
        return os.stat(os.path.join(folder, path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: str, error: OSError) -> ItemRefused:
    return ItemRefused(f"sources: {path}: {error.strerror}")


def _is_like(known: Source, found: os.stat_result) -> bool:
    return (known.size, known.mtime_ns, known.inode) == (found.st_size, found.st_mtime_ns, found.st_ino)


def _digest(place: str, path: str) -> str:
    from hashlib import sha256  # where contents count: it loads OpenSSL

    digest = sha256()
    try:
        with open(place, "rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise _refused(path, error) from error
    return digest.hexdigest()
