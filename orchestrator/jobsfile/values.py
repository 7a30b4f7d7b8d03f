"""Plain data (what JSON can say) as text, the same way wherever a template, an argument or a label shows it."""

from __future__ import annotations

import json
from typing import Any


class ValueRefused(ValueError):
    """This value has no text here; one line that says what to do."""


def json_text(value: Any, indent: int | None = None) -> str:
    """Plain JSON: not escaped for HTML, keys in their order. Raises ValueError for nan and infinity."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)


def text_of(value: Any) -> str:
    """Text as it is, true and false, numbers, JSON for lists and mappings. Raises ValueRefused for null."""
    if type(value) is str:
        return value
    if value is None:
        raise ValueRefused('null has no text; use | default("…", true) or | tojson')
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else json_text(value)


def describe(value: Any) -> str:
    """What kind of value this is, in the words of the jobs file."""
    if value is None:
        return "null"
    kinds = {str: "text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), f"a {type(value).__name__.lstrip('_')}")
