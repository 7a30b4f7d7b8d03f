"""The order of one turn: recorded, then done, and only then is the thread woken that makes it durable."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.store.records import JobClosed, Record
from orchestrator.supervisor.recorder import Recorder

CLOSED = JobClosed(job="a", status="succeeded", message="")


class Store:
    """What is asked of a run's store, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def append(self, records: Sequence[Record]) -> int:
        self.asked.append(f"append {len(records)}")
        return len(self.asked)

    def request_sync(self, *, is_awaited: bool) -> None:
        self.asked.append("awaited sync" if is_awaited else "sync")


def test_what_is_sent_is_sent_behind_its_record_and_before_the_sync_is_asked_for() -> None:
    """A thread that is woken takes the interpreter: each start would reach its worker later by all that the thread does first."""
    store = Store()
    recorder = Recorder(store)  # type: ignore[arg-type]
    recorder.add(CLOSED)
    recorder.ended((0, 0))
    for name in ("send a:1", "send a:2"):
        recorder.then(lambda name=name: store.asked.append(name))  # type: ignore[misc]
    recorder.commit()
    assert store.asked == ["append 1", "send a:1", "send a:2", "awaited sync"]


def test_what_an_action_records_is_a_group_of_its_own_and_what_records_nothing_asks_for_no_sync() -> None:
    store = Store()
    recorder = Recorder(store)  # type: ignore[arg-type]
    recorder.then(lambda: recorder.add(CLOSED))
    recorder.commit()
    assert store.asked == ["append 1", "sync"]
