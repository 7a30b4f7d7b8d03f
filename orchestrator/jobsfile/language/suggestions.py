"""What the user probably meant, and how a value of theirs is shown back in one short line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_LONGEST_WORD = 64
_LONGEST_SHOWN = 60


def did_you_mean(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """`"; did you mean X?"` for the nearest of `known`, "" if none is near. To be put behind a message.

    `likeness`: how much of the two words must be the same; 1: all.
    """
    if len(word) > _LONGEST_WORD:
        return ""
    import difflib  # For a mistake alone.

    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=likeness)
    return f"; did you mean {close[0]}?" if close else ""


def shown(text: str) -> str:
    """`text` quoted, on one line, cut when it is long."""
    import json  # For a mistake alone.

    cut = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
    return json.dumps(cut, ensure_ascii=not cut.isprintable())


def describe(value: Any) -> str:
    """A TOML value in words: `a string ("four")`, `a number (-3)`, `true`, `a list`, `a table`."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"a number ({value:.6g})" if isinstance(value, float) else f"a number ({value})"
        case str():
            return f"a string ({shown(value)})"
        case list() if not value:
            return "an empty list"
        case list():
            # Lists are of strings nearly everywhere, so what is not one is what is wrong.
            odd = next((element for element in value if not isinstance(element, str)), None)
            return "a list of strings" if odd is None else f"a list with {_kind(odd)} in it"
        case _:
            return "a table"


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "a table"
