"""What happens to a run, told from its records: each step once, whatever came between two looks."""

from __future__ import annotations

from typing import cast

import msgspec
from drivers.memory_records import MemoryRecords
from drivers.store_samples import ended, started

from orchestrator.reading import retelling
from orchestrator.reading.follower import RunFollower
from orchestrator.reading.retelling import Retelling
from orchestrator.store.gate_records import GateAnswered, GateAsked
from orchestrator.store.lines import Line
from orchestrator.store.list_records import ListGrew
from orchestrator.store.records import ItemSettled, Record, Reopened, RunEnded, Status
from orchestrator.views.happenings import Happening, ItemEnded, JobGrew, JobListed

JOBS = """
[jobs.port]
for_each = ["x"]
command = ["true"]
continue_on_error = true
[jobs.ship]
gate = "go?"
"""


class Followed:
    """Stands in for a follower: `reader` is a run in memory, to which each look brings what was recorded for it."""

    def __init__(self, items: int) -> None:
        self.reader = MemoryRecords(JOBS)
        self.reader.list_items("port", [f"file {index}" for index in range(items)])
        self.heard: list[Happening] = []
        self.retelling = Retelling(cast(RunFollower, self), self.heard.append)
        self._appended: list[Record] | None = []

    def take_in_appended(self) -> list[Line] | None:
        if self._appended is None:
            return None
        return [msgspec.json.decode(msgspec.json.encode(each), type=Line) for each in self._appended]

    def told(self, *records: Record, is_read_anew: bool = False) -> list[str]:
        """What a look tells of these records, but for the counts."""
        self.heard.clear()
        self.reader.append(*records)
        self._appended = None if is_read_anew else [*records]
        self.retelling.look()
        return [words for each in self.heard if (words := in_words(each))]


def in_words(happening: Happening) -> str:
    match msgspec.to_builtins(happening):
        case {"event": "item_ended", "item": item, "status": status}:
            return f"{item} {status}"
        case {"event": "job_listed", "job": job, "counts": counts}:
            return f"{job} {counts}"
        case {"event": event, "item": str(item)}:
            return f"{item} {event.removeprefix('item_')}"
        case _:
            return ""


def test_each_step_is_told_once_and_what_came_between_two_looks_as_one() -> None:
    run = Followed(4)
    run.reader.append(ended(0, status=Status.FAILED), started(1, sequence=1))
    run.retelling.begin(slots=2)
    assert [in_words(each) for each in run.heard if in_words(each)] == [
        "port:0 failed",
        "port {'pending': 2, 'running': 1, 'failed': 1}",
        "port:1 started",
    ]
    assert run.told() == []
    assert run.told(ended(1), started(2, sequence=2)) == ["port:1 succeeded", "port:2 started"]
    # Failed, and tried again at once: it runs.
    assert run.told(ended(2, status=Status.WAITING), started(2, 2, 3)) == ["port:2 waiting", "port:2 started"]
    assert run.told(started(3, sequence=4), ended(3)) == ["port:3 succeeded"]
    assert run.told(ItemSettled(job="port", index=3, status=Status.SUCCEEDED, stale=True)) == []
    assert run.told(ended(2, 2, status=Status.WAITING)) == ["port:2 waiting"]
    assert run.told(ItemSettled(job="port", index=2, status=Status.CANCELLED)) == ["port:2 cancelled"]
    assert run.told(Reopened(job="port", indices=[0])) == ["port {'pending': 1, 'succeeded': 2, 'cancelled': 1}"]


def test_why_an_item_failed_is_told_as_its_supervisor_tells_it() -> None:
    run = Followed(1)
    run.reader.append(ended(0, status=Status.FAILED, output=b"no heading\n"))
    run.retelling.begin(slots=1)
    assert [each.tail for each in run.heard if isinstance(each, ItemEnded)] == [["no heading"]]


def test_a_question_is_told_with_its_answer_and_told_again_when_it_is_asked_again() -> None:
    run = Followed(0)
    run.retelling.begin(slots=1)
    asked = GateAsked(job="ship", index=0, question="go?", options=["approve"], at=1.0)
    waits = ItemSettled(job="ship", index=0, status=Status.WAITING)
    for _ in range(2):
        assert run.told(waits, asked) == ["ship gate_asked"]
        assert run.told(GateAnswered(job="ship", index=0, choice="approve", at=2.0)) == ["ship gate_answered"]


def test_what_ended_while_all_was_written_anew_is_told_too() -> None:
    run = Followed(3)
    run.reader.append(started(0, sequence=1))
    run.retelling.begin(slots=1)
    told = run.told(ended(0), ended(1, status=Status.FAILED), ended(2), is_read_anew=True)
    assert told[:2] == ["port:0 succeeded", "port:1 failed"]
    assert told[2] == "port {'succeeded': 2, 'failed': 1}"


def test_of_very_many_ends_the_failures_are_told_and_all_are_counted() -> None:
    count = retelling.MOST_ONE_BY_ONE + 10
    run = Followed(count)
    run.retelling.begin(slots=1)
    told = run.told(*(ended(index, status=Status.SUCCEEDED if index else Status.FAILED) for index in range(count)))
    assert told == ["port:0 failed", f"port {{'succeeded': {count - 1}, 'failed': 1}}"]


def test_a_list_that_still_comes_is_told_to_grow_also_where_all_is_told() -> None:
    run = Followed(2)
    run.reader.append(ListGrew(job="port", count=2, size=9, crc=0))
    run.retelling.begin(slots=1)
    told = [each for each in run.heard if isinstance(each, JobListed | JobGrew)]
    assert told[0] == JobListed(job="port", count=2, counts={"pending": 2})
    assert told[1] == JobGrew(job="port", count=2, is_growing=True)


def test_the_last_word_is_the_run_s_own_or_that_it_was_interrupted() -> None:
    run = Followed(1)
    run.reader.is_alive = False
    assert run.retelling.finish() == 130
    run.reader.append(RunEnded(status="failed", at=9.0, exit_code=1))
    assert run.retelling.finish() == 1
    assert [each.status for each in run.heard] == ["interrupted", "failed"]  # type: ignore[union-attr]
