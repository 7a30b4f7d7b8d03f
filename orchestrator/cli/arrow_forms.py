"""Results as Parquet or as an Arrow stream, for pandas, polars and DuckDB: `pandas.read_parquet(file)`. Needs pyarrow.

Promise: memory grows with a thousand results and their outputs, not with the number of results.
"""

from __future__ import annotations

import importlib
import io
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.cli.result_forms import Row
from orchestrator.errors import UserError
from orchestrator.reading.large_output import LargeOutput
from orchestrator.system.redaction import Redactor
from orchestrator.views.json_lines import json_line

FORMS = ("parquet", "arrow")

_INTEGERS = frozenset({"index", "exit_code", "signal", "attempts", "round", "unknown_costs"})
_NUMBERS = frozenset({"duration_s", "started_at_s", "finished_at_s", "cost_usd"})
_TRUTHS = frozenset({"promoted"})
_MOST_ROWS = 1000


class _Given(io.RawIOBase):
    """A file that gives away what is written to it."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._chunks.append(bytes(data))
        return len(self._chunks[-1])

    def take(self) -> bytes:
        """What was written since."""
        chunks, self._chunks = self._chunks, []
        return b"".join(chunks)


def in_columns(form: str, rows: Iterable[Row], fields: list[str], redactor: Redactor | None) -> Iterator[bytes]:
    """A file of that form, in pieces. A column holds numbers, truth values or texts; what is none of these is JSON.

    `redactor`: None shows all. Raises UserError: pyarrow is not installed.
    """
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise UserError(f"--format {form} needs pyarrow", "pip install 'orchestrate-runs[arrow]'") from None
    types = {
        **dict.fromkeys(_INTEGERS, arrow.int64()),
        **dict.fromkeys(_NUMBERS, arrow.float64()),
        **dict.fromkeys(_TRUTHS, arrow.bool_()),
    }
    schema = arrow.schema([(field, types.get(field, arrow.string())) for field in fields])
    file = _Given()
    writer = parquet.ParquetWriter(file, schema) if form == "parquet" else arrow.ipc.new_stream(file, schema)
    with writer:
        remaining = iter(rows)
        while batch := list(itertools.islice(remaining, _MOST_ROWS)):
            cells = {field: [row[field] if field in types else _text(row[field], redactor) for row in batch] for field in fields}
            writer.write_table(arrow.table(cells, schema=schema))
            yield file.take()
    yield file.take()


def _text(value: Any, redactor: Redactor | None) -> str | None:
    if value is None:
        return None
    if isinstance(value, LargeOutput):
        text = "".join(value.text())
    else:
        text = value if isinstance(value, str) else json_line(value).decode().rstrip("\n")
    # Bytes that are no UTF-8 cannot stand in a column of texts.
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text if redactor is None else redactor.redact_text(text)
