"""Text that stands for bytes: what is written of it is read back, by plain and by escaped JSON alike."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from orchestrator.store.outputs import parse_output
from orchestrator.workers.byte_text import (
    bytes_of_text,
    encode_json,
    encode_message,
    json_decoder,
    message_decoder,
    text_of_bytes,
)


class Said(msgspec.Struct, tag="said", omit_defaults=True):
    text: str
    data: bytes = b""
    more: dict[str, list[str | None]] = {}


class Other(msgspec.Struct, tag="other"):
    number: int


ODD = text_of_bytes(b"caf\xe9 \xff\xc3")


@pytest.mark.parametrize(
    "value", [Said("plain \xe9 \U0001f600"), Said(f"\U0001f600{ODD}", b"\xff\x00", {ODD: [ODD, None]}), Other(3), Said("\\udce9")]
)
def test_what_is_written_is_read_back_as_json_and_as_a_message(value: Said | Other) -> None:
    assert json_decoder(Said | Other)(encode_json(value)) == value
    assert message_decoder(Said | Other)(encode_message(value)) == value


def test_a_value_of_text_alone_is_written_as_ever_and_bytes_as_escapes_that_any_json_has() -> None:
    assert encode_json({"a": "\xe9"}) == msgspec.json.encode({"a": "\xe9"})
    assert encode_json(["caf\udce9"]) == rb'["caf\udce9"]'
    assert json.loads(encode_json([ODD])) == [ODD]
    assert bytes_of_text(ODD) == b"caf\xe9 \xff\xc3"


@pytest.mark.parametrize(
    "data", [rb'"\ud83d \udce9"', rb'{"type":"said","text":"\udce9"', rb'{"type":"said","text":["\udce9"]}', rb'[NaN,"\udce9"]']
)
def test_what_is_malformed_stays_so(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        json_decoder(Said)(data)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"caf\xe9\nb\n", ["caf\udce9", "b"]),
        (b"\xef\xbb\xbfa\r\nb\r\n", ["a", "b"]),
        (b"a\r\nb", ["a", "b"]),
        (b"Icon\r\nb\n", ["Icon\r", "b"]),
        (b"\n\n", ["", ""]),
        (b"", []),
    ],
)
def test_the_lines_of_an_output_are_its_bytes_without_line_ends_of_either_kind(data: bytes, lines: list[str]) -> None:
    assert parse_output("lines", data) == lines


def test_an_output_that_is_text_is_all_of_its_bytes_and_one_that_is_json_may_have_them_as_escapes() -> None:
    said: Any = parse_output("text", b"\xef\xbb\xbf\xff\r\n")
    assert bytes_of_text(said) == b"\xef\xbb\xbf\xff\r"
    assert parse_output("json", rb'["\udcff"]') == ["\udcff"]
