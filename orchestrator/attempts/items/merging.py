"""Merging a list that is evaluated again into the one that stands: an index means the same value for ever. Pure.

Two values are equal if they are the same JSON (keys of an object in any order; 1 is neither 1.0 nor true).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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


class Work(msgspec.Struct, frozen=True):
    """By what an item is known whose value is lost: what it does (the hash of it), what it is called; None: not known."""

    payload: str | None
    label: str | None


def place_anew(begun: Mapping[int, Work], count: int, new: Sequence[Work]) -> list[int]:
    """The index of each value of a list that is evaluated again, where the `count` values before are lost.

    `begun`: the items before of which something is recorded, by index; no other value takes the index of one of these. The index
    of an item that never began may mean anything.
    """
    left = dict(begun)
    places: dict[int, int] = {}

    def place(key: Callable[[Work], object]) -> None:
        """Give each value the index of an item with the same key, first of all its own number."""
        todo = [number for number in range(len(new)) if number not in places and key(new[number]) is not None]
        for number in todo:
            if number in left and key(left[number]) == key(new[number]):
                del left[number]
                places[number] = number
        indices: dict[object, deque[int]] = {}
        for index in sorted(left):
            indices.setdefault(key(left[index]), deque()).append(index)
        for number in todo:
            if number not in places and (found := indices.get(key(new[number]))):
                places[number] = found.popleft()
                del left[places[number]]

    # The same work under the same name; what has changed since is known by its name alone.
    place(lambda work: work if work.payload is not None else None)
    place(lambda work: work.label)
    # What it does will be known only in its turn, and is compared then.
    for number, work in enumerate(new):
        if number not in places and work == Work(None, None) and number in left and left[number].label is None:
            del left[number]
            places[number] = number
    # All others are new: each keeps its own number if that means nothing yet.
    free = set(range(count)).difference(begun)
    rest = [number for number in range(len(new)) if number not in places]
    places.update((number, number) for number in rest if number in free)
    further = iter([*sorted(free.difference(rest)), *range(count, count + len(new))])
    places.update((number, next(further)) for number in rest if number not in free)
    return [places[number] for number in range(len(new))]
