"""Items in a request: a few are named one by one, many as ranges of indices, so that a job of a million items fits into one.

A supervisor of an earlier version understands the first alone. It would not take the second for more than a request of no items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

MOST_ONE_BY_ONE = 1000

Ranges = dict[str, list[tuple[int, int]]]
"""Job id -> (first, last + 1) of its items, in order."""


NO_RANGES: Ranges = {}


class NoSuchItem(LookupError):
    """A request names what the run does not have; `args[0]` says what, in words."""


class NamedItems(msgspec.Struct, frozen=True):
    """The items of a request, as it holds them: each (job id, index), and `ranges` of more of them."""

    items: list[tuple[str, int]]
    ranges: Ranges

    @classmethod
    def of(cls, items: Sequence[tuple[str, int]]) -> NamedItems:
        """These items, in the form that suits so many."""
        return cls(list(items), {}) if len(items) <= MOST_ONE_BY_ONE else cls([], _as_ranges(items))


def all_items(items: Iterable[tuple[str, int]], ranges: Mapping[str, Iterable[tuple[int, int]]]) -> list[tuple[str, int]]:
    """Every item that a request names, each (job id, index)."""
    return [*items, *((job_id, index) for job_id, start, end in ends_of(ranges) for index in range(start, end))]


def ends_of(ranges: Mapping[str, Iterable[tuple[int, int]]]) -> Iterator[tuple[str, int, int]]:
    """Job id, first and last + 1 of each range."""
    return ((job_id, start, end) for job_id, each in ranges.items() for start, end in each)


def _as_ranges(items: Iterable[tuple[str, int]]) -> Ranges:
    found: Ranges = {}
    for job_id, index in sorted(set(items)):
        of_job = found.setdefault(job_id, [])
        if of_job and of_job[-1][1] == index:
            of_job[-1] = of_job[-1][0], index + 1
        else:
            of_job.append((index, index + 1))
    return found
