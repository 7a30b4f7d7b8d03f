"""What people see of a run that nobody supervises: the states of its jobs, how many items are in which, what they are called."""

from __future__ import annotations

import msgspec
import pytest
from drivers.memory_records import MemoryRecords
from drivers.store_samples import ended, settled, started

from orchestrator.reading.item_result import item_fields
from orchestrator.reading.run_summary import run_summary
from orchestrator.reading.seen_statuses import job_status
from orchestrator.store.records import ListingFailed, RunEnded, RunStatus, Status

JOBS = """
[jobs.port]
for_each = [1, 2, 3]
shell = "true"
[jobs.other]
for_each = { lines = "nowhere" }
shell = "true"
"""


def run(status: RunStatus) -> MemoryRecords:
    """A run that ended so, with one of three items done."""
    records = MemoryRecords(JOBS)
    records.is_alive = False
    records.list_items("port", [1, 2, 3])
    records.append(started(0), ended(0), RunEnded(status=status, at=9.0))
    return records


@pytest.mark.parametrize(
    ("ended", "seen"), [("paused", "paused"), ("interrupted", "interrupted"), ("failed", "pending"), ("cancelled", "pending")]
)
def test_an_open_job_stands_where_the_end_of_its_run_has_left_it_unless_something_of_it_was_broken_off(
    ended: RunStatus, seen: str
) -> None:
    records = run(ended)
    assert job_status(records, "port") == seen
    records.append(started(1, sequence=1))
    assert job_status(records, "port") == "interrupted"


def test_a_job_that_could_not_be_listed_counts_as_one_that_failed() -> None:
    records = run("failed")
    records.append(ListingFailed(job="other", message="for_each: nowhere: No such file or directory"))
    summary = run_summary(records)
    assert summary["counts"] == {"succeeded": 1, "pending": 2, "failed": 1}
    assert summary["jobs"][1] == {"id": "other", "status": "failed", "counts": {"failed": 1}}


def test_an_item_keeps_its_label_whatever_was_said_of_it_since() -> None:
    records = run("interrupted")
    waiting = msgspec.structs.replace(ended(1, status=Status.FAILED), status=Status.WAITING)
    records.append(started(1, sequence=1), waiting)
    # A stop ends the wait for the next attempt, and another one an attempt that nobody saw the end of.
    records.append(settled(1, Status.INTERRUPTED), started(2, sequence=2), settled(2, Status.CANCELLED))
    assert [item_fields(records, "port", index)["label"] for index in (1, 2)] == ["file 1", "file 2"]
