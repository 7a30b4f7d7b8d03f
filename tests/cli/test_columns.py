"""Results in columns, for pandas and the like."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from orchestrator.cli.arrow_forms import FORMS, in_columns
from orchestrator.errors import UserError
from orchestrator.system.redaction import Redactor

FIELDS = ["item", "value", "exit_code", "duration_s", "output"]
ROWS: list[dict[str, Any]] = [
    {"item": "a:0", "value": {"k": [1]}, "exit_code": 0, "duration_s": 1.5, "output": "it is pass-phrase"},
    {"item": "a:1", "value": None, "exit_code": None, "duration_s": None, "output": "no \udcff text"},
]
SHOWN = [
    {"item": "a:0", "value": '{"k":[1]}', "exit_code": 0, "duration_s": 1.5, "output": "it is [redacted:API_KEY]"},
    {"item": "a:1", "value": None, "exit_code": None, "duration_s": None, "output": "no \ufffd text"},
]


@pytest.mark.parametrize("form", FORMS)
def test_a_column_holds_numbers_or_texts_without_secrets(form: str) -> None:
    arrow: Any = pytest.importorskip("pyarrow")
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    written = io.BytesIO(b"".join(in_columns(form, iter(ROWS), FIELDS, Redactor({"API_KEY": "pass-phrase"}))))
    table = parquet.read_table(written) if form == "parquet" else arrow.ipc.open_stream(written).read_all()
    assert table.to_pylist() == SHOWN


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="--format parquet needs pyarrow") as caught:
        next(in_columns("parquet", [], FIELDS, None))
    assert caught.value.hint == "pip install 'orchestrate-runs[arrow]'"
