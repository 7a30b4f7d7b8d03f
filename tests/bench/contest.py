"""Side by side: the same jobs by everybody, in alternating rounds, each against xargs of the same round."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from contestants import Contestant, orchestrate_command
from meter import Reading, metered

REFERENCE = "xargs"


class BenchError(Exception):
    """A command that is measured did not do its work: its numbers would mean nothing."""


@dataclass(frozen=True)
class Size:
    """`count` jobs, `slots` at once, measured in `rounds` rounds."""

    count: int
    slots: int
    rounds: int


@dataclass(frozen=True)
class Spread:
    """A median with its extremes, over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Standing:
    """One contestant at one size: milliseconds a job, and ratios to xargs (None if it did not take part)."""

    name: str
    promise: str
    cpu_ms: Spread
    wall_ms: Spread
    cpu_ratio: Spread | None
    wall_ratio: Spread | None


def environment(folder: Path) -> dict[str, str]:
    """What a measured command sees: a user's home, a state home and a temporary folder of its own, made beforehand."""
    own = {"HOME": folder / "user", "ORCHESTRATE_HOME": folder / "home", "TMPDIR": folder / "tmp"}
    for path in own.values():
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Without PYTHONDONTWRITEBYTECODE: no user compiles the sources anew at each start.
    foreign = ("ORCHESTRATE_", "XDG_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, **{name: str(path) for name, path in own.items()}}


def measured(argv: list[str], folder: Path, name: str = "report") -> Reading:
    """Run `argv` in `folder` by a meter. Raises BenchError if it fails."""
    report = folder / f"{name}.json"
    reading = metered(argv, cwd=folder, env=environment(folder), report=report)
    if reading.exit_code != 0:
        told = report.with_suffix(".stderr").read_text(errors="replace")[-2000:]
        raise BenchError(f"exit code {reading.exit_code} of {argv}:\n{told}")
    return reading


def hold(sizes: list[Size], entrants: list[Contestant], scratch: Path) -> dict[Size, list[Standing]]:
    """Measure all entrants at all sizes. Every folder is made before the first measured run, and none is deleted."""
    commands: dict[tuple[Size, int, str], tuple[Path, list[str]]] = {}
    for size in sizes:
        for number in range(size.rounds):
            for entrant in entrants:
                folder = scratch / f"{size.count}-{size.slots}" / str(number) / entrant.name
                folder.mkdir(parents=True)
                environment(folder)
                commands[size, number, entrant.name] = folder, entrant.prepare(folder, size.count, size.slots)
    os.sync()  # what was just written is not to be paid by the first who is measured
    readings: dict[tuple[Size, int, str], Reading] = {}
    for size in sizes:
        for number in range(size.rounds):
            turn = number % len(entrants)
            for entrant in [*entrants[turn:], *entrants[:turn]]:
                folder, argv = commands[size, number, entrant.name]
                readings[size, number, entrant.name] = measured(argv, folder)
                print(f"  {size.count} jobs, {size.slots} slots, round {number + 1}: {entrant.name}", file=sys.stderr)
    for (size, _number, name), (folder, _argv) in commands.items():
        if name == "orchestrate":
            check_all_succeeded(folder, size.count)
    return {size: [_standing(size, entrant, entrants, readings) for entrant in entrants] for size in sizes}


def check_all_succeeded(folder: Path, count: int) -> None:
    """Raises BenchError unless the run of `folder` recorded `count` successes."""
    argv = [*orchestrate_command(), "status", "jobs.toml", "--json"]
    told = subprocess.run(argv, cwd=folder, env=environment(folder), capture_output=True, check=True, timeout=60)
    succeeded = json.loads(told.stdout)["counts"].get("succeeded", 0)
    if succeeded != count:
        raise BenchError(f"{folder}: {succeeded} of {count} items succeeded")


def _standing(
    size: Size, entrant: Contestant, entrants: list[Contestant], readings: dict[tuple[Size, int, str], Reading]
) -> Standing:
    own = [readings[size, number, entrant.name] for number in range(size.rounds)]
    cpu_ratio = wall_ratio = None
    if any(other.name == REFERENCE for other in entrants):
        theirs = [readings[size, number, REFERENCE] for number in range(size.rounds)]
        cpu_ratio = Spread.of([mine.cpu_seconds / other.cpu_seconds for mine, other in zip(own, theirs, strict=True)])
        wall_ratio = Spread.of([mine.wall_seconds / other.wall_seconds for mine, other in zip(own, theirs, strict=True)])
    return Standing(
        entrant.name,
        entrant.promise,
        Spread.of([1000 * reading.cpu_seconds / size.count for reading in own]),
        Spread.of([1000 * reading.wall_seconds / size.count for reading in own]),
        cpu_ratio,
        wall_ratio,
    )
