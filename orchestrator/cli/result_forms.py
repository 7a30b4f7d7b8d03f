"""Results as a table, JSON, JSON lines or CSV, in pieces: memory grows neither with their number nor with an output."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from orchestrator.reading.large_output import LargeOutput
from orchestrator.reading.many_results import PlainResult
from orchestrator.store.source_file import BLOCK_BYTES
from orchestrator.system.wording import at_time, harmless_json, lasting, shown
from orchestrator.views.json_lines import append_json, encode_lines, harmless_lines, json_line
from orchestrator.views.tables import aligned

Row = dict[str, Any]
"""The fields of one result, in the order in which they are shown. Its `output` may be a `LargeOutput`."""

_CELL_WIDTH = 60
_TOGETHER = 64
"""So many plain results are encoded at once."""


def as_json(rows: Iterable[Row | PlainResult], _fields: list[str]) -> Iterator[bytes]:
    """One list, a result a line."""
    return _objects(rows, b"[\n", b",\n", b"\n]\n", b"[]\n")


def as_jsonl(rows: Iterable[Row | PlainResult], _fields: list[str]) -> Iterator[bytes]:
    """An object a line."""
    return _objects(rows, b"", b"\n", b"\n", b"")


def as_csv(rows: Iterable[Row], fields: list[str]) -> Iterator[bytes]:
    """A line of names, then a row a result. Text is as it is, null empty, all else JSON."""
    import csv

    buffer = io.StringIO(newline="")
    write_row = csv.writer(buffer, lineterminator="\n").writerow

    def written() -> bytes:
        text = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return text.encode("utf-8", "surrogateescape")

    for row in itertools.chain([dict(zip(fields, fields, strict=True))], rows):
        if type(row.get("output")) is LargeOutput:
            yield written()
            yield from _large_csv_line(list(row.values()))
            continue
        cells = [value if type(value) is int else _cell(value) for value in row.values()]
        # Of a cell that is empty and alone the writer would make quotes.
        if cells == [""]:
            buffer.write("\n")
        else:
            write_row(cells)
        if buffer.tell() >= BLOCK_BYTES:
            yield written()
    yield written()


def as_table(rows: Iterable[Row], fields: list[str]) -> Iterator[bytes]:
    """Aligned columns for people: what is long is cut, and nothing in it drives a terminal."""
    cells = ([shown(_short(field, row[field]), _CELL_WIDTH) for field in fields] for row in rows)
    return (line.encode("utf-8", "backslashreplace") + b"\n" for line in aligned([field.upper() for field in fields], cells))


FORMS: dict[str, Callable[[Iterable[Any], list[str]], Iterator[bytes]]] = {
    "json": as_json,
    "jsonl": as_jsonl,
    "csv": as_csv,
    "table": as_table,
}


def _objects(rows: Iterable[Row | PlainResult], first: bytes, between: bytes, last: bytes, nothing: bytes) -> Iterator[bytes]:
    """Each row as a JSON object, with this before the first, between two, and behind the last; `nothing` if there is none.

    In blocks that end with `between`, of which all rows but one that were taken are written: memory grows with no more than
    one row, or some that are plain.
    """
    buffer = bytearray()
    before = first
    for group, is_followed in _in_groups(rows):
        buffer += before
        before = between
        row = group[0]
        if isinstance(row, PlainResult):
            buffer += encode_lines(group)[:-1].replace(b"\n", between)
            if is_followed:
                buffer += between
                before = b""
                if len(buffer) >= BLOCK_BYTES:
                    yield harmless_lines(bytes(buffer))
                    buffer.clear()
            continue
        is_large = type(row.get("output")) is LargeOutput
        if is_large or len(buffer) >= BLOCK_BYTES:
            yield harmless_lines(bytes(buffer))
            buffer.clear()
        if is_large:
            yield from _large_object(row)
        else:
            append_json(row, buffer)
    yield harmless_lines(bytes(buffer))
    yield nothing if before is first else last


def _in_groups(rows: Iterable[Row | PlainResult]) -> Iterator[tuple[list[Row | PlainResult], bool]]:
    """Plain rows some at a time, each other by itself. Of plain ones also whether there are more rows: the next one is taken."""
    plain: list[Row | PlainResult] = []
    for row in rows:
        is_plain = isinstance(row, PlainResult)
        if plain and (not is_plain or len(plain) == _TOGETHER):
            yield plain, True
            plain = []
        if is_plain:
            plain.append(row)
        else:
            yield [row], False
    if plain:
        yield plain, False


def _large_object(row: Row) -> Iterator[bytes]:
    """A row with a large output as a JSON object."""
    before = b"{"
    for name, value in row.items():
        yield before + json_line(name)[:-1] + b":"
        if isinstance(value, LargeOutput):
            yield from map(harmless_json, value.json())
        else:
            yield json_line(value)[:-1]
        before = b","
    yield b"}"


def _large_csv_line(values: list[Any]) -> Iterator[bytes]:
    """A row with a large output. Cells that stand before or behind that are written at once."""
    small: list[Any] = []
    for number, value in enumerate(values):
        if not isinstance(value, LargeOutput):
            small.append(_cell(value))
            continue
        yield _csv_line(small) + (b"," if small else b"") + b'"'
        for piece in value.text():
            yield piece.replace('"', '""').encode("utf-8", "surrogateescape")
        yield b'"' + (b"," if number < len(values) - 1 else b"")
        small = []
    yield _csv_line(small) + b"\n"


def _csv_line(cells: list[str]) -> bytes:
    """Cells with commas between them, without an end of line."""
    import csv

    buffer = io.StringIO(newline="")
    # A last cell more: of one that is empty and alone the writer makes quotes.
    csv.writer(buffer, lineterminator="\n").writerow([*cells, ""])
    return buffer.getvalue().removesuffix(",\n").encode("utf-8", "surrogateescape")


def _short(field: str, value: Any) -> str:
    if value is None:
        return ""
    if field == "duration_s":
        return lasting(value)
    return at_time(value) if field.endswith("_at") else text_in_table(value)


def text_in_table(value: Any) -> str:
    """As a cell of a table has it: of a large output the beginning."""
    return next(value.text(), "") if isinstance(value, LargeOutput) else _cell(value)


def _cell(value: Any) -> str:
    """Text as it is, nothing for null, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json_line(value).decode().rstrip("\n")
