"""Merging a list that is evaluated again into the one that stands: an index means the same value for ever. Pure.

Two values are equal if they are the same JSON (keys of an object in any order; 1 is neither 1.0 nor true).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from orchestrator.workers.byte_text import comparable_json


class Relisted(msgspec.Struct, frozen=True):
    """What becomes of a list. `added`: values to append; `gone`, `back`: indices that are no longer in the list, or are again."""

    added: list[Any]
    gone: list[int]
    back: list[int]

    @property
    def is_same(self) -> bool:
        """Whether the list stays as it is."""
        return not (self.added or self.gone or self.back)


class MeaningChanged(Exception):
    """An index of a chain would mean another value: `index`."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def merge_list(old: Iterable[Any], gone: Collection[int], new: Iterable[Any]) -> Relisted:
    """The list `old`, whose indices `gone` are missing already, with the values `new`. Of equal values each has its own index."""
    places: dict[bytes, tuple[deque[int], deque[int]]] = {}
    for index, value in enumerate(old):
        there, missing = places.setdefault(comparable_json(value), (deque(), deque()))
        (missing if index in gone else there).append(index)
    # Take the index of an equal value: one that is in the list first, then one that was missing.
    added: list[Any] = []
    back: list[int] = []
    for value in new:
        there, missing = places.get(comparable_json(value)) or (deque(), deque())
        if there:
            there.popleft()
        elif missing:
            back.append(missing.popleft())
        else:
            added.append(value)
    left = sorted(index for there, _ in places.values() for index in there)
    return Relisted(added, left, sorted(back))


def follow_parent(old: Iterable[Any], gone: Collection[int], parent: Sequence[Any], parent_gone: Collection[int]) -> Relisted:
    """The list `old` of a chain, whose item i follows item i of its parent, with the list `parent`. Raises MeaningChanged."""
    count = 0
    for index, value in enumerate(old):
        if index >= len(parent) or comparable_json(value) != comparable_json(parent[index]):
            raise MeaningChanged(index)
        count += 1
    left = sorted(set(parent_gone).difference(gone))
    back = sorted(set(gone).difference(parent_gone))
    return Relisted([parent[index] for index in range(count, len(parent))], left, back)
