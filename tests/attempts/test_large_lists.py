"""A list that is the large output of another job: it becomes items line by line, and is never a value."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from drivers.memory_records import MemoryRecords
from drivers.store_samples import ended

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.listing import ListingError, list_job
from orchestrator.reading import large_output
from orchestrator.store.item_list import ItemList
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.protocol import Capture

JOBS = """
[jobs.say]
command = ["true"]
output = "{kind}"
[jobs.each]
for_each = {source}
command = ["true"]
"""


def run_that_said(tmp_path: Path, output: bytes, kind: str, source: str) -> MemoryRecords:
    """A run whose job `say` wrote `output` into a file; as a value nobody can read it."""
    (tmp_path / "out").write_bytes(output)
    capture = Capture(size=len(output), path=str(tmp_path / "out"), sha256=hashlib.sha256(output).hexdigest())
    records = MemoryRecords(JOBS.replace("{kind}", kind).replace("{source}", source))
    records.run_dir = RunDir(tmp_path / "run")
    records.run_dir.path.mkdir()
    record = ended(0, job="say")
    records.append(msgspec.structs.replace(record, outcome=msgspec.structs.replace(record.outcome, stdout=capture)))
    return records


def listed(records: MemoryRecords) -> list[Any]:
    for _ in list_job(records, ItemContexts(records, {}), records.job("each")):
        pass
    return list(ItemList(records.run_dir.items("each", 0)))


@pytest.mark.parametrize("source", ['"{{ jobs.say.output }}"', "\"{{ jobs['say'].output }}\""])
@pytest.mark.parametrize(
    ("kind", "output", "items"),
    [
        ("lines", b"\xef\xbb\xbfa\r\n\r\ncaf\xe9", ["a", "", "caf\udce9"]),
        ("jsonl", b'\xef\xbb\xbf{"a":1}\r\n\n  \n"b"', [{"a": 1}, "b"]),
    ],
)
def test_a_large_output_becomes_items_line_by_line(
    source: str, kind: str, output: bytes, items: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_output, "LARGE_BYTES", 4)
    assert listed(run_that_said(tmp_path, output, kind, source)) == items


@pytest.mark.parametrize("kind", ["lines", "jsonl"])
def test_one_that_is_not_what_was_recorded_is_no_list(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_output, "LARGE_BYTES", 4)
    records = run_that_said(tmp_path, b"1\n2\n3\n", kind, '"{{ jobs.say.output }}"')
    (tmp_path / "out").write_bytes(b"1\n2\n4\n")
    with pytest.raises(ListingError, match="its content is not what was recorded"):
        listed(records)
    assert not records.run_dir.items("each", 0).exists()
