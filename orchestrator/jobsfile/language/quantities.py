"""Durations, sizes, counts and percentages as people write them in a jobs file or on the command line.

Every parser takes the raw TOML value (or a string of the command line) and raises ValueError for what it does not accept:
another type, a negative number, NaN, infinity, a number beyond what a clock or a file can hold.
"""

from __future__ import annotations

import math
import re
from typing import Any

from orchestrator.workers.lazy_pattern import lazy_pattern

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "b": 1}
for _power, _prefix in enumerate("kmgt", start=1):
    # As GNU tools read them: a bare letter and "KiB" count in 1024s, "KB" in 1000s.
    _BYTES |= {_prefix: 1024**_power, f"{_prefix}ib": 1024**_power, f"{_prefix}b": 1000**_power}

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION_PART = lazy_pattern(rf"({_NUMBER})(ms|s|m|h|d)")
_DURATION = lazy_pattern(rf"(?:{_NUMBER}(?:ms|s|m|h|d))+")
_PLAIN_NUMBER = lazy_pattern(_NUMBER)
_SIZE = lazy_pattern(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)")
_PERCENT = lazy_pattern(r"([0-9]+(?:\.[0-9]+)?) ?%")
_COUNT = lazy_pattern(r"[0-9]{1,9}")
_RATE = lazy_pattern(r"([0-9]{1,9}) ?/ ?([0-9a-z.]+)")
_WINDOWS = {"s": 1.0, "sec": 1.0, "second": 1.0, "m": 60.0, "min": 60.0, "minute": 60.0}
_WINDOWS |= {"h": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0}

LONGEST_SECONDS = 36500 * 86400.0
"""A hundred years: a longer duration is a slip, and clocks and polls overflow on it."""

LARGEST_BYTES = 2**63 - 1
_MOST_DIGITS = 18

MOST_SLOTS = 4096
"""Of a run, and of a pool."""

MOST_STARTS = 100_000
"""In one window of a rate: each of them is remembered for as long as the window is."""


def _whole(pattern: str) -> str:
    """`pattern` as JSON Schema wants it: nothing stands around it but white space."""
    return rf"^\s*(?:{pattern})\s*$"


def _any_case(words: str) -> str:
    return re.sub("[a-z]", lambda letter: f"[{letter[0]}{letter[0].upper()}]", words)


_UNITS = "|".join(_SECONDS)

DURATION_FORM = {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": LONGEST_SECONDS,
    "pattern": _whole(rf"(?:{_NUMBER}(?:{_UNITS}))+|{_NUMBER}"),
}
SIZE_FORM = {
    "type": ["integer", "string"],
    "minimum": 0,
    "maximum": LARGEST_BYTES,
    "pattern": _whole(rf"{_NUMBER} ?(?:{_any_case('|'.join(_BYTES))})"),
}
COUNT_FORM = {"type": ["integer", "string"], "minimum": 1, "pattern": _whole("(?=[0-9]*[1-9])[0-9]{1,9}")}
PERCENT_PATTERN = _whole(r"0*(?:100(?:\.0+)?|[0-9]{1,2}(?:\.[0-9]+)?) ?%")
RATE_PATTERN = _whole(rf"[0-9]{{1,9}} ?/ ?(?:{_any_case('|'.join(_WINDOWS))}|(?:{_NUMBER}(?:{_any_case(_UNITS)}))+)")
"""What each parser below takes, for editors, in the words of JSON Schema; of a rate and of huge numbers a little more."""


def parse_duration(value: Any) -> float:
    """Seconds of `"90s"`, `"20m"`, `"2h"`, `"1d"`, `"500ms"`, `"1h30m"`, or of a plain number. Raises ValueError."""
    seconds = _number(value)
    if seconds is None:
        text = _text(value)
        if _PLAIN_NUMBER.fullmatch(text):
            seconds = float(text)
        elif _DURATION.fullmatch(text):
            seconds = sum(float(amount) * _SECONDS[unit] for amount, unit in _DURATION_PART.findall(text))
        else:
            raise ValueError(f"not a duration: {text}")
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise ValueError("a duration is between 0 and a hundred years")
    return float(seconds)


def parse_limit(value: Any) -> float | None:
    """A duration that limits something: seconds, or None for 0, which means no limit. Raises ValueError."""
    return parse_duration(value) or None


def read_digits(text: str) -> int | None:
    """The whole number that these digits are; None for any other text, and for more digits than a number of ours has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def parse_size(value: Any) -> int:
    """Bytes of `"10MiB"`, `"10MB"` (of 1000), `"10k"` (of 1024), or of a plain number. Raises ValueError."""
    size: float | None
    if isinstance(value, str):
        match = _SIZE.fullmatch(value.strip().lower())
        if match is None or match[2] not in _BYTES:
            raise ValueError(f"not a size: {value}")
        size = round(float(match[1]) * _BYTES[match[2]], 0)  # 1.1MB is not whole in floating point
    else:
        size = _number(value)
    if size is None or not 0 <= size <= LARGEST_BYTES or size != int(size):
        raise ValueError("a size is a whole number of bytes")
    return min(int(size), LARGEST_BYTES)


def parse_size_limit(value: Any) -> int | None:
    """A size that limits something: bytes, or None for 0, which means no limit. Raises ValueError."""
    return parse_size(value) or None


def parse_rate(value: Any) -> tuple[int, float]:
    """Starts, and the seconds of the window in which there are at most so many, of `"50/min"`, `"5/10s"`. Raises ValueError."""
    match = _RATE.fullmatch(_text(value).lower())
    if match is None or _PLAIN_NUMBER.fullmatch(match[2]):
        raise ValueError("a rate is a number of starts, a slash and a time")
    starts, seconds = int(match[1]), _WINDOWS.get(match[2]) or parse_duration(match[2])
    if not 1 <= starts <= MOST_STARTS or seconds <= 0:
        raise ValueError("a rate has at least one start, and a time in which it may be")
    return starts, seconds


def parse_count(value: Any) -> int:
    """A whole number of at least 1, or a string of one. Raises ValueError."""
    if isinstance(value, str) and _COUNT.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("a count is a whole number of at least 1")
    return value


def parse_percent(value: Any) -> float:
    """The number of `"20%"`, between 0 and 100. Raises ValueError."""
    match = _PERCENT.fullmatch(_text(value))
    if match is None or not 0 <= float(match[1]) <= 100:
        raise ValueError("a percentage is between 0% and 100%")
    return float(match[1])


def _number(value: Any) -> float | None:
    """`value` if it is a finite number that fits a float, None if it is no number at all. A boolean is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not -LARGEST_BYTES <= value <= LARGEST_BYTES or math.isnan(value):
        raise ValueError("not a number that can be counted with")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("neither a number nor a string")  # noqa: TRY004 — one error type for all that is not accepted
    return value.strip()
