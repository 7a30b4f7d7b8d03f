"""Which process is which."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.workers.processes.identity import (
    boot_clock,
    boot_id,
    is_same_process,
    process_state,
    start_ticks,
    start_ticks_of_child,
)


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
        ticks, more = start_ticks_of_child(pid, clock)
        assert is_same_process(pid, ticks, boot_id(), more)
        os.waitpid(pid, 0)


def test_a_child_whose_spawn_lasted_some_ticks_started_in_one_of_these() -> None:
    now = start_ticks(os.getpid())
    assert now is not None
    before, after = (now - 2, 2), (now + 1, 2)
    assert is_same_process(os.getpid(), before[0], boot_id(), before[1])
    assert process_state(os.getpid(), *before) == "R"
    assert not is_same_process(os.getpid(), before[0], boot_id(), before[1] - 1)
    assert not is_same_process(os.getpid(), after[0], boot_id(), after[1])
    assert process_state(os.getpid(), *after) == ""


def test_no_time_that_a_spawn_lasts_is_too_long() -> None:
    clock = boot_clock()
    pid = os.posix_spawn("/bin/true", ["true"], {})
    ticks, more = start_ticks_of_child(pid, clock - 10**9)
    assert more >= 100
    assert is_same_process(pid, ticks, boot_id(), more)
    os.waitpid(pid, 0)
