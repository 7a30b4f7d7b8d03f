"""Values as a jobs file has them that this program writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import UserError
from orchestrator.workers.lazy_pattern import lazy_pattern


def toml_value(value: Any, what: str = "argument") -> str:
    """The value as TOML has it on one line. `what` has a text that is not UTF-8.

    Raises UserError for that, TypeError for all else that TOML cannot hold.
    """
    match value:
        case bool() | int() | float():
            return str(value).lower()
        case str():
            return _quoted(value, what)
        case Mapping():
            return "{ " + ", ".join(f"{_key(str(key))} = {toml_value(each, what)}" for key, each in value.items()) + " }"
        case Sequence():
            return "[" + ", ".join(toml_value(each, what) for each in value) + "]"
        case _:
            raise TypeError(f"{value!r}: a job has texts, numbers, truth values, lists and tables")


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _quoted(key, "name")


_BARE_KEY = lazy_pattern(r"[A-Za-z0-9_-]+")


def _quoted(text: str, what: str) -> str:
    """A TOML basic string. Control characters are escaped: --print shows the text on a terminal, which would obey them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"the {what} {text!r} is not UTF-8", "a jobs file cannot hold it; read it from a file instead") from None
    return '"' + "".join(_ESCAPES.get(each) or (each if each.isprintable() else _by_number(each)) for each in text) + '"'


def _by_number(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
