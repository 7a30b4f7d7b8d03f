"""Which items of a job the patterns of `--only` name: JOB, JOB:INDEX, JOB:LABEL, the last two also with `*`, `?` and `[…]`.

Names are looked up, and only what may be read as a pattern is tried item by item: a thousand names among ten thousand items are
no ten million comparisons.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Literal

from orchestrator.jobsfile.globs import has_wildcard
from orchestrator.jobsfile.language.quantities import read_digits


class Later(Enum):
    """A label that is known only when the item starts, because it reads what came of the items that it follows."""

    LATER = "later"


LATER = Later.LATER


def names_job(pattern: str, job_id: str) -> bool:
    """Whether the pattern speaks of the job."""
    return fnmatch.fnmatchcase(job_id, pattern.partition(":")[0])


class JobPatterns:
    """The patterns that speak of one job, of `count` items."""

    def __init__(self, only: Iterable[str], job_id: str, count: int) -> None:
        self._of_all: list[str] = []
        self._of_index: dict[int, list[str]] = {}
        self._of_label: dict[str, list[str]] = {}
        self._globs: dict[str, str] = {}
        for pattern in only:
            _, colon, rest = pattern.partition(":")
            if not names_job(pattern, job_id):
                continue
            index = read_digits(rest)
            if not colon:
                self._of_all.append(pattern)
            elif index is not None and index < count:
                self._of_index.setdefault(index, []).append(pattern)
            elif not has_wildcard(rest):
                self._of_label.setdefault(rest, []).append(pattern)
            else:
                self._globs[pattern] = rest
        self._count = count

    def exact_matches(self, label: Callable[[int], str | Later | None]) -> dict[str, frozenset[int]]:
        """The items whose labels are the very text of a pattern that could also be read as one for others, by pattern."""
        if not self._globs:
            return {}
        found: dict[str, set[int]] = {rest: set() for rest in self._globs.values()}
        for index in range(self._count):
            text = label(index)
            if isinstance(text, str) and text in found:
                found[text].add(index)
        return {pattern: frozenset(found[rest]) for pattern, rest in self._globs.items()}

    def found(
        self, index: int, label: Callable[[], str | Later | None], exact: Mapping[str, frozenset[int]]
    ) -> Iterator[tuple[str, Literal[True] | Later]]:
        """The patterns that name the item, or may do so (LATER). `exact`: as of `exact_matches`. Asks for `label` if it must."""
        for pattern in (*self._of_all, *self._of_index.get(index, ())):
            yield pattern, True
        if self._of_label:
            text = label()
            if isinstance(text, Later):
                yield from ((pattern, text) for each in self._of_label.values() for pattern in each)
            elif text is not None:
                yield from ((pattern, True) for pattern in self._of_label.get(text, ()))
        for pattern, rest in self._globs.items():
            if exact.get(pattern):
                is_found: bool | Later = index in exact[pattern]
            elif not (is_found := fnmatch.fnmatchcase(str(index), rest)):
                text = label()
                is_found = (
                    text if isinstance(text, Later) else text is not None and (text == rest or fnmatch.fnmatchcase(text, rest))
                )
            if is_found:
                yield pattern, LATER if isinstance(is_found, Later) else True
