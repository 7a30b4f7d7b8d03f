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
    """Sources as they are found. Walks and contents are remembered: a thousand items may have the same sources."""

    def __init__(self) -> None:
        self._walks: dict[tuple[str, str, int], list[str]] = {}
        self._known: dict[str, Source] = {}

    def paths(self, sources: Iterable[str], folder: str, state: int) -> list[str]:
        """The paths that are named or matched, in order. `state`: another number when what is there may have become other.

        `sources` are relative to `folder`. A pattern may match nothing.
        """
        found: list[str] = []
        for source in sources:
            found += self._matching(source, folder, state) if _is_pattern(source, folder) else [source]
        return found

    def newer(self, made: Sequence[str], paths: Iterable[str], folder: str) -> tuple[str, str] | None:
        """The first of `paths` that was changed after one of `made` was, and that one; None: they are up to date.

        Raises ItemRefused for a path at which nothing is.
        """
        made_at, oldest = min((os.stat(path).st_mtime_ns, path) for path in made)
        for path in paths:
            if _stat(path, folder).st_mtime_ns > made_at:
                return path, oldest
        return None

    def read(self, paths: Iterable[str], folder: str, before: Iterable[Source]) -> list[Source]:
        """The sources as they are, sorted by path; a folder stands for the files in it. `before`: as they once were.

        Raises ItemRefused for a path that cannot be read.
        """
        known = {source.path: source for source in before}
        return [self._source(path, folder, known.get(path)) for path in sorted(set(_in_folders(paths, folder)))]

    def _matching(self, pattern: str, folder: str, state: int) -> list[str]:
        key = (pattern, folder, state)
        if key not in self._walks:
            if len(self._walks) >= _MOST_WALKS:
                self._walks.clear()
            self._walks[key] = matching_paths(pattern, folder)
        return self._walks[key]

    def _source(self, path: str, folder: str, before: Source | None) -> Source:
        found = _stat(path, folder)
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


def _in_folders(paths: Iterable[str], folder: str) -> Iterable[str]:
    for path in paths:
        place = os.path.join(folder, path)
        if not os.path.isdir(place):
            yield path
            continue
        for inside in matching_paths("**", place):
            if not os.path.isdir(os.path.join(place, inside)):
                yield os.path.join(path, inside)


def _stat(path: str, folder: str) -> os.stat_result:
    try:
        return os.stat(os.path.join(folder, path))
    except OSError as error:
        raise ItemRefused(f"sources: {path}: {error.strerror}") from error


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
        raise ItemRefused(f"sources: {path}: {error.strerror}") from error
    return digest.hexdigest()
