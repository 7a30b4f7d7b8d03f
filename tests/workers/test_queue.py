"""The queue of a worker, by a clock of the test's: how long others wait for what runs, and how late an end is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.workers import queue
from orchestrator.workers.halt_word import HALT_WORD_NAME, HaltWord
from orchestrator.workers.protocol import AttemptClass, Ended, Limits, Outcome, Start, Starts, Told

SECONDS = 0.1


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
    word = HaltWord(str(tmp_path / HALT_WORD_NAME))
    word.change()
    made = queue.StartQueue(str(tmp_path / "0"))
    made.take(Starts(starts=[start(number) for number in range(5)], word=word.read(), seconds=SECONDS))
    word.close()
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
        assert five.patience == pytest.approx(SECONDS)
        clock.now += 0.9 * SECONDS
        assert five.patience == pytest.approx(0.1 * SECONDS)
        five.keep(ended(number))
        following = five.begin_next()
        assert following is not None
        assert following.sequence == number + 1
    # Nothing waits any more.
    assert five.patience is None


def test_what_runs_for_longer_is_waited_for_no_more(five: queue.StartQueue, clock: Clock) -> None:
    clock.now += 1.1 * SECONDS
    assert five.patience == 0.0


def test_an_end_is_told_no_later_than_so_though_others_stay_queued(five: queue.StartQueue, clock: Clock) -> None:
    assert five.seconds_to_tell is None
    five.keep(ended(0))
    five.begin_next()
    clock.now += 0.6 * SECONDS
    five.keep(ended(1))
    five.begin_next()
    assert five.seconds_to_tell == pytest.approx(0.4 * SECONDS)
    clock.now += 0.6 * SECONDS
    assert five.seconds_to_tell == 0.0
    assert five.take_ended(running=2) == Told(ended=[ended(0), ended(1)], running=2, returned=[])
    assert five.seconds_to_tell is None
    # The rest is told, or given back, as ever.
    five.keep(ended(2))
    assert five.take_told(running=None) == Told(ended=[ended(2)], running=None, returned=[3, 4])
