"""What stands in an event of an agent: fields by path, numbers and texts of the type that is expected, else not told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..foreign import ForeignBytesError, decode_forgiving
from ..protocol.reading import Scalar

LARGEST = 2**40
"""No attempt has used so many tokens: a CLI that tells more counts wrongly, and sums of less fit everywhere."""
_ABSURD = 2**60
_LONGEST_JSON_IN_TEXT = 1 << 20


def event_of(line: bytes) -> dict[str, Any] | None:
    """The JSON object that a line is; None if it is none."""
    if not line.lstrip().startswith(b"{"):
        return None
    value = _json_of(line)
    return value if isinstance(value, dict) else None


def fields_at(event: Any, path: str) -> list[Any]:
    """All that stands at `path` and is not null. Paths are told in `workers.protocol.reading`."""
    if isinstance(event, dict) and "." not in path and path != "*":
        # By far most are this: a list less for each key of each rule.
        return [] if (value := event.get(path)) is None else [value]
    found = [event]
    for key in path.split("."):
        found = [below for value in found for below in _below(value, key)]
    return [value for value in found if value is not None]


def has_one_of(event: Any, path: str, values: Sequence[Scalar]) -> bool:
    """Whether the field is one of `values`; a missing one is null. `true` is not 1 here."""
    fields = fields_at(event, path) or [None]
    return any(type(field) is type(value) and field == value for field in fields for value in values)


def number_at(event: Any, paths: Sequence[str]) -> float | int | None:
    """The sum of the fields, a path behind "-" taken off; None if nothing stands at the first, or it would be below zero."""
    total: float | int = 0
    for place, path in enumerate(paths):
        numbers = [number for field in fields_at(event, path.removeprefix("-")) if (number := _number(field)) is not None]
        if place == 0 and not numbers:
            return None
        total += -sum(numbers) if path.startswith("-") else sum(numbers)
    return total if 0 <= total < LARGEST else None


def texts_at(event: Any, paths: Sequence[str]) -> list[str]:
    """The texts at the first path where there are any. A number or a table is told as JSON."""
    for path in paths:
        if fields := fields_at(event, path):
            return [field if isinstance(field, str) else msgspec.json.encode(field).decode() for field in fields]
    return []


def number_of(text: str) -> float | int | None:
    """A number as people are shown it: `595`, `1,204`, `1.2k`, `3M`."""
    plain = text.replace(",", "").strip().lower()
    factor = {"k": 1_000, "m": 1_000_000}.get(plain[-1:], 1)
    try:
        number = float(plain.removesuffix("k").removesuffix("m")) * factor
    except ValueError:
        return None
    if not 0 <= number < LARGEST:
        return None
    return int(number) if number == int(number) else number


def _below(value: Any, key: str) -> Sequence[Any]:
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        # Providers' answers are handed on as text: `{"responseBody": "{\"error\": …"`.
        value = _json_of(value.encode("utf-8", "replace")) if len(value) <= _LONGEST_JSON_IN_TEXT else None
    match value:
        case dict() if key == "*":
            return list(value.values())
        case dict():
            return [value[key]] if key in value else []
        case list() if key == "*":
            return value
        case list() if key.isdecimal() and int(key) < len(value):
            return [value[int(key)]]
        case _:
            return []


def _json_of(text: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return decode_forgiving(text)
    except ForeignBytesError:
        return None


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Whole numbers may have 300 digits: a sum of such is more than a float can be added to.
    return max(-_ABSURD, min(value, _ABSURD))
