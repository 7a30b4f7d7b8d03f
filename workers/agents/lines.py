"""A stream of bytes cut into lines, and the lines of text that its rules know."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..protocol.reading import LineRule
from .patterns import find

LONGEST_LINE_BYTES = 16 << 20
"""What is longer is not read: as values an event takes many times its bytes, and there may be one in each of many workers."""

_MOST_GATHERED = 50
_LONGEST_GATHERED = 10_000
"""Characters of each further line of a message."""


class KnownLine(NamedTuple):
    """A line that a rule knows, or the message of several lines that began with one. `groups` are named in its pattern."""

    rule: LineRule
    text: str
    groups: dict[str, str]


class Lines:
    """One stream. However it is cut into chunks, the lines are the same, and each byte is copied a bounded number of times.

    A line of more than `longest` bytes is left out, and counted in `skipped`; no more than that of it is ever `held`.
    """

    def __init__(self, rules: Iterable[LineRule], longest: int = LONGEST_LINE_BYTES) -> None:
        self.skipped = 0
        self._longest = longest
        self._rules = [(re.compile(rule.pattern), rule) for rule in rules]
        self._rest: list[bytes] = []
        self._rest_bytes = 0
        """All that has come of the unfinished line, whether it is held or not."""
        self._gathered: list[str] = []
        self._gathering: KnownLine | None = None

    def complete(self, chunk: bytes) -> list[bytes]:
        """The lines that end in `chunk`. What is behind them waits in pieces, so a long line costs no more than its length."""
        first, *others = chunk.split(b"\n")
        self._hold(first)
        if not others:
            return []
        lines = [] if (begun := self._take_line()) is None else [begun]
        *whole, rest = others
        if len(chunk) > self._longest:
            self.skipped += sum(len(line) > self._longest for line in whole)
            whole = [line for line in whole if len(line) <= self._longest]
        self._hold(rest)
        return lines + whole

    @property
    def held(self) -> int:
        """Bytes that are in memory of the unfinished line."""
        return sum(map(len, self._rest))

    def take_rest(self) -> bytes | None:
        """What stands behind the last newline; None: more than is read."""
        return self._take_line()

    def _hold(self, piece: bytes) -> None:
        self._rest_bytes += len(piece)
        if self._rest_bytes > self._longest:
            self._rest.clear()
        elif piece:
            self._rest.append(piece)

    def _take_line(self) -> bytes | None:
        line = None if self._rest_bytes > self._longest else b"".join(self._rest)
        self.skipped += line is None
        self._rest.clear()
        self._rest_bytes = 0
        return line

    def read(self, text: str) -> Iterator[KnownLine | str]:
        """What a line completes: the message of the lines before it, itself if a rule knows it, else its own text.

        A line that goes on with a message is kept until that is whole.
        """
        known = next(
            (KnownLine(rule, text, _groups(found)) for pattern, rule in self._rules if (found := find(pattern, text))), None
        )
        if known is None:
            if self._gathering is None:
                yield text
            elif text and len(self._gathered) < _MOST_GATHERED:
                self._gathered.append(text[:_LONGEST_GATHERED])
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
