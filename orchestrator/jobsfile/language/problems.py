"""The mistakes of one TOML file: each one line that opens with the file, the line number where it is known, and the place.

    jobs.toml:14: jobs.port.max_concurency: unknown key; did you mean max_concurrency?

A line number is never a guess. tomllib tells none, so the lines are read again, one statement after the other: a statement
ends at the first line at which what was gathered parses by itself. Where that would cost too much, numbers are left out.
"""

from __future__ import annotations

import tomllib
from typing import Any

from orchestrator.jobsfile.language.suggestions import shown
from orchestrator.workers.lazy_pattern import lazy_pattern

Place = tuple[str | int, ...]
"""Keys and list positions from the top of the file: `("jobs", "port", "command", 2)`."""

_BARE_KEY = lazy_pattern(r"[A-Za-z0-9_-]{1,80}")
_CLOSERS = ("]", '"""', "'''")
"""A statement of several lines ends on a line that has one of these: only in lists and such strings are newlines allowed."""
_PARSE_BUDGET = 1_000_000
"""Characters that the search for lines may parse: under a second's work. Only a huge file needs more."""


class Problems:
    """Gathers the mistakes of the file that is shown as `path` and reads `text`."""

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._text = text
        self._told: dict[tuple[Place, str], None] = {}

    def tell(self, place: Place, message: str) -> None:
        """Note a mistake. The same message at the same place is told once."""
        self._told[place, message] = None

    def lines(self) -> list[str]:
        """All mistakes in the file's order, those whose line is not known last."""
        if not self._told:
            return []
        known = find_lines(self._text)
        told = [(_line_of(place, known), place, message) for place, message in self._told]
        told.sort(key=lambda one: one[0] or len(self._text) + 1)
        return [self._sentence(line, place, message) for line, place, message in told]

    def _sentence(self, line: int | None, place: Place, message: str) -> str:
        where = f"{self._path}:{line}" if line else self._path
        return f"{where}: {show_place(place)}: {message}" if place else f"{where}: {message}"


def show_place(place: Place) -> str:
    """`jobs.port.command[2]`; a key that TOML would want quoted is quoted."""
    parts = []
    for key in place:
        if isinstance(key, int):
            parts.append(f"[{key}]")
        else:
            parts.append(f".{key if _BARE_KEY.fullmatch(key) else shown(key)}")
    return "".join(parts).removeprefix(".")


def find_lines(text: str) -> dict[Place, int]:
    """The line (from 1) at which each key of a valid TOML text first appears, as a header or left of a `=`.

    Empty for a text that costs too much to search: with half of the lines a mistake might be told at a neighbour's.
    """
    lines: dict[Place, int] = {}
    prefix: Place | None = ()
    budget = _PARSE_BUDGET
    gathered: list[str] = []
    first = 1
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if not gathered:
            first = number
        gathered.append(line)
        # A statement over several lines can only end here: everything between is not parsed, which would cost its square.
        if first != number and not any(closer in line for closer in _CLOSERS):
            continue
        statement = "\n".join(gathered)
        # No lines at all rather than some: with half of them a mistake would be told at a neighbour's.
        budget -= len(statement)
        if budget < 0:
            return {}
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            # Not its end yet. The text as a whole is valid, so the end comes.
            continue
        except RecursionError:
            # Nested so deeply that it parsed only a few frames higher up.
            return {}
        gathered = []
        if line.lstrip().startswith("[") and first == number:
            # What stands below `[[x]]` belongs to one element of a list, which a place does not tell apart.
            prefix = None if line.lstrip().startswith("[[") else _header(parsed)
            _note(parsed, (), first, lines)
        elif prefix is not None:
            _note(parsed, prefix, first, lines)
    return lines


def _header(parsed: dict[str, Any]) -> Place:
    keys: list[str] = []
    while parsed:
        ((key, parsed),) = parsed.items()
        keys.append(key)
    return tuple(keys)


def _note(table: dict[str, Any], prefix: Place, line: int, lines: dict[Place, int]) -> None:
    waiting = [(prefix, table)]
    while waiting:
        place, table = waiting.pop()
        for key, value in table.items():
            lines.setdefault((*place, key), line)
            if isinstance(value, dict):
                waiting.append(((*place, key), value))


def _line_of(place: Place, lines: dict[Place, int]) -> int | None:
    """The line of `place`, else of the nearest table or key around it."""
    return next((lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in lines), None)
