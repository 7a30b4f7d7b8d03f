"""Results of many items are those of each by itself, whatever became of it; of plain ones little is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from drivers.memory_records import MemoryRecords
from drivers.store_samples import ended, header, settled, started

from orchestrator.reading import many_results
from orchestrator.reading.item_result import items_seen_as, shown_result
from orchestrator.reading.many_results import PlainResult, as_dict, results_to_encode, shown_results
from orchestrator.reading.ordered_results import Order, ordered_results
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.item_list import write_item_list
from orchestrator.store.records import AttemptEnded, ItemsListed, Record, Reopened, Status
from orchestrator.store.run_dir import create_run_dir
from orchestrator.store.run_store import RunStore
from orchestrator.store.spending_records import Spent
from orchestrator.workers.protocol import AgentReport, AttemptClass, Capture, WorkspaceReport

JOBS = """
[jobs.port]
for_each = { lines = "x" }
output = "json"
command = ["true"]
"""


def end(index: int, *, status: Status = Status.SUCCEEDED, outcome: dict[str, Any] | None = None, **changes: Any) -> AttemptEnded:
    """The end of an attempt that printed JSON, unless the changes say otherwise."""
    plain = ended(index, status=status, output=b'{"said": %d}' % index)
    told = msgspec.structs.replace(plain.outcome, **(outcome or {}))
    return msgspec.structs.replace(plain, outcome=told, **changes)


FAILED = {"attempt_class": AttemptClass.COMMAND_FAILED, "exit_code": 3, "message": "exit code 3"}
PLAIN: list[list[Record]] = [
    [end(0)],
    [end(1, status=Status.FAILED, outcome=FAILED)],
    [end(2, outcome={"message": "it lingers"})],
    [end(3, token="work", promotions=1, payload="hash")],
    [end(4, token="work", deduped_from="r0/port:1", child="r1.c")],
    [end(5, status=Status.WAITING, outcome={**FAILED, "signal": 9})],
    [end(6), Reopened(job="port", indices=[6])],
    [end(7, attempt=4, outcome={"duration_seconds": 1.23456789, "stderr": Capture(size=3, path="/e", inline=b"no\n")})],
]
OTHERS: list[list[Record]] = [
    [],
    [end(9, label=None)],
    [end(10, outcome={"agent": AgentReport(agent="claude", notes=["nothing was said"], text=Capture(size=1, inline=b"1"))})],
    [end(11, outcome={"workspace": WorkspaceReport(kind="worktree", branch="b", note="not kept")})],
    [end(12, spent=Spent())],
    [end(13, workspace="w13")],
    [end(14, status=Status.WAITING, outcome=FAILED), started(14, 2, 1)],
    [started(15), settled(15, Status.INTERRUPTED)],
    [end(16), settled(16, Status.SUCCEEDED, stale=True)],
    [settled(17, Status.SKIPPED)],
    [end(18, outcome={"stdout": Capture(size=5000, path="/nowhere", sha256="0")})],
    [end(19, outcome={"stdout": Capture(size=4, inline=b"{no}")})],
    [end(20), settled(20, Status.PENDING)],
    [end(21, status=Status.WAITING), started(21, 2, 2), settled(21, Status.INTERRUPTED)],
]


@pytest.fixture(params=["journal", "checkpoint"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> RunReader:
    run_dir = create_run_dir(tmp_path, "r1")
    store = RunStore.create(run_dir, msgspec.structs.replace(header("r1"), jobs={"port": True}), JOBS)
    items = [*PLAIN, *OTHERS]
    write_item_list(run_dir.items("port", 0), [{"number": index} for index in range(len(items))])
    # The last items first: their lines do not stand in the order of the items.
    store.append([ItemsListed(job="port", count=len(items)), *(record for each in reversed(items) for record in each)])
    if request.param == "checkpoint":
        store.take_checkpoint()
    store.close()
    return RunReader.read(run_dir)


def each_by_itself(reader: RunReader, status: Status | None = None, **options: Any) -> list[dict[str, Any]]:
    return [shown_result(reader, *item, **options) for item in items_seen_as(reader, status=status)]


@pytest.mark.parametrize("with_output", [True, False, "in pieces"])
def test_all_results_are_those_of_each_by_itself(reader: RunReader, with_output: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    expected = each_by_itself(reader, with_output=with_output)

    def asks(records: RunReader, job_id: str, index: int, **options: Any) -> dict[str, Any]:
        asked.append(index)
        return shown_result(records, job_id, index, **options)

    monkeypatch.setattr(many_results, "shown_result", asks)
    found = list(shown_results(reader, with_output=with_output))
    assert found == expected
    assert [list(each) for each in found] == [list(each) for each in expected]
    # An output that is no JSON is met only where it is read.
    assert asked == [index for index in range(8, 22) if index != 19 or with_output]


@pytest.mark.parametrize("status", Status)
def test_so_are_those_in_one_status(reader: RunReader, status: Status) -> None:
    assert list(shown_results(reader, status=status)) == each_by_itself(reader, status)


def test_so_are_those_of_parts_whichever_is_made_first(reader: RunReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_results, "_ITEMS_OF_A_PART", 5)
    parts = results_to_encode(reader)
    made = [[as_dict(each) if isinstance(each, PlainResult) else each for each in part] for part in reversed(parts)]
    assert [len(part) for part in made] == [2, 5, 5, 5, 5]
    assert [each for part in reversed(made) for each in part] == each_by_itself(reader)


def test_items_of_a_lost_list_are_shown_without_their_values(reader: RunReader) -> None:
    reader.run_dir.items("port", 0).unlink()
    found = list(shown_results(reader))
    assert found == each_by_itself(reader)
    assert [each["value"] for each in found] == [None] * 22
    assert "missing" in found[0]["error"]


def test_in_another_order_the_items_without_the_field_stand_last_and_equals_in_item_order() -> None:
    records = MemoryRecords(JOBS)
    records.list_items("port", [*range(5)])
    for index, seconds in enumerate((2.0, 1.0, 2.0, 3.0)):
        records.append(end(index, outcome={"duration_seconds": seconds}))

    def indices(order: Order) -> list[int]:
        return [each["index"] for each in ordered_results(records, order, with_output=False)]

    assert indices(Order("duration_s")) == [1, 0, 2, 3, 4]
    assert indices(Order("duration_s", is_reversed=True)) == [3, 0, 2, 1, 4]
    assert indices(Order("duration_s", is_reversed=True, most=2)) == [3, 0]
    assert indices(Order("started_at", most=1)) == [0]
    # With the outputs, each read in its turn.
    [slowest] = ordered_results(records, Order("duration_s", is_reversed=True, most=1))
    assert slowest == shown_result(records, "port", 3)
