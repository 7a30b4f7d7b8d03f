"""How the cost of one item behaves as runs grow to 1,000,000 items, and what commands cost on a run of that size.

The last items of each run are really run; those before them are written by the store's own writers (`recorded`). What the items
cost is read from /proc between two of them, so that neither the start nor the end of the run is in it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from contest import BenchError, check_all_succeeded, check_exit, environment, measured, told
from contestants import JOB, orchestrate_command
from counting import counted_so_far
from meter import Reading, end_meter, read_meter, start_meter
from recorded import JOB_ID, record_run

SLOTS = 2
REALLY_RUN = 10_000
"""Of each run, the last so many items."""
LIMIT_SECONDS = 300.0
COUNTING = Path(__file__).resolve().with_name("counting.py")


@dataclass(frozen=True)
class Scale:
    """A run of `count` items, of which the last `really_run` were run. `first_item_seconds`: from the command's start."""

    count: int
    really_run: int
    cpu_ms_an_item: float
    written_bytes_an_item: float
    syncs_an_item: float
    peak_bytes: int
    first_item_seconds: float


@dataclass(frozen=True)
class Commands:
    """What commands on a finished run of `count` items took: name and seconds; bytes of its checkpoint."""

    count: int
    seconds: dict[str, float]
    checkpoint_bytes: int


@dataclass(frozen=True)
class Sums:
    """What a run's processes, and the commands that they have waited for, have used until now."""

    cpu_seconds: float
    written_bytes: int
    syncs: int


def measure_scales(counts: list[int], scratch: Path) -> tuple[list[Scale], Commands]:
    """The commands are on the last run. Raises BenchError.

    Of REALLY_RUN items the CPU is the mean of two runs, one before all larger ones and one after them: a machine has its moods.
    """
    scales = [measure_scale(count, scratch) for count in counts]
    for at, scale in enumerate(scales):
        if scale.count == REALLY_RUN:
            again = measure_scale(scale.count, scratch / "again")
            scales[at] = replace(scale, cpu_ms_an_item=(scale.cpu_ms_an_item + again.cpu_ms_an_item) / 2)
    return scales, measure_commands(counts[-1], scratch)


def measure_scale(count: int, scratch: Path) -> Scale:
    """A run of `count` times /bin/true; it stays in `scratch`."""
    folder = scratch / f"scale-{count}"
    folder.mkdir(parents=True)
    environment(folder)
    really_run = min(count, REALLY_RUN)
    recorded = count - really_run
    marks = {recorded: "first", recorded + really_run // 10: "begin", count - really_run // 10: "end"}
    values = [JOB] * count
    for index, name in marks.items():
        values[index] = str(_witness(folder, name))
    (folder / "items.txt").write_text("".join(f"{value}\n" for value in values))
    jobs_file = folder / "jobs.toml"
    jobs_file.write_text(
        f'[run]\nslots = {SLOTS}\n\n[jobs.{JOB_ID}]\nfor_each = {{ lines = "items.txt" }}\ncommand = ["{{{{ item }}}}"]\n'
    )
    told(f"a run of {count:,} items")
    words = ["run", "jobs.toml"]
    if recorded:
        record_run(folder / "home", _run_id(count), jobs_file, values, recorded)
        words = ["resume", _run_id(count)]
    os.sync()
    reading, first_item_seconds, begin, end = _watched(folder, [*words, "--quiet"])
    check_all_succeeded(folder, count)
    items = really_run - 2 * (really_run // 10)
    return Scale(
        count,
        really_run,
        1000 * (end.cpu_seconds - begin.cpu_seconds) / items,
        (end.written_bytes - begin.written_bytes) / items,
        (end.syncs - begin.syncs) / items,
        reading.peak_bytes,
        first_item_seconds,
    )


def measure_commands(count: int, scratch: Path) -> Commands:
    """Of the run that `measure_scale` has left."""
    folder = scratch / f"scale-{count}"
    (checkpoint,) = (folder / "home" / "runs").glob("*/checkpoint.json")
    run_id = checkpoint.parent.name
    commands = {
        "status": ["status", run_id],
        "list": ["list"],
        "resume": ["resume", run_id, "--quiet"],
        "results": ["results", run_id, "--format", "jsonl"],
    }
    seconds = {}
    for name, words in commands.items():
        told(f"{name} of {count:,} items")
        rounds = 1 if name == "results" else 3
        taken = [measured([*orchestrate_command(), *words], folder, name).command_seconds for _ in range(rounds)]
        seconds[name] = statistics.median(taken)
    lines = (folder / "results.stdout").read_bytes().count(b"\n")
    if lines != count:
        raise BenchError(f"results told {lines} of {count} items")
    return Commands(count, seconds, checkpoint.stat().st_size)


def _run_id(count: int) -> str:
    return f"bench-{count}"


def _witness(folder: Path, name: str) -> Path:
    """A command that leaves a file of this name."""
    path = folder / f"witness-{name}"
    path.write_text(f"#!/bin/sh\n: > {folder}/{name}\n")
    path.chmod(0o755)
    return path


def _watched(folder: Path, words: list[str]) -> tuple[Reading, float, Sums, Sums]:
    """Run orchestrate with `words`: its reading, seconds until the first item ran, and the sums at the two marks."""
    report, syncs = folder / "report.json", folder / "syncs"
    argv = [sys.executable, "-P", str(COUNTING), str(syncs), *words]
    begun = time.monotonic()
    meter = start_meter(argv, cwd=folder, env=environment(folder), report=report)
    try:
        wait_for(folder / "first", meter, 0.002)
        first_item_seconds = time.monotonic() - begun
        found = []
        for name in ("begin", "end"):
            wait_for(folder / name, meter, 0.02)
            found.append(_sums(meter.pid, syncs))
        reading = read_meter(meter, report, LIMIT_SECONDS)
    finally:
        end_meter(meter)
    check_exit(reading, argv, report)
    return reading, first_item_seconds, found[0], found[1]


def wait_for(path: Path, process: subprocess.Popen[bytes], every: float) -> None:
    """Raises BenchError if the process ends before the file is there."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{process.args!r}: exit code {process.poll()} before {path.name}")
        time.sleep(every)


def _sums(meter: int, syncs: Path) -> Sums:
    cpu, written = 0.0, 0
    for process in psutil.Process(meter).children(recursive=True):
        try:
            times, io = process.cpu_times(), Path(f"/proc/{process.pid}/io").read_text()
        except (psutil.Error, OSError):
            continue  # it has ended, and is in the sums of whoever waited for it
        cpu += times.user + times.system + times.children_user + times.children_system
        written += int(dict(line.split(": ") for line in io.splitlines())["wchar"])
    return Sums(cpu, written, counted_so_far(syncs))
