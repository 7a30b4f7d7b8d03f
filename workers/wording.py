"""Durations, sizes and long lists in words, as they stand in messages."""

from __future__ import annotations

from collections.abc import Sequence

_MOST_NAMED = 5

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def duration_in_words(seconds: float) -> str:
    """`1h30m`, `20m`, `90s` as `1m30s`, `0.5s`."""
    if seconds != int(seconds):
        return f"{seconds:g}s"
    hours, rest = divmod(int(seconds), 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{value}{unit}" for value, unit in ((hours, "h"), (minutes, "m"), (left, "s")) if value]
    return "".join(parts) or "0s"


def size_in_words(size: int) -> str:
    """`2 GiB`, `1536 MiB`, `1000 bytes`: exact, in the largest unit that leaves no rest."""
    bytes_a_unit, unit = _unit_of(size)
    return f"{size // bytes_a_unit} {unit}"


def excess_in_words(size: int, limit: int) -> str:
    """`2.1 GiB` beside a limit of `2 GiB`: in the limit's unit and rounded up, so that it never reads as the limit itself."""
    bytes_a_unit, unit = _unit_of(limit)
    tenths = -(-size * 10 // bytes_a_unit)
    return f"{tenths / 10:.1f}".removesuffix(".0") + f" {unit}"


def first_in_words(names: Sequence[str], between: str = ", ") -> str:
    """`a, b, c, d, e and 3 more`: the first five, and how many there are besides."""
    more = len(names) - _MOST_NAMED
    return between.join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _unit_of(size: int) -> tuple[int, str]:
    return next(((unit, name) for unit, name in _UNITS if size >= unit and size % unit == 0), (1, "bytes"))
