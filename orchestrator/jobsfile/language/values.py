"""Plain data (what JSON can say) as text, the same way wherever a template, an argument or a label shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.workers.byte_text import escape_bytes

LONGEST_TOKEN_BYTES = 4096
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of characters that would break a line or not be seen in it."""


class ValueRefused(ValueError):
    """This value has no text here; one line that says what to do."""


class LateMapping(Mapping[str, Any]):
    """A mapping in a template of which some values are read when they are asked for, each time anew: they may be large.

    `late` gives such values, by keys that `known` has, too, in its order. What reading raises goes to whoever renders.
    """

    def __init__(self, known: Mapping[str, Any], late: Mapping[str, Callable[[], Any]]) -> None:
        self._known = known
        self._late = late

    def __getitem__(self, key: str) -> Any:
        return self._late[key]() if key in self._late else self._known[key]

    def __contains__(self, key: object) -> bool:
        return key in self._known  # to ask whether it is there reads nothing

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return repr(dict(self))


def json_text(value: Any, indent: int | None = None) -> str:
    """Plain JSON: not escaped for HTML, keys in their order. Raises ValueError for nan and infinity."""
    import json  # Values are text, nearly always.

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return text if text.isascii() else escape_bytes(text)


def text_of(value: Any) -> str:
    """Text as it is, true and false, numbers, JSON for lists and mappings. Raises ValueRefused for null."""
    if type(value) is str:
        return value
    if value is None:
        raise ValueRefused('null has no text; use | default("…", true) or | tojson')
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else json_text(value)


def on_one_line(text: str) -> str:
    """`text` as a label shows it: with the characters escaped that a terminal would act on. So are those of who names a label."""
    if text.isprintable():
        return text
    import unicodedata  # most texts show as they are

    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNSEEN else character
        for character in text
    )


def check_token(text: str) -> None:
    """Raises ValueRefused for what cannot be a token: it names a piece of work in messages, and people type it."""
    if not text.strip():
        raise ValueRefused("the token is empty; items with one token are the same work, so it has to name something")
    for position, character in enumerate("" if text.isprintable() else text):
        import unicodedata

        if unicodedata.category(character) in ("Cc", "Cs"):
            raise ValueRefused(f"the token holds a character that cannot be shown ({ascii(character)[1:-1]}) at {position}")
    size = len(text.encode())
    if size > LONGEST_TOKEN_BYTES:
        raise ValueRefused(f"the token is {size} bytes; at most {LONGEST_TOKEN_BYTES}")


def kind_in_words(value: Any) -> str:
    """What kind of value this is, in the words of the jobs file."""
    if value is None:
        return "null"
    kinds = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    kinds[LateMapping] = "a mapping"
    return kinds.get(type(value), f"a {type(value).__name__.lstrip('_')}")
