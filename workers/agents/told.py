"""What an agent told of its attempt besides how it went: its session, its answer, what it used and what it was denied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..lazy_pattern import lazy_pattern
from ..protocol import Usage
from ..protocol.reading import TakeName
from .event_fields import LARGEST, fields_at, number_at, number_of, texts_at

_LONGEST_NAME = _LONGEST_DENIAL = 200
_MOST_DENIALS = 100
_SESSION_ID = lazy_pattern(r"[!-,0-}][!-.0-~]{0,199}")
"""What goes out again as an argument of a CLI: nothing that it could take for an option, or for a file that the agent has written
(some take a session by its path), or that no argument can be."""
_NUMBERS = (
    "turns",
    "cost_usd",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


class ToldSoFar:
    """Grows as the stream is read. None everywhere: not told."""

    def __init__(self) -> None:
        self.session_id: str | None = None
        self.model: str | None = None
        self.structured: Any = None
        self.denials: list[str] = []
        self._numbers: dict[str, float | int] = {}
        self._answer: list[str] | None = None
        self._answer_is_parted = False
        self._is_between = False
        self._is_of_lines = False

    def take_value(self, name: TakeName, paths: Sequence[str], event: dict[str, Any], *, adds: bool) -> None:
        """Take what stands in an event under `name`, as `workers.protocol.reading.EventRule` says."""
        if name in _NUMBERS:
            self._number(name, number_at(event, paths), adds=adds)
        elif name == "structured":
            self.structured = next(iter(fields_at(event, paths[0])), self.structured)
        elif name == "denials":
            room = _MOST_DENIALS - len(self.denials)
            self.denials += [" ".join(text.split())[:_LONGEST_DENIAL] for text in texts_at(event, paths)[:room]]
        elif texts := texts_at(event, paths):
            self.take_text(name, "".join(texts))

    def take_text(self, name: str, text: str) -> None:
        """Take words that were told under `name`; a number is told in words where the format is text, and adds up there."""
        match name:
            case _ if name in _NUMBERS:
                self._number(name, number_of(text), adds=True)
            case "denials" if len(self.denials) < _MOST_DENIALS:
                self.denials.append(" ".join(text.split())[:_LONGEST_DENIAL])
            case "session" if _SESSION_ID.fullmatch(text):
                self.session_id = text
            case "model" if text:
                self.model = text[:_LONGEST_NAME]
            case "answer" if text or self._answer is None:
                # CLIs tell an empty answer beside a tool call: it does not take the place of words.
                self._answer = [text]
            case "answer_part" if text:
                if self._answer is None or self._answer_is_parted:
                    self._answer = []
                self._answer_is_parted = False
                self._answer.append(text)

    def part_answer(self) -> None:
        """The next part of an answer begins a new one."""
        self._answer_is_parted = True

    def begin_lines(self) -> None:
        """The lines of text from here on are the answer."""
        self._is_between = self._is_of_lines = True
        self._answer = []

    def end_lines(self) -> None:
        self._is_between = False

    def take_line(self, line: str) -> None:
        """A line of text that means nothing else: it belongs to the answer if that has begun."""
        if self._is_between and self._answer is not None:
            self._answer.append(line + "\n")

    @property
    def answer(self) -> str | None:
        if self._answer is None:
            return None
        text = "".join(self._answer)
        return (text.strip("\n") or None) if self._is_of_lines else text

    @property
    def usage(self) -> Usage | None:
        told = {name: int(number) for name, number in self._numbers.items() if name.endswith("_tokens")}
        return Usage(**told) if told else None

    @property
    def cost_usd(self) -> float | None:
        return None if "cost_usd" not in self._numbers else float(self._numbers["cost_usd"])

    @property
    def turns(self) -> int | None:
        return None if "turns" not in self._numbers else int(self._numbers["turns"])

    def _number(self, name: str, number: float | int | None, *, adds: bool) -> None:
        if number is not None:
            total = number + (self._numbers.get(name, 0) if adds else 0)
            self._numbers[name] = min(total, LARGEST)
