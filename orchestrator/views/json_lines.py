"""`--events`: one JSON object a line on stdout, as things happen, beside whatever stderr shows."""

from __future__ import annotations

import json
import select
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import msgspec

from orchestrator.system.redaction import of_this_process
from orchestrator.system.wording import harmless_json, iso_time
from orchestrator.views.happenings import Happening

TIMES = ("started_at", "finished_at")
"""Fields of runs and of items."""

TIMES_S = tuple(f"{name}_s" for name in TIMES)
"""The same in seconds since the epoch."""

_encode = msgspec.json.Encoder().encode
_encode_into = msgspec.json.Encoder().encode_into
_encode_many = msgspec.json.Encoder().encode_lines


class EventLines:
    """Writes each happening to `stream` (None: nowhere), as one line that is seen at once; goes silent when the reader has gone.

    A pipe is written on the thread of a slow listener, with a `stream` of its own (`cli.output.own_stdout`).
    """

    shows_time = False

    def __init__(self, stream: BinaryIO | None) -> None:
        self._stream = stream

    def hear(self, happening: Happening) -> None:
        """Write one line."""
        if self._stream is None:
            return
        line = of_this_process().redact(json_line(happening))
        try:
            _write_whole(self._stream, line)
            self._stream.flush()
        except (OSError, ValueError):
            self._stream = None

    def refresh(self, now: float) -> None:
        """Lines do not change."""

    def close(self) -> None:
        """The stream is the caller's."""


def _write_whole(stream: BinaryIO, data: bytes) -> None:
    """Write all of `data`. A stream without a buffer may take a part of it at a time, or, if others made it so, not wait."""
    while data:
        taken: int | None = stream.write(data)
        if taken is None:
            select.select([], [stream], [])
        data = data[taken or 0 :]


def with_times(told: dict[str, Any]) -> dict[str, Any]:
    """As it is shown as JSON: `started_at` and `finished_at`, seconds since the epoch, are ISO 8601, and the seconds stand behind
    all else as `…_s`."""
    seconds = [told[name] for name in TIMES]
    return {**told, **dict(zip(TIMES, map(iso_time, seconds), strict=True)), **dict(zip(TIMES_S, seconds, strict=True))}


def json_list(values: Iterable[object]) -> Iterator[bytes]:
    """One list of JSON, a value a line, in pieces: no more than one value need be in memory."""
    before = b"[\n"
    for value in values:
        yield before + json_line(value).rstrip(b"\n")
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def append_json(value: object, buffer: bytearray) -> None:
    """Append `value` as JSON on one line, without its end. It may drive a terminal: `harmless_lines` is for many."""
    start = len(buffer)
    try:
        _encode_into(value, buffer, -1)
    except UnicodeEncodeError:
        buffer[start:] = json_line(value)[:-1]


def encode_lines(values: Sequence[object]) -> bytes:
    """Each of `values` as JSON on a line of its own. It may drive a terminal, too."""
    try:
        return _encode_many(values)
    except UnicodeEncodeError:
        return b"".join(map(json_line, values))


def harmless_lines(data: bytes) -> bytes:
    """Lines of JSON that drive no terminal."""
    # Of ASCII nothing is looked at twice; else a line with nothing but printable characters stays as it is.
    if data.isascii():
        return harmless_json(data)
    return b"\n".join(map(harmless_json, data.split(b"\n")))


def json_line(value: object) -> bytes:
    """`value` as one line of JSON that drives no terminal. A name that is not UTF-8 has lone surrogates in it (`\\udcff`)."""
    try:
        data = _encode(value)
    except UnicodeEncodeError:
        data = json.dumps(msgspec.to_builtins(value)).encode("ascii")
    return harmless_json(data) + b"\n"
