"""What is told of items that failed: why, in the words of what they wrote last, and those that failed alike together.

Promise: memory and the lines at the end are bounded, however many items fail. Nothing is told twice: what was told as it happened
(`lines_at_once`) has one line at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from orchestrator.system.wording import STATUS_WORDS, after_attempts, shell_word, shown, title
from orchestrator.workers.lazy_pattern import lazy_pattern

MOST_FAILURES = 10
"""Reasons that are told one by one at the end."""

MOST_TAILS = 50
"""Reasons that are told with their lines as they happen; others have one line."""

_MOST_REASONS = 100
"""Reasons that are remembered."""

_MOST_NAMES = 3
_SHORTEST_NAME = 3
"""Characters: a shorter name stands in other words, too, and may be an exit code."""
_INDENT = "       "

WHOLE_RUN = "the run"
"""Stands for an item where the run failed and none of its items did. No item can have this name."""


class Failure(msgspec.Struct, frozen=True):
    """An item that failed. Failures sort by `place`: the order of the job in the file, then the index of the item.

    `tail`: the last lines of what its last attempt wrote, without secrets.
    """

    place: tuple[int, int]
    item: str
    label: str | None
    message: str
    attempts: int
    attempt_class: str | None = None
    tail: list[str] = []

    @property
    def name(self) -> str:
        """What people call the item, in one word if there is one."""
        return shown(self.label or self.item, 40)


class FailureGroup(msgspec.Struct):
    """Items that failed alike: the `first` in item order, and how many there are with it. `others`: some more of them."""

    first: Failure
    count: int = 1
    others: list[Failure] = []
    told: str | None = None
    """The item whose lines were told as it happened."""


class FailureGroups:
    """Of many failures those that are alike together, and the first `_MOST_REASONS` reasons in item order."""

    def __init__(self, failures: Iterable[Failure] = ()) -> None:
        self._groups: dict[tuple[str, ...], FailureGroup] = {}
        self._tails_told = 0
        for failure in failures:
            self.add(failure)

    def add(self, failure: Failure) -> FailureGroup:
        """Take in one more; the group that it belongs to."""
        key = _likeness(failure)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = FailureGroup(failure)
            if len(self._groups) > _MOST_REASONS:
                del self._groups[max(self._groups, key=lambda each: self._groups[each].first.place)]
            return group
        group.count += 1
        other = failure
        if failure.place < group.first.place:
            group.first, other = failure, group.first
        group.others = sorted([*group.others, other], key=lambda each: each.place)[:_MOST_NAMES]
        return group

    def in_order(self) -> list[FailureGroup]:
        """The groups by their first items."""
        return sorted(self._groups.values(), key=lambda each: each.first.place)

    def lines_at_once(self, group: FailureGroup, failure: Failure, shared: str = "") -> Iterator[str]:
        """What tells of a failure of this group as it happens: why, of the first that fails so. `shared` ends the line."""
        line = f"{STATUS_WORDS['failed']} {title(failure.item, failure.label)} "
        if group.told is not None and failure.tail:
            yield f"{line}{_why(failure)}{shared} (like {group.told})"
        elif failure.tail and self._tails_told >= MOST_TAILS:
            yield f"{line}{_why(failure, with_reason=True)}{shared}"
        else:
            group.told = failure.item
            self._tails_told += bool(failure.tail)
            yield f"{line}{_why(failure)}{shared}"
            yield from tail_lines(failure.tail)


def failure_lines(groups: Sequence[FailureGroup], count: int) -> Iterator[str]:
    """The failures by their reasons. `count`: how many items failed in all."""
    for group in groups[:MOST_FAILURES]:
        first = group.first
        yield f"{STATUS_WORDS['failed']} {title(first.item, first.label)}: {_why(first, with_reason=group.told is not None)}"
        if group.told is None:
            yield from tail_lines(first.tail)
        yield from (f"{_INDENT}{line}" for line in _others_words(group))
    yield from more_lines(groups, count)


def more_lines(groups: Sequence[FailureGroup], count: int) -> Iterator[str]:
    """How many failures, of `count`, are in none of the groups that are told."""
    more = count - sum(group.count for group in groups[:MOST_FAILURES])
    if more > 0:
        yield f"{_INDENT}and {more} more"


def group_words(group: FailureGroup) -> Iterator[str]:
    """Why the items of a group failed, and in a second line what the others are called."""
    yield _why(group.first, with_reason=True)
    yield from _others_words(group)


def _others_words(group: FailureGroup) -> Iterator[str]:
    if group.count > 1:
        names = [each.name for each in group.others]
        names += ["…"] if group.count - 1 > len(names) else []
        yield f"and {group.count - 1} more like this: {', '.join(names)}"


def more_command(program: str, run_id: str, groups: Sequence[FailureGroup], count: int) -> str | None:
    """The command that shows more of what failed: of one item its log, of several their results; None: there is nothing."""
    if count > 1:
        return f"{program} results {run_id} --status failed"
    first = next((group.first for group in groups if group.first.item != WHOLE_RUN), None)
    if first is None:
        return None
    return f"{program} {'logs' if first.attempts else 'why'} {run_id} {shell_word(first.item)}"


def tail_lines(tail: Sequence[str]) -> Iterator[str]:
    """The lines of a tail, below the line of its item: nothing in them drives a terminal, or passes for a line of ours."""
    return (f"{_INDENT}| {shown(line)}" for line in tail)


def short_reason(message: str, tail: Sequence[str]) -> str:
    """Why an item failed, in one line: its message, and the last line that it wrote."""
    return ": ".join(filter(None, (message, *tail[-1:])))


def _why(failure: Failure, *, with_reason: bool = False) -> str:
    message = after_attempts(failure.message, failure.attempts, failure.attempt_class)
    return shown(short_reason(message, failure.tail), 300) if with_reason else message


_PASSING = lazy_pattern(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?(?= ?(?:ms|s|seconds?)\b)")
"""What is another each time: addresses, and how long something took."""


def _likeness(failure: Failure) -> tuple[str, ...]:
    """The same for items that failed alike: what tells one of them from the others is taken out."""
    texts = [failure.message, *failure.tail]
    for name in filter(None, (failure.label, failure.item)):
        if len(name) >= _SHORTEST_NAME:
            texts = [text.replace(name, "{}") for text in texts]
        elif any(name in text for text in texts[1:]):
            word = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
            texts[1:] = [word.sub("{}", text) for text in texts[1:]]
    return tuple(_PASSING.sub("#", text) for text in texts)
