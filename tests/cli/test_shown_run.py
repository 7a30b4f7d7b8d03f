"""What `status` tells of a run that is large: the parts that are read from its records."""

from __future__ import annotations

import pytest
from drivers.memory_records import MemoryRecords, MemorySources
from drivers.store_samples import ended

from orchestrator.reading.told_items import noted_items
from orchestrator.store.records import Record
from orchestrator.views.end_report import MOST_FAILURES, NotedItem


def test_of_a_hundred_successes_only_those_with_a_note_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    records = MemoryRecords('[jobs.make]\nfor_each = ["x"]\ncommand = ["true"]\ncreates = "{{ item }}"\n')
    records.list_items("make", [str(index) for index in range(100)])
    records.append(*(ended(index, job="make", message="it lingers" if index in (7, 70) else "") for index in range(100)))
    read: list[int] = []
    record = MemorySources.record

    def counted(sources: MemorySources, place: tuple[int, int, int]) -> Record:
        read.append(place[1])
        return record(sources, place)

    monkeypatch.setattr(MemorySources, "record", counted)
    assert noted_items(records) == [NotedItem(f"make:{index}", f"file {index}", "it lingers") for index in (7, 70)]
    assert len(read) == 2
    # So many others are not looked at once there are more than can be shown.
    records.append(*(ended(index, 2, job="make", message="it lingers") for index in range(100)))
    read.clear()
    assert len(noted_items(records)) == len(read) == MOST_FAILURES + 1
