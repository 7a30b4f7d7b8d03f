"""Ending trees beside the loop."""

from __future__ import annotations

import select
import threading

import pytest

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
