"""How the cost of one item behaves as runs grow, and how long the first item waits: scale and start-up. Only ours is measured."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from contest import BenchError, check_all_succeeded, environment, measured
from contestants import JOB, orchestrate_command, write_jobs_file

SLOTS = 2
RESUME_LIMIT_SECONDS = 120.0
ITEMS_A_WITNESS = 1000
COUNTING = Path(__file__).resolve().with_name("counting.py")


@dataclass(frozen=True)
class Scale:
    """A run of `count` items."""

    count: int
    cpu_ms_an_item: float
    written_bytes_an_item: float
    syncs_an_item: float
    peak_bytes: int
    status_seconds: float
    resume_seconds: float


@dataclass(frozen=True)
class StartUp:
    """Median milliseconds until the command has returned."""

    name: str
    milliseconds: float
    ratio: float
    """To a bare `python -c pass`."""


def measure_scale(count: int, scratch: Path) -> Scale:
    """Run `count` times /bin/true; then kill a run half-way and resume it."""
    folder = scratch / f"scale-{count}"
    folder.mkdir()
    write_jobs_file(folder, count, SLOTS, [JOB, "{{ item }}"])
    syncs = folder / "syncs"
    run = measured([sys.executable, "-P", str(COUNTING), str(syncs), "run", "jobs.toml", "--quiet"], folder)
    check_all_succeeded(folder, count)
    status = [measured([*orchestrate_command(), "status", "jobs.toml"], folder, "status") for _ in range(3)]
    return Scale(
        count,
        1000 * run.cpu_seconds / count,
        run.written_bytes / count,
        int(syncs.read_text()) / count,
        run.peak_bytes,
        statistics.median(reading.command_seconds for reading in status),
        _seconds_to_first_resumed_item(count, scratch),
    )


def measure_start_up(rounds: int, scratch: Path) -> list[StartUp]:
    """`python -c pass`, `orchestrate --version` and a run of one item, in alternating rounds."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "orchestrate --version": [*orchestrate_command(), "--version"],
        "a run of one item": [*orchestrate_command(), "run", "jobs.toml", "--quiet"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds):
        for position, (name, argv) in enumerate(commands.items()):
            folder = scratch / f"start-{number}-{position}"
            folder.mkdir()
            write_jobs_file(folder, 1, SLOTS, [JOB, "{{ item }}"])
            taken[name].append(measured(argv, folder).command_seconds)
    bare = taken["python -c pass"]
    return [
        StartUp(
            name,
            1000 * statistics.median(seconds),
            statistics.median(own / other for own, other in zip(seconds, bare, strict=True)),
        )
        for name, seconds in taken.items()
    ]


def _seconds_to_first_resumed_item(count: int, scratch: Path) -> float:
    """Kill the supervisor half-way with SIGKILL, let its workers end, resume, wait for the first file that an item touches."""
    folder = scratch / f"resume-{count}"
    seen = folder / "seen"
    seen.mkdir(parents=True)
    touch = shutil.which("touch")
    if touch is None:
        raise BenchError("touch is not installed")
    write_jobs_file(folder, count, SLOTS, [touch, f"seen/{{{{ index // {ITEMS_A_WITNESS} }}}}"])
    half_way = seen / str(count // 2 // ITEMS_A_WITNESS)
    first = _start("run", folder)
    _wait_until(lambda: half_way.exists(), first, 3600)
    first.kill()
    first.wait()
    _wait_for_workers(folder)
    seen.rename(folder / "seen-before")
    seen.mkdir()
    begun = time.monotonic()
    second = _start("resume", folder)
    _wait_until(lambda: any(seen.iterdir()), second, RESUME_LIMIT_SECONDS)
    seconds = time.monotonic() - begun
    second.send_signal(signal.SIGINT)
    second.wait(timeout=RESUME_LIMIT_SECONDS)
    _wait_for_workers(folder)
    return seconds


def _start(command: str, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / f"{command}.stderr").open("wb") as stderr:
        return subprocess.Popen(
            [*orchestrate_command(), command, "jobs.toml"],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )


def _wait_until(is_true: Callable[[], bool], process: subprocess.Popen[bytes], limit_seconds: float) -> None:
    deadline = time.monotonic() + limit_seconds
    while not is_true():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise BenchError(f"{process.args!r}: exit code {process.poll()} before what the bench waits for")
        time.sleep(0.002)


def _wait_for_workers(folder: Path) -> None:
    home = os.fspath(folder / "home")
    left = [
        process for process in psutil.process_iter(["environ"]) if (process.info["environ"] or {}).get("ORCHESTRATE_HOME") == home
    ]
    _, left = psutil.wait_procs(left, timeout=60)
    if left:
        raise BenchError(f"still there a minute after their supervisor: {left}")
