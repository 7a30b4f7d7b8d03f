"""Which slot an attempt of an earlier supervisor has in the next session."""

from __future__ import annotations

import pytest

from orchestrator.store.records import Started
from orchestrator.supervisor.restored_jobs import assign_slots


def started(index: int, slot: int, *, is_queued: bool = False) -> Started:
    return Started(
        job="a", index=index, attempt=1, sequence=index, worker=slot, slot=slot, at=0.0, payload="", is_queued=is_queued
    )


@pytest.mark.parametrize(
    ("slots_before", "over", "slots", "expected"),
    [
        ([0, 1], set(), 2, [0, 1]),
        ([1], set(), 2, [1]),
        # Two workers were one too many: it counts beyond the slots.
        ([0, 1], set(), 1, [0, 1]),
        # The first of the queue has ended, the second runs and holds the lock of their slot.
        ([1, 1, 1], {0}, 2, [2, 1, 0]),
        ([1, 1, 1], {0, 2}, 2, [0, 1, 2]),
        ([1, 1, 1], set(), 2, [1, 0, 2]),
        # What stands alone in its slot has it, ended or not.
        ([0, 1, 1], {0, 1}, 2, [0, 2, 1]),
    ],
)
def test_the_attempt_that_runs_has_the_slot_of_its_queue(
    slots_before: list[int], over: set[int], slots: int, expected: list[int]
) -> None:
    starts = [started(index, slot, is_queued=index > 0) for index, slot in enumerate(slots_before)]
    assigned = assign_slots(starts, slots, lambda start: start.index in over)
    assert [assigned["a", index] for index in range(len(starts))] == expected
