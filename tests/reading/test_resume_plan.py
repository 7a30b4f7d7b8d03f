"""What `resume --dry-run` tells: what would run, and what stays."""

from __future__ import annotations

from drivers.memory_records import MemoryRecords
from drivers.store_samples import ended, settled, started

from orchestrator.reading.resume_plan import plan_json, plan_lines, resume_plan
from orchestrator.store.list_records import ListGrew
from orchestrator.store.records import Status

JOBS = """
[jobs.port]
for_each = ["x"]
command = ["true"]
[jobs.later]
for_each = "{{ jobs.port.outputs }}"
command = ["true"]
[jobs.last]
needs = ["later"]
command = ["true"]
"""


def test_each_job_tells_what_would_run_and_what_stays_as_it_is() -> None:
    records = MemoryRecords(JOBS)
    records.is_alive = False
    records.list_items("port", ["a", "b", "c", "d", "e"])
    records.append(ended(0), ended(1, status=Status.FAILED), started(2, sequence=1), settled(3, Status.CANCELLED))
    assert [*plan_lines(resume_plan(records, keep_failed=False))] == [
        "port: 3 items would run (1 interrupted, 1 failed, 1 pending): port:1 file 1, port:2 file 2, port:4 e;"
        " 1 succeeded; 1 cancelled",
        "later: its items are not known yet",
        "last: 1 item would run (1 pending): last",
    ]
    [port, *_] = plan_json("r", resume_plan(records, keep_failed=True))["jobs"]
    assert (port["runs"], port["stays"]) == ({"interrupted": 1, "pending": 1}, {"succeeded": 1, "cancelled": 1, "failed": 1})


def test_of_lines_that_were_not_read_to_their_end_it_tells_what_to_do() -> None:
    records = MemoryRecords('[jobs.each]\nfor_each = { lines = "x" }\ncommand = ["true"]\n')
    records.is_alive = False
    records.list_items("each", ["a", "b"])
    records.append(ended(0, job="each"), ListGrew(job="each", count=2, size=9, crc=0))
    plan = resume_plan(records, keep_failed=False)
    unread = "its lines were not read to their end, 2 items known; give all of them: orchestrate resume r1 --update < LINES"
    assert [*plan_lines(plan)] == ["each: 1 item would run (1 pending): each:1 b; 1 succeeded", f"each: {unread}"]
    assert plan_json("r1", plan)["jobs"][0]["unread"] == unread
