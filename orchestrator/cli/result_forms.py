"""Results as a table, JSON, JSON lines or CSV, in pieces: memory grows neither with their number nor with an output."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from orchestrator.reading.large_output import LargeOutput
from orchestrator.system.wording import at_time, harmless_json, lasting, shown
from orchestrator.views.json_lines import json_line
from orchestrator.views.tables import aligned

Row = dict[str, Any]
"""The fields of one result, in the order in which they are shown. Its `output` may be a `LargeOutput`."""

_CELL_WIDTH = 60


def as_json(rows: Iterable[Row], _fields: list[str]) -> Iterator[bytes]:
    """One list, a result a line."""
    before = b"[\n"
    for row in rows:
        yield before
        yield from _object(row)
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def as_jsonl(rows: Iterable[Row], _fields: list[str]) -> Iterator[bytes]:
    """An object a line."""
    for row in rows:
        if isinstance(row.get("output"), LargeOutput):
            yield from _object(row)
            yield b"\n"
        else:
            yield json_line(row)


def as_csv(rows: Iterable[Row], fields: list[str]) -> Iterator[bytes]:
    """A line of names, then a row a result. Text is as it is, null empty, all else JSON."""
    for row in itertools.chain([dict(zip(fields, fields, strict=True))], rows):
        line = list(row.values())
        # Cells between two large ones are written at once; mostly that is the whole row.
        small: list[Any] = []
        for number, value in enumerate(line):
            if not isinstance(value, LargeOutput):
                small.append(_cell(value))
                continue
            yield _csv_line(small) + (b"," if small else b"") + b'"'
            for piece in value.text():
                yield piece.replace('"', '""').encode("utf-8", "surrogateescape")
            yield b'"' + (b"," if number < len(line) - 1 else b"")
            small = []
        yield _csv_line(small) + b"\n"


def as_table(rows: Iterable[Row], fields: list[str]) -> Iterator[bytes]:
    """Aligned columns for people: what is long is cut, and nothing in it drives a terminal."""
    cells = ([shown(_short(field, row[field]), _CELL_WIDTH) for field in fields] for row in rows)
    return (line.encode("utf-8", "backslashreplace") + b"\n" for line in aligned([field.upper() for field in fields], cells))


FORMS: dict[str, Callable[[Iterable[Row], list[str]], Iterator[bytes]]] = {
    "json": as_json,
    "jsonl": as_jsonl,
    "csv": as_csv,
    "table": as_table,
}


def _object(row: Row) -> Iterator[bytes]:
    """The row as one JSON object, without an end of line."""
    if not isinstance(row.get("output"), LargeOutput):
        yield json_line(row)[:-1]
        return
    before = b"{"
    for name, value in row.items():
        yield before + json_line(name)[:-1] + b":"
        if isinstance(value, LargeOutput):
            yield from map(harmless_json, value.json())
        else:
            yield json_line(value)[:-1]
        before = b","
    yield b"}"


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
