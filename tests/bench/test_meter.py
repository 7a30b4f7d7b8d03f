"""The meter misses nothing: a benchmark that overlooks detached workers flatters us."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from meter import Reading, end_meter, metered, start_meter

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the meter needs Linux's subreaper and /proc/self/io")

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
WRITE = "import os, sys\nfor _ in range(100): os.write(1, b'x' * 10000)\n"
DETACH = "import os\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
"""What follows runs in a process that has neither parent nor session in common with the command."""


def reading_of(script: str, folder: Path) -> Reading:
    return metered(
        [sys.executable, "-c", script], cwd=folder, env=dict(os.environ), report=folder / "report.json", timeout_seconds=60
    )


@pytest.mark.parametrize("detached", [False, True], ids=["in front", "detached"])
def test_cpu_of_the_tree_is_counted_wherever_it_is_spent(detached: bool, tmp_path: Path) -> None:
    reading = reading_of((DETACH if detached else "") + BURN, tmp_path)
    assert 0.3 <= reading.cpu_seconds < 3
    assert reading.wall_seconds >= 0.3


def test_the_command_may_end_long_before_its_tree(tmp_path: Path) -> None:
    reading = reading_of(DETACH + BURN, tmp_path)
    assert reading.command_seconds < reading.wall_seconds - 0.1


@pytest.mark.parametrize("detached", [False, True], ids=["in front", "detached"])
def test_bytes_written_by_the_tree_are_counted(detached: bool, tmp_path: Path) -> None:
    reading = reading_of((DETACH if detached else "") + WRITE, tmp_path)
    assert 1_000_000 <= reading.written_bytes < 1_100_000


def test_the_exit_code_is_the_commands(tmp_path: Path) -> None:
    assert reading_of("raise SystemExit(7)", tmp_path).exit_code == 7


def test_peak_memory_is_that_of_the_largest_process(tmp_path: Path) -> None:
    reading = reading_of("held = bytearray(80_000_000)", tmp_path)
    assert 80_000_000 <= reading.peak_bytes < 160_000_000


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_meter_that_is_ended_ends_also_what_was_detached(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    script = DETACH + f"open({str(told)!r}, 'w').write(f'{{os.getpid()}}\\n')\nimport time; time.sleep(600)"
    meter = start_meter([sys.executable, "-c", script], cwd=tmp_path, env=dict(os.environ), report=tmp_path / "report.json")
    wait_until(lambda: told.exists() and told.read_text().endswith("\n"))
    end_meter(meter)
    pid = int(told.read_text())
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
