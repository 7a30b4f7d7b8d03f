"""Text that may hold bytes that are not UTF-8: names of files, what a program printed.

Promise: such bytes reach an argument, a variable, a standard input, a file's name and the state unchanged. In text each of them
stands as a lone surrogate (U+DC80 to U+DCFF, Python's surrogateescape), and in JSON as its escape (`"caf\\udce9"`): one
representation, which every JSON parser reads as a string. msgspec neither writes nor reads it, so Python's own JSON does where a
value has one; all other values cost what they cost before.
"""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Callable
from typing import Any

import msgspec

_BYTE_IN_TEXT = "[\udc80-\udcff]"
_ESCAPE_OF_A_BYTE = b"\\udc"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""What a text begins with that is none in UTF-8: each line of it would hold NUL bytes."""
_FIRST_BYTE_OF_JSON = b"{"
"""No struct begins so in msgpack."""

_to_json = msgspec.json.Encoder().encode
_to_comparable_json = msgspec.json.Encoder(order="deterministic").encode
_into_json = msgspec.json.Encoder().encode_into
_to_msgpack = msgspec.msgpack.Encoder().encode


def text_of_bytes(data: bytes) -> str:
    """`data` as text; `bytes_of_text` gives it back."""
    return data.decode("utf-8", "surrogateescape")


def bytes_of_text(text: str) -> bytes:
    """The bytes that `text` stands for. Raises UnicodeEncodeError for halves of characters, which stand for no byte."""
    return text.encode("utf-8", "surrogateescape")


def escape_bytes(text: str) -> str:
    """JSON with its bytes that are not UTF-8 as escapes."""
    return re.sub(_BYTE_IN_TEXT, lambda found: f"\\u{ord(found[0]):x}", text)


def lines_of(data: bytes) -> list[str]:
    """The lines of a text, without a byte order mark. CR LF ends them if it ends each, as editors tell such a text.

    A CR of one line alone may belong to a name (`Icon\\r`).
    """
    lines = text_of_bytes(data.removeprefix(BYTE_ORDER_MARK)).split("\r\n" if has_dos_ends(data) else "\n")
    return lines[:-1] if lines[-1] == "" else lines


def has_dos_ends(data: bytes) -> bool:
    """Whether there are line ends, and each is CR LF."""
    ends = data.count(b"\r\n")
    return ends > 0 and ends == data.count(b"\n")


def encode_json(value: Any) -> bytes:
    """`value` (plain data, or our structs) as JSON on one line."""
    try:
        return _to_json(value)
    except UnicodeEncodeError:
        return _escaped(value)


def comparable_json(value: Any) -> bytes:
    """`value` as JSON that is the same for equal values: keys in one order."""
    try:
        return _to_comparable_json(value)
    except UnicodeEncodeError:
        return _escaped(value, sort_keys=True)


def append_json(value: Any, buffer: bytearray) -> None:
    """Append `encode_json(value)` to `buffer`."""
    start = len(buffer)
    try:
        _into_json(value, buffer, -1)
    except UnicodeEncodeError:
        buffer[start:] = _escaped(value)


def encode_message(value: msgspec.Struct) -> bytes:
    """A struct as msgpack; as JSON if it holds bytes that are not UTF-8."""
    try:
        return _to_msgpack(value)
    except UnicodeEncodeError:
        return _escaped(value)


def json_decoder(kind: Any) -> Callable[[bytes], Any]:
    """What decodes the JSON of `kind`, also with escaped bytes. It raises msgspec.DecodeError, ValueError, RecursionError.

    Made with its first use: a decoder of a union of structs costs milliseconds, and no process uses all that its modules name.
    """
    decode_plain: Callable[[bytes], Any] | None = None

    def decode(data: bytes) -> Any:
        nonlocal decode_plain
        if decode_plain is None:
            decode_plain = msgspec.json.Decoder(kind).decode
        try:
            return decode_plain(data)
        except msgspec.DecodeError:
            if _ESCAPE_OF_A_BYTE not in data:
                raise
        return _unescaped(data, kind)

    return decode


def message_decoder(kind: Any) -> Callable[[bytes], Any]:
    """What decodes the messages of `encode_message`. Made, and raises, as that of `json_decoder`."""
    decode_plain: Callable[[bytes], Any] | None = None

    def decode(data: bytes) -> Any:
        nonlocal decode_plain
        if data.startswith(_FIRST_BYTE_OF_JSON):
            return _unescaped(data, kind)
        if decode_plain is None:
            decode_plain = msgspec.msgpack.Decoder(kind).decode
        return decode_plain(data)

    return decode


def _escaped(value: Any, *, sort_keys: bool = False) -> bytes:
    import json  # Hardly ever needed.

    text = json.dumps(msgspec.to_builtins(value), separators=(",", ":"), sort_keys=sort_keys, ensure_ascii=False)
    # Raises for half a character, which nothing could read back.
    return escape_bytes(text).encode()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if abs(number) > sys.float_info.max:
        raise ValueError(f"{digits[:20]} is no number that can be held")
    return number


def _unescaped(data: bytes, kind: Any) -> Any:
    import json

    try:
        value = json.loads(data, parse_constant=_refuse_constant, parse_float=_finite)
        # Halves of characters stand for no byte: what has one is as malformed as it is to msgspec.
        bytes_of_text(json.dumps(value, ensure_ascii=False))
    except ValueError as error:
        raise msgspec.DecodeError(f"JSON is malformed: {error}") from error
    return msgspec.convert(value, kind)
