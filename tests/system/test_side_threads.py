"""Ending trees beside the loop."""

from __future__ import annotations

import select
import threading
import time

import pytest
from drivers.processes import without_threads

from orchestrator.system.side_threads import SideThreads

LIMIT_SECONDS = 30.0


def wait_for(endings: SideThreads) -> None:
    assert select.select([endings.fileno()], [], [], LIMIT_SECONDS)[0], "no ending is told"


def test_endings_are_told_as_they_are_done_and_by_their_number() -> None:
    endings = SideThreads()
    may_end = threading.Event()
    endings.begin_work(1, lambda: may_end.wait(LIMIT_SECONDS))
    endings.begin_work(2, lambda: None)
    wait_for(endings)
    assert endings.take_done() == [2]
    assert endings.take_done() == []
    may_end.set()
    wait_for(endings)
    assert endings.take_done() == [1]
    endings.close()


def test_work_without_a_thread_waits_is_told_of_once_and_begins_in_its_turn() -> None:
    work = SideThreads()
    done: list[int] = []
    with without_threads():
        assert not work.begin_work(1, lambda: done.append(1))
        assert work.take_words() == "no room on this machine just now for a thread; tried again"
        assert not work.begin_work(2, lambda: done.append(2))
        assert work.take_words() == ""
        work.begin_waiting(time.monotonic() + 3600)
        assert done == []
    assert not work.begin_work(3, lambda: done.append(3)), "not before those that came first"
    assert work.next_look is not None
    work.begin_waiting(work.next_look)
    assert work.next_look is None
    while len(done) < 3:
        wait_for(work)
        work.take_done()
    assert sorted(done) == [1, 2, 3]
    work.close()


def test_work_that_cannot_wait_for_ever_is_done_without_a_thread() -> None:
    work = SideThreads(patience_seconds=5.0)
    done: list[int] = []
    with without_threads():
        work.begin_work(1, lambda: done.append(threading.get_ident()))
        assert work.next_look is not None
        work.begin_waiting(work.next_look)
        assert done == []
        work.begin_waiting(work.next_look + 5.0)
    assert done == [threading.get_ident()]
    assert work.take_done() == [1]
    work.close()


def test_an_ending_that_failed_is_no_ending() -> None:
    def fail() -> None:
        raise PermissionError("process 7 may not be signalled")

    endings = SideThreads()
    endings.begin_work(1, fail)
    wait_for(endings)
    with pytest.raises(PermissionError, match="process 7"):
        endings.take_done()
    endings.close()


def test_closing_waits_for_no_ending_and_one_that_is_done_later_touches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    has_begun, may_end = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def end_tree() -> None:
        threads.append(threading.current_thread())
        has_begun.set()
        may_end.wait(LIMIT_SECONDS)

    endings = SideThreads()
    endings.begin_work(1, end_tree)
    assert has_begun.wait(LIMIT_SECONDS)
    endings.close()
    assert threads[0].is_alive()
    may_end.set()
    threads[0].join(LIMIT_SECONDS)
    assert not threads[0].is_alive()
    assert failures == []
