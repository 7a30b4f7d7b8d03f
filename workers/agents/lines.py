"""A stream of bytes cut into lines, and the lines of text that its rules know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..protocol.reading import LineRule

_MOST_GATHERED = 50


class KnownLine(NamedTuple):
    """A line that a rule knows, or the message of several lines that began with one. `groups` are named in its pattern."""

    rule: LineRule
    text: str
    groups: dict[str, str]


class Lines:
    """One stream. However it is cut into chunks, the lines are the same, and each byte is copied a bounded number of times."""

    def __init__(self, rules: Iterable[LineRule]) -> None:
        self._rules = [(re.compile(rule.pattern), rule) for rule in rules]
        self._rest: list[bytes] = []
        self._gathered: list[str] = []
        self._gathering: KnownLine | None = None

    def complete(self, chunk: bytes) -> list[bytes]:
        """The lines that end in `chunk`. What is behind them waits in pieces, so a long line costs no more than its length."""
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest.clear()
        if rest:
            self._rest.append(rest)
        return lines

    def take_rest(self) -> bytes:
        """What stands behind the last newline."""
        rest = b"".join(self._rest)
        self._rest.clear()
        return rest

    def read(self, text: str) -> Iterator[KnownLine | str]:
        """What a line completes: the message of the lines before it, itself if a rule knows it, else its own text.

        A line that goes on with a message is kept until that is whole.
        """
        known = next(
            (KnownLine(rule, text, _groups(found)) for pattern, rule in self._rules if (found := pattern.search(text))), None
        )
        if known is None:
            if self._gathering is None:
                yield text
            elif text and len(self._gathered) < _MOST_GATHERED:
                self._gathered.append(text)
            return
        yield from self.end()
        if known.rule.gathers:
            self._gathering, self._gathered = known, [text]
        else:
            yield known

    def end(self) -> Iterator[KnownLine]:
        """The message that was being gathered, if there is one."""
        if self._gathering is not None:
            whole = self._gathering._replace(text=" ".join(line.strip() for line in self._gathered))
            self._gathering = None
            yield whole


def _groups(found: re.Match[str]) -> dict[str, str]:
    return {name: value for name, value in found.groupdict().items() if value is not None}
