"""A listener that may have to wait: the run never waits for it, and a listener that only lags hears everything."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from drivers.views_story import began, ended, finished, started

from orchestrator.views.happenings import Happening, ItemEnded, Noted, RunFinished
from orchestrator.views.json_lines import EventLines
from orchestrator.views.listeners import Listeners
from orchestrator.views.queued_listener import QueuedListener

LIMIT_SECONDS = 60.0
"""For a wait that only a hang makes long."""


class Reader:
    """Takes an event when it is let: `permits` of them, then for ever when it is `let_go`."""

    shows_time = True

    def __init__(self, permits: int = 0) -> None:
        self.told: list[Happening] = []
        self.refreshed_at: list[float] = []
        self.closed = 0
        self.mask: set[signal.Signals | int] = set()
        self.stands = threading.Event()
        """It has an event in hand, and does not go on."""
        self.is_closed = threading.Event()
        self._permits = threading.Semaphore(permits)
        self._is_free = False

    def hear(self, happening: Happening) -> None:
        if not self._is_free and not self._permits.acquire(blocking=False):
            self.stands.set()
            assert self._permits.acquire(timeout=LIMIT_SECONDS)
        if not self.told:
            self.mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        self.told.append(happening)

    def refresh(self, now: float) -> None:
        self.refreshed_at.append(now)

    def close(self) -> None:
        self.closed += 1
        self.is_closed.set()

    def let(self, count: int) -> None:
        self._permits.release(count)

    def let_go(self) -> None:
        self._is_free = True
        self._permits.release()


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.let_go()


def lost_told(told: list[Happening]) -> list[int]:
    """What the listener was told of its gaps."""
    notes = [each.message for each in told if isinstance(each, Noted)]
    assert all(note.startswith("events lost: ") for note in notes)
    return [int(note.removeprefix("events lost: ")) for note in notes]


def indices(told: list[Happening]) -> list[int]:
    return [int(each.item.partition(":")[2]) for each in told if isinstance(each, ItemEnded)]


def test_a_reader_that_lags_behind_a_burst_hears_everything_in_order(reader: Reader) -> None:
    queued = QueuedListener(reader)
    for index in range(20_000):
        queued.hear(ended(index))
    reader.let_go()
    queued.hear(finished())
    queued.close()
    assert indices(reader.told) == list(range(20_000))
    assert isinstance(reader.told[-1], RunFinished)
    assert (queued.lost, reader.closed) == (0, 1)


def test_a_reader_that_stands_still_costs_the_run_nothing_and_is_told_how_much_it_missed(reader: Reader) -> None:
    queued = QueuedListener(reader, most_queued=10)
    queued.hear(ended(0))
    assert reader.stands.wait(LIMIT_SECONDS)
    for index in range(1, 1000):
        queued.hear(ended(index))
    reader.let_go()
    queued.hear(finished())
    queued.close()
    assert indices(reader.told) == list(range(11)), "one in hand and ten in the queue"
    assert lost_told(reader.told) == [989]
    assert queued.lost == 989
    assert isinstance(reader.told[-1], RunFinished), "the end is never lost"


def test_the_note_of_a_gap_stands_where_the_gap_is_and_what_comes_later_is_heard_again(reader: Reader) -> None:
    queued = QueuedListener(reader, most_queued=10)
    queued.hear(ended(0))
    assert reader.stands.wait(LIMIT_SECONDS)
    for index in range(1, 15):
        queued.hear(ended(index))
    reader.stands.clear()
    reader.let(6)  # takes 0 to 5; of the ten in the queue five are left, and the sixth is in hand
    assert reader.stands.wait(LIMIT_SECONDS)
    for index in range(15, 20):
        queued.hear(ended(index))
    reader.let_go()
    queued.close()
    heard = [
        each.message if isinstance(each, Noted) else each.item for each in reader.told if isinstance(each, Noted | ItemEnded)
    ]
    assert heard[10:14] == ["port:10", "events lost: 4", "port:15", "port:16"]
    assert queued.lost + len(indices(reader.told)) == 20


def test_a_gap_at_the_end_of_a_run_that_broke_off_is_told_too(reader: Reader) -> None:
    queued = QueuedListener(reader, most_queued=1)
    queued.hear(ended(0))
    assert reader.stands.wait(LIMIT_SECONDS)
    for index in range(1, 5):
        queued.hear(ended(index))
    reader.let_go()
    queued.close()
    assert lost_told(reader.told) == [3]


def test_a_reader_that_took_nothing_any_more_is_left_alone_at_the_end_and_the_others_hear_what_it_lost(
    reader: Reader, tmp_path: Path
) -> None:
    direct, log = Reader(), tmp_path / "supervisor.log"
    direct.let_go()
    listeners = Listeners([direct], [reader])
    listeners.log_to(log)
    listeners.hear(began())
    for index in range(9):
        listeners.hear(ended(index))
    listeners.hear(finished())
    assert reader.stands.wait(LIMIT_SECONDS)
    listeners._slow[0]._patience_seconds = 0.01
    listeners.close()
    assert [each.message for each in direct.told if isinstance(each, Noted)] == ["Reader: events lost: 11"]
    assert log.read_text().count("events lost: 11") == 1
    listeners.close()
    assert direct.closed == 1


def test_the_end_waits_by_progress_and_not_in_all(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time that the patience is over, one more event was taken: none is given up, however often that is."""
    queued = QueuedListener(reader, patience_seconds=0.0)
    for index in range(20):
        queued.hear(ended(index))
    joined, join = [], threading.Thread.join

    def join_until_one_more_is_taken(thread: threading.Thread, timeout: float | None = None) -> None:
        assert reader.stands.wait(LIMIT_SECONDS)
        reader.stands.clear()
        joined.append(timeout)
        if len(joined) < 20:
            reader.let(1)
            assert reader.stands.wait(LIMIT_SECONDS)
        else:
            reader.let_go()
            join(thread, LIMIT_SECONDS)

    monkeypatch.setattr(threading.Thread, "join", join_until_one_more_is_taken)
    queued.close()
    assert (indices(reader.told), queued.lost, len(joined)) == (list(range(20)), 0, 20)


def test_a_slow_listener_that_raises_is_closed_and_silenced_and_the_others_hear_why(tmp_path: Path) -> None:
    class Broken(Reader):
        def hear(self, happening: Happening) -> None:
            raise ValueError(f"no such luck with {type(happening).__name__}")

    broken, direct = Broken(), Reader()
    direct.let_go()
    listeners = Listeners([direct], [broken])
    listeners.log_to(tmp_path / "supervisor.log")
    listeners.hear(began())
    assert broken.is_closed.wait(LIMIT_SECONDS)
    listeners.close()
    [note] = [each.message for each in direct.told if isinstance(each, Noted)]
    assert note.startswith("Broken failed and hears nothing more (ValueError: no such luck with RunBegan)")
    assert "Traceback" in (tmp_path / "supervisor.log").read_text()
    assert broken.closed == 1


def test_a_failure_while_the_run_goes_on_is_told_while_it_goes_on() -> None:
    class Broken(Reader):
        def hear(self, happening: Happening) -> None:
            raise ValueError(happening)

    broken = Broken()
    queued = QueuedListener(broken)
    queued.hear(began())
    assert broken.is_closed.wait(LIMIT_SECONDS)
    assert queued._thread is not None
    queued._thread.join(LIMIT_SECONDS)
    with pytest.raises(ValueError, match="run_id"):
        queued.refresh(1.0)
    queued.hear(ended(0))
    queued.close()


def test_a_listener_that_is_behind_is_refreshed_before_what_is_queued_and_once(reader: Reader) -> None:
    queued = QueuedListener(reader)
    queued.hear(ended(0))
    assert reader.stands.wait(LIMIT_SECONDS)
    for index in range(1, 100):
        queued.hear(ended(index))
        queued.refresh(float(index))
    reader.stands.clear()
    reader.let(1)
    assert reader.stands.wait(LIMIT_SECONDS)
    assert (len(reader.told), reader.refreshed_at) == (1, [99.0])
    reader.let_go()
    queued.close()


def test_a_machine_without_room_for_a_thread_only_delays_what_is_heard(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.let_go()
    start = threading.Thread.start

    def fails(thread: threading.Thread) -> None:
        raise RuntimeError(f"can't start new thread {thread.name}")

    queued = QueuedListener(reader)
    monkeypatch.setattr(threading.Thread, "start", fails)
    for index in range(5):
        queued.hear(ended(index))
    monkeypatch.setattr(threading.Thread, "start", start)
    queued.close()
    assert (indices(reader.told), queued.lost, reader.closed) == (list(range(5)), 0, 1)
    without = QueuedListener(Reader(), patience_seconds=0.0)
    monkeypatch.setattr(threading.Thread, "start", fails)
    without.hear(ended(0))
    without.close()
    assert without.lost == 1


def test_room_for_a_thread_that_comes_with_the_end_of_the_run_is_not_too_late(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader.let_go()
    start, refused = threading.Thread.start, iter(range(3))

    def fails_at_first(thread: threading.Thread) -> None:
        if next(refused, None) is not None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fails_at_first)
    queued = QueuedListener(reader)
    queued.hear(ended(0))
    queued.close()
    assert (indices(reader.told), queued.lost, reader.closed) == ([0], 0, 1)


def test_signals_are_for_the_loop_and_not_for_the_thread_of_a_listener(reader: Reader) -> None:
    reader.let_go()
    queued = QueuedListener(reader)
    queued.hear(began())
    queued.close()
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD} <= reader.mask


# A pipe.


def test_a_pipe_that_is_read_late_has_every_event_and_one_that_is_closed_is_silent() -> None:
    reading, writing = os.pipe()
    story = [began(), *(started(index, "x" * 200) for index in range(5000)), finished(succeeded=1)]
    with open(writing, "wb", buffering=0) as stream:
        queued = QueuedListener(EventLines(stream))
        for happening in story:
            queued.hear(happening)
        taken: list[Happening] = []

        def read() -> None:
            with open(reading, "rb") as lines:
                taken.extend(msgspec.json.decode(lines.readline(), type=Happening) for _ in story)

        thread = threading.Thread(target=read)
        thread.start()
        queued.close()
        thread.join(LIMIT_SECONDS)
        assert taken == story
        after = QueuedListener(EventLines(stream))
        for happening in story:
            after.hear(happening)
        after.close()
        assert after.lost == 0


def test_a_pipe_that_others_made_non_blocking_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with open(writing, "wb", buffering=0) as stream, open(reading, "rb") as lines:
        queued = QueuedListener(EventLines(stream))
        for index in range(2000):
            queued.hear(started(index, "x" * 200))
        told = [msgspec.json.decode(lines.readline(), type=Happening) for _ in range(2000)]
        queued.close()
    assert [each.item for each in told if hasattr(each, "item")] == [f"port:{index}" for index in range(2000)]
