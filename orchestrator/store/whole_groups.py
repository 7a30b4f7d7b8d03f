"""Groups of a journal that are whole, wherever they stand: how damage is told from a torn tail, and what a salvage can read.

A writer that is killed, or a power loss, leaves a part of what was written last. It moves nothing, and nothing whole follows it.
So a whole group behind a bad one is damage. So is a commit line that does not stand where it says that it stands: bytes were
taken out of the file, or put into it. And so is one with a later number than the next: groups before it are lost.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.store.lines import decode_line
from orchestrator.store.records import Commit

COMMIT_START = b'{"type":"commit",'


class Group(NamedTuple):
    """Its records stand in bytes `start` to `end` of the journal; its commit line ends before `after`."""

    start: int
    end: int
    after: int
    commit: Commit


def commits_in(data: bytes, generation: int) -> Iterator[tuple[int, int, Commit]]:
    """(start, end, commit) of each commit line of this generation; the end without the end of the line."""
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        # A hole of zeros may end where the line begins.
        raw = data[start:end].lstrip(b"\0")
        start = end - len(raw)
        commit = decode_line(raw) if raw.startswith(COMMIT_START) else None
        if type(commit) is Commit and commit.generation == generation:
            yield start, end, commit
        start = end + 1


def whole_groups(data: bytes, base: int, generation: int) -> Iterator[Group]:
    """The whole groups in `data`, which stands at byte `base` of its journal and begins with a line, in order."""
    free = after = 0
    for at, end, commit in commits_in(data, generation):
        # By its length it is found wherever it was moved to. One that tells none stands at its place, or behind the last commit.
        places = (at - commit.length if commit.length else -1, commit.offset - base, after)
        after = end + 1
        start = next((each for each in places if free <= each < at and zlib.crc32(data[each:at]) == commit.crc), None)
        if start is not None:
            free = after
            yield Group(base + start, base + at, base + after, commit)


def is_damaged(tail: bytes, base: int, generation: int, groups: int) -> bool:
    """Whether `tail`, which follows `groups` good groups at byte `base`, is something else than a kill or a power loss leaves."""
    if next(whole_groups(tail, base, generation), None) is not None:
        return True
    # A version that did not count told no length: of its commit lines nobody knows where they stood.
    told = (each for each in commits_in(tail, generation) if each[2].length)
    return any(base + at != commit.offset + commit.length or commit.number != groups + 1 for at, _, commit in told)
