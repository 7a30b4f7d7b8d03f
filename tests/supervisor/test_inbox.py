"""Where the loop waits: a turn in which nothing changes costs little, and nothing is watched for a source that closed it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import pytest

from orchestrator.engines.engine import Noted
from orchestrator.supervisor.happened import Happened, Signalled
from orchestrator.supervisor.inbox import LOOK_SECONDS, Inbox, Source
from orchestrator.supervisor.sources import Signals
from orchestrator.system.stop_signals import SignalInbox, Stopper, StopSources


class Pipes(Source):
    """Reads pipes, each to its end, and closes those that have ended."""

    is_fixed = False

    def __init__(self) -> None:
        self.open: list[int] = []
        self.read_from: list[int] = []

    def add(self) -> int:
        """A pipe more; the end to write to."""
        reading, writing = os.pipe()
        self.open.append(reading)
        return writing

    def filenos(self) -> list[int]:
        return list(self.open)

    def read_news(self, fileno: int) -> Iterable[Happened]:
        self.read_from.append(fileno)
        if not os.read(fileno, 100):
            self.open.remove(fileno)
            os.close(fileno)
        return ()


class Opens(Source):
    """Opens a pipe for `pipes` when it is asked for its look, and they have none."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes
        self.writing = -1

    def look_for_news(self, _now: float) -> Iterator[Happened]:
        if self.writing < 0 and not self._pipes.open:
            self.writing = self._pipes.add()
        return iter(())


def test_a_descriptor_that_comes_back_under_the_number_of_a_closed_one_is_watched_again() -> None:
    pipes = Pipes()
    opens = Opens(pipes)
    first = pipes.add()
    number = pipes.open[0]
    inbox = Inbox([pipes, opens])
    os.close(first)
    # The end of the first pipe is read, and the look before the next wait opens another one, which gets the number that is free.
    assert list(inbox.wait(None, is_in_hurry=True)) == []
    assert pipes.open == []
    assert list(inbox.wait(None, is_in_hurry=True)) == []
    assert pipes.open == [number]
    os.write(opens.writing, b".")
    assert list(inbox.wait(None, is_in_hurry=True)) == []
    assert pipes.read_from == [number, number]
    inbox.close()
    for fd in (number, opens.writing):
        os.close(fd)


def test_busy_turns_register_nothing_and_look_for_what_no_descriptor_tells_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look asks each source, which costs more than an end of an item that a wait finds."""
    asked: list[str] = []

    class Plain(Source):
        @property
        def next_look(self) -> float | None:
            asked.append("a source that never looks")
            return None

    class Looks(Source):
        @property
        def next_look(self) -> float | None:
            asked.append("when to look")
            return None

        def look_for_news(self, _now: float) -> Iterable[Happened]:
            asked.append("a look")
            return ()

    pipes = Pipes()
    writing = [pipes.add() for _ in range(5)]
    inbox = Inbox([Plain(), pipes, Looks()])
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    # It has what is needed to wait, and nothing to watch more or less.
    monkeypatch.setattr(inbox, "_poll", SimpleNamespace(poll=inbox._poll.poll, close=inbox._poll.close))
    for _ in range(10):
        os.write(writing[0], b".")
        list(inbox.wait(None, is_in_hurry=False))
        now += LOOK_SECONDS / 4
    assert len(pipes.read_from) == 10
    assert asked == ["a look", "when to look", "a look", "a look"]
    # Nothing has come: the sources say for how long that wait may last.
    asked.clear()
    monkeypatch.setattr(inbox._poll, "poll", lambda _seconds: [])
    list(inbox.wait(None, is_in_hurry=False))
    assert asked == ["when to look"]
    list(inbox.wait(None, is_in_hurry=False))
    assert asked == ["when to look", "a look", "when to look"]
    inbox.close()
    for fd in (*pipes.open, *writing):
        os.close(fd)


def test_looks_come_before_the_wait_and_what_they_find_is_not_waited_with() -> None:
    """Behind it they would stand between the end of an attempt and the start that follows: a view draws for milliseconds."""
    order: list[str] = []

    class Ends(Pipes):
        def read_news(self, fileno: int) -> Iterable[Happened]:
            order.append("an end")
            return super().read_news(fileno)

    class Finds(Source):
        def look_for_news(self, _now: float) -> Iterable[Happened]:
            order.append("a look")
            return [Noted("found")]

    ends = Ends()
    writing = ends.add()
    os.write(writing, b".")
    inbox = Inbox([ends, Finds()])
    for happened in inbox.wait(None, is_in_hurry=False):
        assert happened == Noted("found")
        order.append("what it found")
    assert order == ["a look", "what it found", "an end"]
    inbox.close()
    for fd in (*ends.open, writing):
        os.close(fd)


def test_a_stop_goes_before_all_else_that_one_wait_finds() -> None:
    """Else a stop that came before the end of an item is heard after the start of the next one."""

    class Ends(Pipes):
        def read_news(self, fileno: int) -> Iterable[Happened]:
            super().read_news(fileno)
            return [Noted("an item has ended")]

    ends, stopper = Ends(), Stopper()
    writing = ends.add()
    with SignalInbox(StopSources(signals=False, stopper=stopper)) as signals:
        inbox = Inbox([ends, Signals(signals)])
        os.write(writing, b".")
        stopper.stop()
        assert list(inbox.wait(None, is_in_hurry=True)) == [Signalled(signal.SIGTERM), Noted("an item has ended")]
        inbox.close()
    for fd in (*ends.open, writing):
        os.close(fd)
