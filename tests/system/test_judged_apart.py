"""What may take for ever is judged in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import threading

import pytest

from orchestrator.system.judged_apart import judged_apart


def endless() -> bytes:
    return b"%d" % bool(re.search("^(a+)+$", "a" * 60 + "!"))


def test_what_takes_too_long_is_ended_and_what_was_told_before_is_whole() -> None:
    assert judged_apart(endless, 0.02) is None
    assert judged_apart(lambda: b"x" * 1_000_000, 5.0) == b"x" * 1_000_000
    assert judged_apart(lambda: b"", 5.0) == b""
    assert judged_apart(lambda: b"%d" % (1 // 0), 5.0) is None
    assert judged_apart(lambda: os.kill(os.getpid(), signal.SIGKILL) or b"", 5.0) is None


def test_it_holds_in_every_thread() -> None:
    found: list[bytes | None] = []
    thread = threading.Thread(target=lambda: found.append(judged_apart(endless, 0.02)))
    thread.start()
    thread.join()
    assert found == [None]


def test_the_child_keeps_no_lock_and_hears_no_signal_of_its_parent() -> None:
    reading, writing = os.pipe()
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    os.set_blocking(writing, False)
    old = signal.set_wakeup_fd(writing)
    try:

        def opened() -> bytes:
            os.kill(os.getpid(), signal.SIGUSR1)
            return b" ".join(name.encode() for name in sorted(os.listdir("/proc/self/fd")))

        told = judged_apart(opened, 5.0)
        os.set_blocking(reading, False)
        with pytest.raises(BlockingIOError):
            os.read(reading, 1)
    finally:
        signal.set_wakeup_fd(old)
        signal.signal(signal.SIGUSR1, before)
    # The pipe by which it tells, and the folder that it looks into.
    assert told is not None
    assert len(told.split()) == 2
    for each in (reading, writing):
        os.close(each)


def test_where_there_is_no_room_for_a_process_it_is_judged_right_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", no_room)
    opened = os.listdir("/proc/self/fd")
    assert judged_apart(lambda: b"%d" % os.getpid(), 5.0) == b"%d" % os.getpid()
    assert os.listdir("/proc/self/fd") == opened
