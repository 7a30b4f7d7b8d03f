"""What a start costs: of the program, of a run of one item, of a run in it, and of what comes next in a slot."""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from contest import BenchError, environment, measured, told
from contestants import JOB, orchestrate_command, write_jobs_file

BARE, VERSION, ONE, NESTED, CHILD = (
    "python -c pass",
    "orchestrate --version",
    "a run of one item",
    "a nested run",
    "a child file",
)
SLOTS = 16
SLEEP_SECONDS = 0.05


@dataclass(frozen=True)
class StartUp:
    """Median milliseconds until the command has returned, and CPU of its tree. Ratios: to a bare `python -c pass`; of a run in
    a run: what it adds to a run of one item, to a run of one item."""

    name: str
    milliseconds: float
    cpu_milliseconds: float
    ratio: float
    cpu_ratio: float


@dataclass(frozen=True)
class Gaps:
    """Milliseconds from the end of a command to the start of the next in its slot, in a run of `count` commands that sleep.

    `recorded`: by the times that the run recorded; `seen`: as the commands tell, with the exit of one and the exec of the next.
    `xargs`: as seen, of as many `xargs -P 1` side by side, each of which does no more than wait and start: what these processors
    can do.
    """

    count: int
    recorded_p50: float
    recorded_p99: float
    seen_p50: float
    seen_p99: float
    xargs_p50: float
    xargs_p99: float


def measure_start_up(rounds: int, scratch: Path) -> list[StartUp]:
    """All commands, in alternating rounds. Raises BenchError."""
    taken: dict[str, list[tuple[float, float]]] = {}
    for number in range(rounds):
        told(f"start-up, round {number + 1}")
        for position, name in enumerate((BARE, VERSION, ONE, NESTED, CHILD)):
            folder = scratch / f"start-{number}-{position}"
            folder.mkdir()
            reading = measured(_command(name, folder), folder)
            taken.setdefault(name, []).append((1000 * reading.command_seconds, 1000 * reading.cpu_seconds))
    for name in (NESTED, CHILD):
        # What the run in the run adds.
        taken[name] = [(own[0] - one[0], own[1] - one[1]) for own, one in zip(taken[name], taken[ONE], strict=True)]
    return [_start_up(name, own, taken[ONE if name in (NESTED, CHILD) else BARE]) for name, own in taken.items()]


def _start_up(name: str, own: list[tuple[float, float]], other: list[tuple[float, float]]) -> StartUp:
    pairs = list(zip(own, other, strict=True))
    return StartUp(
        name,
        statistics.median(wall for wall, _ in own),
        statistics.median(cpu for _, cpu in own),
        statistics.median(mine[0] / theirs[0] for mine, theirs in pairs),
        statistics.median(mine[1] / theirs[1] for mine, theirs in pairs),
    )


def _command(name: str, folder: Path) -> list[str]:
    own = orchestrate_command()
    if name == BARE:
        return [sys.executable, "-c", "pass"]
    if name == VERSION:
        return [*own, "--version"]
    jobs_file = write_jobs_file(folder, 1, 2, [JOB, "{{ item }}"])
    if name != ONE:
        jobs_file.rename(folder / "child.toml")
        work = f'command = ["{own[0]}", "run", "child.toml", "--quiet"]' if name == NESTED else 'workflow = "child.toml"'
        jobs_file.write_text(f"[run]\nslots = 2\n\n[jobs.parent]\n{work}\n")
    return [*own, "run", "jobs.toml", "--quiet"]


def measure_gaps(count: int, scratch: Path) -> Gaps:
    """A run of `count` commands of 0.05 s on 16 slots. Raises BenchError, also without a C compiler."""
    told(f"start after an end, {count:,} commands")
    folder = scratch / "gaps"
    folder.mkdir()
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchError("no C compiler")
    stamp, stamps = folder / "stamp", folder / "stamps"
    source = Path(__file__).resolve().with_name("stamp.c")
    subprocess.run([compiler, "-O2", "-Wall", "-o", str(stamp), str(source)], check=True)
    write_jobs_file(folder, count, SLOTS, [str(stamp), str(stamps), "{{ item }}", str(SLEEP_SECONDS)])
    measured([*orchestrate_command(), "run", "jobs.toml", "--quiet"], folder)
    argv = [*orchestrate_command(), "results", "--json", "--fields", "index,started_at_s,finished_at_s"]
    results = subprocess.run(argv, cwd=folder, env=environment(folder), capture_output=True, check=True, timeout=120)
    recorded = {each["index"]: (each["started_at_s"], each["finished_at_s"]) for each in json.loads(results.stdout)}
    seen = _pairs(stamps, count)
    told_gaps = [recorded[following.index][0] - recorded[before.index][1] for before, following in seen]
    with_xargs = _pairs(_stamps_of_xargs(stamp, count, folder), count)
    return Gaps(count, *_percentiles(told_gaps), *_percentiles(_gaps(seen)), *_percentiles(_gaps(with_xargs)))


def _stamps_of_xargs(stamp: Path, count: int, folder: Path) -> Path:
    """The same commands, a sixteenth of them by each of sixteen `xargs`, one at a time."""
    stamps = folder / "stamps-of-xargs"
    argv = ["xargs", "-P", "1", "-I", "{}", str(stamp), str(stamps), "{}", str(SLEEP_SECONDS)]
    slots = [subprocess.Popen(argv, stdin=subprocess.PIPE, text=True) for _ in range(SLOTS)]
    for number, slot in enumerate(slots):
        assert slot.stdin is not None
        with slot.stdin:
            slot.stdin.writelines(f"{index}\n" for index in range(number, count, SLOTS))
    if any(slot.wait() for slot in slots):
        raise BenchError(f"{folder}: xargs failed")
    return stamps


class Stamp(NamedTuple):
    """Of one command: when it began and ended (seconds since the epoch), as it saw that."""

    begun: float
    ended: float
    index: int


def _pairs(stamps: Path, count: int) -> list[tuple[Stamp, Stamp]]:
    """Each command with the one before it in its slot. Raises BenchError if there are too few for so many commands."""
    slots: dict[int, list[Stamp]] = {}
    for line in stamps.read_text().splitlines():
        worker, index, begun, ended = map(int, line.split())
        slots.setdefault(worker, []).append(Stamp(begun / 1e9, ended / 1e9, index))
    pairs = [pair for items in slots.values() for pair in itertools.pairwise(sorted(items))]
    if len(pairs) < count - 2 * SLOTS:
        raise BenchError(f"{stamps}: only {len(pairs)} starts after an end of {count} commands")
    return pairs


def _gaps(pairs: list[tuple[Stamp, Stamp]]) -> list[float]:
    return [following.begun - before.ended for before, following in pairs]


def _percentiles(seconds: list[float]) -> tuple[float, float]:
    """In milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return 1000 * cuts[49], 1000 * cuts[98]
