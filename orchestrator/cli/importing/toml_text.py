"""Writes values as TOML that a person could have written: tables as the caller lays them out, long text over several lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from orchestrator.workers.lazy_pattern import lazy_pattern

_BARE_KEY = lazy_pattern(r"[A-Za-z0-9_-]+")
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_UNSAFE = lazy_pattern(r'[\x00-\x1f\x7f"\\\ud800-\udfff]')
_NOT_IN_LITERAL = lazy_pattern(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_NOT_IN_LINES = lazy_pattern(r'[\x00-\x08\x0b-\x1f\x7f"\\\ud800-\udfff]')


def key_text(key: str) -> str:
    """A key, quoted if TOML needs it."""
    return key if _BARE_KEY.fullmatch(key) else _quoted(key)


def assignment(key: str, value: Any) -> str:
    """`key = value`, without a final newline. Raises TypeError for a value that TOML has no form for."""
    return f"{key_text(key)} = {value_text(value, may_span_lines=True)}"


def value_text(value: Any, *, may_span_lines: bool = False) -> str:
    """One value. Raises TypeError for a value that TOML has no form for."""
    # Booleans before numbers: in Python they are numbers, too.
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value)  # TOML reads inf and nan as Python writes them
        case str():
            return _string(value, may_span_lines=may_span_lines)
        case datetime() | date() | time():
            return value.isoformat()
        case list() | tuple():
            return f"[{', '.join(map(value_text, value))}]"
        case Mapping():
            inner = ", ".join(f"{key_text(key)} = {value_text(each)}" for key, each in value.items())
            return f"{{ {inner} }}" if inner else "{}"
    raise TypeError(f"TOML has no form for {type(value).__name__}")


def comment(text: str) -> str:
    """A comment of one line."""
    return "# " + re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]+", " ", text).strip()


def _string(text: str, *, may_span_lines: bool) -> str:
    if "\n" in text and may_span_lines:
        # The newline behind the opening quotes is no part of the text. Literal text needs no escapes, so it comes first.
        if not _NOT_IN_LITERAL.search(text) and "'''" not in text and not text.endswith("'"):
            return f"'''\n{text}'''"
        return '"""\n' + _NOT_IN_LINES.sub(_escape, text) + '"""'
    if '"' in text and "'" not in text and not _NOT_IN_LITERAL.search(text) and "\n" not in text:
        return f"'{text}'"
    return _quoted(text)


def _quoted(text: str) -> str:
    return '"' + _UNSAFE.sub(_escape, text) + '"'


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if "\ud800" <= character <= "\udfff":
        return "\\uFFFD"  # a lone surrogate is half a character, which no TOML can hold
    return _ESCAPES.get(character) or f"\\u{ord(character):04X}"
