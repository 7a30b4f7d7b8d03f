"""Bytes that are not ours: whatever they are, a value that everybody can use, or one error."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.workers.foreign import DEEPEST, ForeignBytesError, decode_forgiving, decode_json, decode_struct

HUGE = "9" * 400


class Known(msgspec.Struct):
    """A type that knows little, and leaves one field open."""

    n: int = 0
    more: Any = None


decode_known = msgspec.json.Decoder(Known).decode


def nested(levels: int, inside: str = "") -> str:
    return "[" * levels + inside + "]" * levels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested deeper"),
        (nested(DEEPEST + 1), "nested deeper"),
        (nested(990), "nested deeper"),
        ('{"a":' * 300 + "1" + "}" * 300, "nested deeper"),
        ('["]", ' * (DEEPEST + 1) + "1" + "]" * (DEEPEST + 1), "nested deeper"),
        (HUGE, "out of range"),
        (f'{{"a": [1, -{HUGE}]}}', "out of range"),
        ("9" * 5000, "out of range"),
        ("1e400", "out of range"),
        ('["caf\\udce9", 1e400]', "not JSON: 1e400 is no number that can be held"),
        (f'["caf\\udce9", {HUGE}]', "out of range"),
        ('["caf\\udce9", ' + nested(DEEPEST) + "]", "nested deeper"),
        ("NaN", "not JSON"),
        ('"\\ud800"', "not JSON: it holds half a character"),
        ("", "not JSON: it ends too early"),
        ("{}{}", r"not JSON: trailing characters \(line 1, column 4\)"),
        ('{"a": 1,\n "b" 2}', r"not JSON: expected ':' \(line 2, column 6\)"),
        ('{"a": 1', "not JSON: it ends too early"),
    ],
)
def test_what_cannot_be_kept_is_one_error_whoever_decodes_it(text: str, words: str) -> None:
    with pytest.raises(ForeignBytesError, match=words):
        decode_json(text.encode())
    # So it is inside of a field that its type leaves open.
    with pytest.raises(ForeignBytesError):
        decode_struct(decode_known, b'{"n": 1, "more": ' + text.encode() + b"}")


def test_bytes_that_are_no_text_and_bytes_that_are_too_many_are_that_error_too() -> None:
    with pytest.raises(ForeignBytesError, match="not JSON"):
        decode_json(b'"caf\xe9"')
    with pytest.raises(ForeignBytesError, match="larger than 10 bytes"):
        decode_json(b"[1, 2, 3, 4]", largest=10)
    with pytest.raises(ForeignBytesError, match="nested deeper"):
        decode_struct(decode_known, b'{"a field it does not know": ' + nested(990).encode() + b"}")
    with pytest.raises(ForeignBytesError, match="not as it should be: Expected `int`"):
        decode_struct(decode_known, b'{"n": "seven"}')


@pytest.mark.parametrize("error", [MemoryError(), RecursionError("too deep"), OverflowError("too large"), ValueError("odd")])
def test_whatever_a_decoder_raises_is_that_error(error: Exception) -> None:
    def decode(_data: bytes) -> Known:
        raise error

    with pytest.raises(ForeignBytesError):
        decode_struct(decode, b"{}")


def test_what_can_be_kept_is_what_it_was() -> None:
    deep = nested(DEEPEST)
    for text in (deep, f"[{nested(DEEPEST - 1)}, {'1' * 308}, -{2**64}, 1e308, 1e-400, null, true]", '{"a": "[[[[", "b": {}}'):
        assert decode_json(text.encode()) == json.loads(text)
    assert decode_struct(decode_known, b'{"n": 3, "more": ' + nested(DEEPEST - 1).encode() + b"}").n == 3


def test_forgiven_is_only_what_has_no_value() -> None:
    assert decode_forgiving(f'["caf\\udce9", NaN, 1e400, {HUGE}]'.encode()) == ["caf?", None, None, None]
    text = f'{{"a": NaN, "b": 1e400, "c": {HUGE}, "d": [-{HUGE}, {"8" * 5000}, 7], "e": "half \\ud83d", "f": "caf'
    told = decode_forgiving(text.encode() + b'\xe9"}')
    assert told == {"a": None, "b": None, "c": None, "d": [None, None, 7], "e": "half ?", "f": "caf�"}
    assert decode_forgiving(HUGE.encode()) is None
    for text in (nested(DEEPEST + 1), f"[NaN, {nested(DEEPEST)}]", "[" * 100_000, "nothing"):
        with pytest.raises(ForeignBytesError):
            decode_forgiving(text.encode())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**320), 10**320) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@given(value=VALUES, around=st.integers(0, 2 * DEEPEST), cut=st.integers(-3, 3))
@example(value=10**309, around=DEEPEST - 1, cut=0)
def test_any_value_at_any_depth_is_whole_or_refused(value: Any, around: int, cut: int) -> None:
    data = nested(around, json.dumps(value)).encode()
    data = data[:cut] if cut < 0 else data + b"]" * cut
    for decode in (decode_json, decode_forgiving):
        try:
            came = decode(data)
        except ForeignBytesError:
            continue
        assert depth_of(came) <= DEEPEST
        assert all(math.isfinite(number) for number in numbers_in(came))
        assert json.loads(msgspec.json.encode(came)) == json.loads(json.dumps(came))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_that_error(data: bytes) -> None:
    for decode in (decode_json, decode_forgiving):
        try:
            decode(data)
        except ForeignBytesError:
            continue


def depth_of(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if below is None else 1 + max(map(depth_of, below), default=0)


def numbers_in(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        return [number for each in (value.values() if isinstance(value, dict) else value) for number in numbers_in(each)]
    return [value] if isinstance(value, int | float) else []
