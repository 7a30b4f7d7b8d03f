"""Which process is which."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.workers.processes.identity import boot_clock, boot_id, is_same_process, start_ticks, start_ticks_of_child


@pytest.fixture(params=["sleep", "a) R 1 (b", "\u00fc ) "])
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose name looks like the fields that follow it."""
    program = tmp_path / request.param
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "600"]) as process:
        yield process
        process.kill()


def test_a_process_is_itself_while_it_lives(process: subprocess.Popen[bytes]) -> None:
    ticks = start_ticks(process.pid)
    assert ticks is not None
    assert is_same_process(process.pid, ticks, boot_id())
    process.kill()
    process.wait()
    assert start_ticks(process.pid) is None
    assert not is_same_process(process.pid, ticks, boot_id())


def test_another_start_or_boot_is_another_process() -> None:
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    assert not is_same_process(os.getpid(), ticks + 1, boot_id())
    assert not is_same_process(os.getpid(), ticks, "another boot")


def test_the_boot_is_told_the_same_each_time() -> None:
    assert boot_id() == boot_id() != ""


def test_ticks_by_the_clock_are_the_kernels() -> None:
    for _ in range(200):
        clock = boot_clock()
        pid = os.posix_spawn("/bin/true", ["true"], {})
        by_clock = start_ticks_of_child(pid, clock)
        assert by_clock == start_ticks(pid)
        os.waitpid(pid, 0)


def test_a_clock_that_moved_on_is_not_trusted() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    assert start_ticks_of_child(pid, boot_clock() - 10**12) == start_ticks(pid)
    os.waitpid(pid, 0)
