"""An output that is read in pieces is written as the value would be, however its bytes are cut."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import pytest
from drivers.sweeps import examples
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.cli.result_forms import FORMS
from orchestrator.reading import large_output
from orchestrator.reading.large_output import LargeOutput
from orchestrator.store.outputs import parse_output
from orchestrator.workers.byte_text import encode_json


@examples(60)
@example(b"a\r\nb\r\n")
@example(b"a\r\nb\r")
@example(b"\xef\xbb\xbf\r\n\r\n\xf0\x9f\x98\x80")
@example(b"\n")
@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b'"', b"\xe9", "\xe9\U0001f600".encode(), b"\xef\xbb\xbf"])).map(
        b"".join
    )
)
def test_pieces_of_three_bytes_say_what_the_value_says(data: bytes) -> None:
    kinds: tuple[Literal["text", "lines"], ...] = ("text", "lines")
    with pytest.MonkeyPatch.context() as patch, tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        patch.setattr(large_output, "PIECE_BYTES", 3)
        for kind in kinds:
            value, pieces = parse_output(kind, data), LargeOutput(Path(file.name), kind)
            assert json.loads(b"".join(pieces.json())) == value
            assert "".join(pieces.text()) == (value if kind == "text" else encode_json(value).decode())


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_each_form_has_a_large_output_among_other_fields_in_small_pieces(form: str, tmp_path: Path) -> None:
    """The largest piece is bounded by what is read at a time, not by the output."""
    text = 'x"\u00e9\n' * 100_000
    (tmp_path / "out").write_text(text)
    large = LargeOutput(tmp_path / "out", "text")
    fields = ["item", "output", "error"]
    rows = [{"item": "a, b", "output": large, "error": None}, {"item": "", "output": "small", "error": "x"}]
    pieces = list(FORMS[form](rows, fields))
    assert max(map(len, pieces)) < 4 * large_output.PIECE_BYTES
    told = b"".join(pieces).decode()
    csv.field_size_limit(1 << 30)
    read: list[dict[str, Any]] = {
        "json": lambda: json.loads(told),
        "jsonl": lambda: [json.loads(line) for line in told.splitlines()],
        "csv": lambda: [
            {key: value or None for key, value in row.items()} for row in csv.DictReader(io.StringIO(told, newline=""))
        ],
    }[form]()
    assert [each["output"] for each in read] == [text[:-1], "small"]
    assert [each["error"] or None for each in read] == [None, "x"]
    assert read[0]["item"] == "a, b"
