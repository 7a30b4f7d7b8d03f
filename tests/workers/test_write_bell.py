"""What the kernel tells of a write, and that it is told once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.workers import channel
from orchestrator.workers.files.write_bell import WriteBell
from orchestrator.workers.loop import SupervisorLink
from orchestrator.workers.protocol import HURRY_SIGNAL

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a write to a file of a folder by a signal")


@pytest.fixture
def signals() -> Iterator[int]:
    """A pipe that gets a byte for each signal that came to this process."""
    before, (reading, writing) = signal.getsignal(signal.SIGIO), os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    woken = signal.set_wakeup_fd(writing)
    yield reading
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGIO, before)
    os.close(reading)
    os.close(writing)


def came(signals: int) -> bool:
    try:
        return signal.SIGIO in os.read(signals, 100)
    except BlockingIOError:
        return False


def test_the_next_write_to_a_file_of_the_folder_is_told_once_and_no_file_that_goes_away(tmp_path: Path, signals: int) -> None:
    bell = WriteBell(str(tmp_path))
    with open(tmp_path / "stdout", "ab", buffering=0) as file:
        assert bell.arm()
        (tmp_path / "other").touch()
        (tmp_path / "other").unlink()
        assert not came(signals)
        file.write(b"x")
        assert came(signals)
        file.write(b"x")
        assert not came(signals), "once"
        assert bell.arm()
        assert bell.arm()
        file.write(b"x")
        assert came(signals)


def test_a_worker_that_waits_is_woken_by_what_its_agent_writes(tmp_path: Path) -> None:
    numbers = (signal.SIGCHLD, signal.SIGTERM, HURRY_SIGNAL, signal.SIGIO)
    before = {number: signal.getsignal(number) for number in numbers}
    ours, theirs = channel.socket_pair()
    try:
        link = SupervisorLink(ours, str(tmp_path))
        with open(tmp_path / "stdout", "ab", buffering=0) as file:
            assert link.wake_at_write()
            assert link._poll.poll(0) == []
            file.write(b"x")
        assert link._poll.poll(0) != []
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        ours.close()
        theirs.close()


def test_a_folder_that_cannot_be_opened_leaves_it_to_the_clock(tmp_path: Path) -> None:
    assert not WriteBell(str(tmp_path / "gone")).arm()
