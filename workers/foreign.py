"""JSON that is not ours, decoded: what items, agents, users and other programs wrote.

Promise: what comes out is plain data that every part of the program can walk, encode and reckon with: nested at most `DEEPEST`
levels, its numbers in the range of a double, its texts Unicode, or what stands for bytes (`byte_text`). All else that the
bytes may be is told by a `ForeignBytesError`; nothing else is raised. Invariant: what is refused does not depend on who asks, so
the same bytes are judged the same again.
It refuses to handle: what only this program can have written, and what a value means.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from .byte_text import json_decoder
from .wording import size_in_words

DEEPEST = 200
"""Lists and tables inside each other. What walks a value by recursion has room for that, and for what is put around it."""
LARGEST_BYTES = 256 << 20
"""JSON takes up to twenty times its bytes once it is values."""
LARGEST_NUMBER = int(sys.float_info.max)
"""A larger one cannot be reckoned with, and above some thousand digits not even be written."""

_decode_any = json_decoder(Any)
_CONTAINERS = frozenset((list, dict))
_FIRST_DIGITS = len(str(LARGEST_NUMBER))
"""A whole number of fewer digits is in the range of a double."""
_ALL_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"0" * 9)
_AT_BYTE = r" \(byte ([0-9]+)\)\Z"
_HALF_CHARACTER = rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
"""The first half of a surrogate pair without the second."""
_TOO_DEEP = f"nested deeper than {DEEPEST} levels"

T = TypeVar("T")


class ForeignBytesError(Exception):
    """The bytes give no value that can be kept. Its words go on after "it is": `not JSON: …`, `nested deeper than 200 levels`."""


def decode_json(data: bytes, largest: int = LARGEST_BYTES) -> Any:
    """The value of `data`, which may have `largest` bytes. Raises ForeignBytesError."""
    return _bounded(_decode_any, data, largest)


def _bounded(decode: Callable[[bytes], Any], data: bytes, largest: int) -> Any:
    value = _decoded(decode, data, largest)
    if _may_be_deep(data):
        for _ in _levels_of(value):
            continue
    if _may_have_huge_numbers(data) and next(_huge_numbers_in([value]), None) is not None:
        raise ForeignBytesError("out of range: it holds a number that no double can hold")
    return value


def decode_struct(decode: Callable[[bytes], T], data: bytes, largest: int = LARGEST_BYTES) -> T:
    """What `decode`, of a typed decoder of msgspec, makes of `data`. Raises ForeignBytesError."""
    # What the type leaves open, or does not know, may hold anything.
    if _may_be_deep(data) or _may_have_huge_numbers(data):
        decode_json(data, largest)
    return _decoded(decode, data, largest)


def decode_forgiving(data: bytes) -> Any:
    """As `decode_json`, for programs that do not keep to JSON. JavaScript cuts texts between the halves of a surrogate pair and
    writes half a character: it counts as a `?`. A number that cannot be kept (NaN, 1e400, one of 400 digits) counts as null.

    Raises ForeignBytesError.
    """
    try:
        return _bounded(msgspec.json.decode, data, LARGEST_BYTES)
    except ForeignBytesError:
        held = [_decoded(_forgive, data, LARGEST_BYTES)]
    for container, key in _huge_numbers_in(held):
        container[key] = None
    return held[0]


def _decoded(decode: Callable[[bytes], T], data: bytes, largest: int) -> T:
    if len(data) > largest:
        raise ForeignBytesError(f"larger than {size_in_words(largest)}")
    try:
        return decode(data)
    except RecursionError:
        raise ForeignBytesError(_TOO_DEEP) from None
    except MemoryError:
        raise ForeignBytesError("larger than the memory that is left for it") from None
    except msgspec.ValidationError as error:
        raise ForeignBytesError(f"not as it should be: {error}") from error
    except (ValueError, OverflowError) as error:
        raise ForeignBytesError(f"not JSON: {_placed(str(error), data)}") from error


def _placed(words: str, data: bytes) -> str:
    """The words of msgspec for what is malformed, with the line and the column that an editor has."""
    words = words.removeprefix("JSON is malformed: ")
    found = re.search(_AT_BYTE, words)
    if found is not None:
        at = int(found[1])
        line, column = data.count(b"\n", 0, at) + 1, at - data.rfind(b"\n", 0, at)
        return f"{words[: found.start()]} (line {line}, column {column})"
    # Without a place: msgspec calls both the same.
    if re.search(_HALF_CHARACTER, data) is not None:
        return "it holds half a character"
    return "it ends too early" if words == "Input data was truncated" else words


def _forgive(data: bytes) -> Any:
    import json  # Hardly ever needed.

    value = json.loads(data.decode("utf-8", "replace"), parse_constant=lambda _name: None, parse_int=_whole, parse_float=_finite)
    return msgspec.json.decode(json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace"))


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= _FIRST_DIGITS + 1 else None


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if abs(number) <= sys.float_info.max else None


def _may_be_deep(data: bytes) -> bool:
    """Whether there are so many brackets. No is certain, and what most bytes are told."""
    return data.count(b"[") + data.count(b"{") > DEEPEST


def _may_have_huge_numbers(data: bytes) -> bool:
    """Whether so many digits follow each other. No is certain."""
    return len(data) >= _FIRST_DIGITS and b"0" * _FIRST_DIGITS in data.translate(_ALL_DIGITS_ALIKE)


def _levels_of(value: Any) -> Iterator[list[Any]]:
    """The lists and tables of a value, level by level. Raises ForeignBytesError at the first that is too deep."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(DEEPEST):
        if not level:
            return
        yield level
        level = [
            below for each in level for below in (each.values() if type(each) is dict else each) if type(below) in _CONTAINERS
        ]
    if level:
        raise ForeignBytesError(_TOO_DEEP)


def _huge_numbers_in(held: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Where the value that is `held` has whole numbers that no double can hold: list or table, and place in it."""
    for level in ([held], *_levels_of(held[0])):
        for container in level:
            places = container.items() if type(container) is dict else enumerate(container)
            yield from ((container, key) for key, value in places if type(value) is int and abs(value) > LARGEST_NUMBER)
