"""The queue of a worker, by a clock of the test's: how long others wait for what runs, and how late an end is told."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from orchestrator.workers import queue
from orchestrator.workers.halt_word import HALT_WORD_NAME
from orchestrator.workers.protocol import AttemptClass, Ended, Limits, MoreStarts, Outcome, Start, Starts, Told

SECONDS = 0.1
WORD = b"the word"


class Clock:
    """Shows what the test says."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(queue, "time", clock)
    return clock


@pytest.fixture
def five(tmp_path: Path, clock: Clock) -> queue.StartQueue:
    """A queue of which the first of five starts has begun."""
    assert clock.now
    (tmp_path / "0").mkdir()
    (tmp_path / HALT_WORD_NAME).write_bytes(WORD)
    made = queue.StartQueue(str(tmp_path / "0"))
    made.take(Starts(starts=[start(number) for number in range(5)], word=WORD, seconds=SECONDS))
    return made


def start(number: int) -> Start:
    return Start(
        sequence=number,
        item=f"a:{number}",
        attempt=1,
        mark="m",
        argv=["true"],
        cwd="/",
        env={},
        stdout_path="/tmp/o",
        stderr_path="/tmp/e",
        limits=Limits(),
    )


def ended(number: int) -> Ended:
    outcome = Outcome(attempt_class=AttemptClass.OK, started_at=1.0, finished_at=2.0, duration_seconds=1.0)
    return Ended(sequence=number, outcome=outcome)


def test_what_is_queued_waits_for_each_before_it_for_as_long(five: queue.StartQueue, clock: Clock) -> None:
    for number in range(4):
        assert five.over_at - clock.now == pytest.approx(SECONDS)
        clock.now += 0.9 * SECONDS
        assert five.over_at - clock.now == pytest.approx(0.1 * SECONDS)
        five.keep(ended(number))
        following = five.begin_next()
        assert following is not None
        assert following.sequence == number + 1
    # Nothing waits any more.
    assert five.over_at == math.inf


def test_what_runs_for_longer_is_waited_for_no_more(five: queue.StartQueue, clock: Clock) -> None:
    clock.now += 1.1 * SECONDS
    assert five.over_at <= clock.now


def test_an_end_is_told_no_later_than_so_though_others_stay_queued(five: queue.StartQueue, clock: Clock) -> None:
    assert five.tell_at == math.inf
    five.keep(ended(0))
    five.begin_next()
    clock.now += 0.6 * SECONDS
    assert five.tell_at - clock.now == pytest.approx(0.4 * SECONDS)
    clock.now += 0.6 * SECONDS
    assert five.tell_at <= clock.now
    assert five.take_ended(running=1) == Told(ended=[ended(0)], running=1, returned=[])
    assert five.tell_at == math.inf
    # The rest is told, or given back, as ever.
    five.keep(ended(1))
    assert five.take_told(running=None) == Told(ended=[ended(1)], running=None, returned=[2, 3, 4])


def begin(five: queue.StartQueue, *numbers: int) -> None:
    """Those before these have ended well, and these begin, one after the other."""
    for number in numbers:
        following = five.begin_next()
        assert following is not None
        assert following.sequence == number
        five.keep(ended(number - 1))


def test_half_of_a_queue_has_begun_and_that_is_told_at_once_and_what_comes_then_follows(five: queue.StartQueue) -> None:
    begin(five, 1)
    assert five.tell_at > 0.0
    begin(five, 2)
    assert five.tell_at == 0.0
    assert five.take_ended(running=2) == Told(ended=[ended(0), ended(1)], running=2, returned=[], is_low=True)
    # More may be there that comes, or not.
    begin(five, 3)
    assert five.tell_at > 0.0
    five.add(MoreStarts(starts=[start(5), start(6), start(7)], word=WORD, seconds=SECONDS))
    begin(five, 4, 5)
    assert five.take_ended(running=5) == Told(ended=[ended(2), ended(3), ended(4)], running=5, returned=[], is_low=True)


def test_a_queue_for_which_nothing_came_is_told_to_be_low_once_more_as_its_last_begins(five: queue.StartQueue) -> None:
    begin(five, 1, 2)
    assert five.take_ended(running=2).is_low
    begin(five, 3)
    assert not five.take_ended(running=3).is_low
    begin(five, 4)
    assert five.take_ended(running=4).is_low


def test_what_is_added_comes_back_with_what_was_queued_if_the_word_was_changed(five: queue.StartQueue) -> None:
    five.add(MoreStarts(starts=[start(5)], word=b"newer", seconds=SECONDS))
    five.halt()
    assert five.begin_next() is None
    assert five.take_told(running=None).returned == [1, 2, 3, 4, 5]


def test_what_comes_when_the_time_of_others_is_over_is_given_back_too(five: queue.StartQueue, clock: Clock) -> None:
    clock.now += 1.1 * SECONDS
    five.take_told(running=0)
    five.add(MoreStarts(starts=[start(5)], word=WORD, seconds=SECONDS))
    assert five.over_at <= clock.now


def test_what_runs_by_itself_may_get_a_queue_whose_time_begins_then(five: queue.StartQueue, clock: Clock) -> None:
    five.take_told(running=None)
    assert five.take(start(9)).sequence == 9
    clock.now += 9 * SECONDS
    five.add(MoreStarts(starts=[start(10)], word=WORD, seconds=SECONDS))
    assert five.over_at - clock.now == pytest.approx(SECONDS)


def test_after_hundreds_in_a_row_no_more_are_asked_for(five: queue.StartQueue) -> None:
    running, last = 0, 4
    while five.starts:
        running += 1
        begin(five, running)
        if five.take_ended(running=running).is_low:
            last += 1
            five.add(MoreStarts(starts=[start(last)], word=WORD, seconds=SECONDS))
    assert queue.MOST_IN_A_ROW <= running <= queue.MOST_IN_A_ROW + 4
