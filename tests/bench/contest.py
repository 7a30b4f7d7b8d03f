"""Side by side: the same jobs by everybody, in alternating rounds, each against xargs of the same round."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from contestants import Contestant, Size, orchestrate_command
from meter import Reading, metered

REFERENCE = "xargs"
FLOOR = "floor"
LIMIT_SECONDS = 180
NOISY_SPREAD = 0.15
"""A size is noisy while the floor's readings of its rounds differ by more, as a share of their median."""
LEAST_OF_NOISE = 1_000
"""Smaller sizes take some milliseconds: their floor says nothing of the machine."""


class BenchError(Exception):
    """A command that is measured did not do its work: its numbers would mean nothing."""


@dataclass(frozen=True)
class Spread:
    """A median with its extremes, over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    @property
    def share(self) -> float:
        """How far the extremes are apart, as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0


@dataclass(frozen=True)
class Standing:
    """One contestant at one size: milliseconds a job, and ratios to xargs (None if it did not take part)."""

    name: str
    cpu_ms: Spread
    wall_ms: Spread
    cpu_ratio: Spread | None
    wall_ratio: Spread | None


@dataclass(frozen=True)
class Outcome:
    """All who took part at one size. `repeated`: rounds that were measured again; `noise`: how far the floor's CPU, or its
    wall, was apart at last; None where it tells nothing."""

    standings: list[Standing]
    rounds: int
    repeated: int
    noise: float | None

    @property
    def is_noisy(self) -> bool:
        return self.noise is not None and self.noise > NOISY_SPREAD


Round = dict[str, Reading]


class Contest:
    """Measures `entrants` at `sizes` below `scratch`. `failed`: who did not do its work, and why; it takes part no more."""

    def __init__(self, sizes: list[Size], entrants: list[Contestant], scratch: Path) -> None:
        self._entrants = entrants
        self._scratch = scratch
        self._rounds: dict[Size, list[Round]] = {size: [] for size in sizes}
        self._repeated = dict.fromkeys(sizes, 0)
        self._made = 0
        self.failed: dict[str, str] = {}

    def hold(self) -> None:
        """All rounds of all sizes. Every folder is made before the first measured run of a size, and none is deleted.

        Raises BenchError if orchestrate fails.
        """
        for size, rounds in self._rounds.items():
            prepared = [self._prepare(size, number) for number in range(size.rounds)]
            os.sync()  # what was just written is not to be paid by the first who is measured
            for folders in prepared:
                rounds.append(self._measure(size, folders))

    def repeat_noisy(self, until: float) -> None:
        """Measure the noisiest rounds again, as often as each size has rounds, and no longer than the monotonic time `until`."""
        for size, rounds in self._rounds.items():
            while self._noise(size) > NOISY_SPREAD and self._repeated[size] < size.rounds:
                begun = time.monotonic()
                if begun + 1.2 * _seconds(rounds[-1]) > until:
                    break
                folders = self._prepare(size, size.rounds)  # no more of those who take part in few rounds
                os.sync()
                self._repeated[size] += 1
                again = self._measure(size, folders)
                worst = self._noisiest(rounds)
                # Who took part in few rounds stays with those.
                rounds[worst] = {**{name: reading for name, reading in rounds[worst].items() if name not in again}, **again}

    def outcomes(self) -> dict[Size, Outcome]:
        """What came of it so far."""
        return {
            size: Outcome(
                [self._standing(size, each.name) for each in self._entrants if any(each.name in found for found in rounds)],
                len(rounds),
                self._repeated[size],
                self._noise(size) if size.count >= LEAST_OF_NOISE else None,
            )
            for size, rounds in self._rounds.items()
            if rounds
        }

    def _prepare(self, size: Size, number: int) -> dict[str, tuple[Path, list[str]]]:
        prepared = {}
        for entrant in self._entrants:
            if entrant.name not in self.failed and entrant.takes_part(size) and number < (entrant.rounds or size.rounds + 1):
                folder = self._scratch / f"{size.count}-{size.slots}" / f"{self._made}-{entrant.name}"
                folder.mkdir(parents=True)
                environment(folder)
                prepared[entrant.name] = folder, entrant.prepare(folder, size.count, size.slots)
                self._made += 1
        return prepared

    def _measure(self, size: Size, prepared: dict[str, tuple[Path, list[str]]]) -> Round:
        names = list(prepared)
        turn = self._made % len(names)
        found = {}
        for name in [*names[turn:], *names[:turn]]:
            folder, argv = prepared[name]
            told(f"{size.count:,} jobs, {size.slots} slots: {name}")
            try:
                found[name] = measured(argv, folder)
                if name == "orchestrate":
                    check_all_succeeded(folder, size.count)
            except BenchError as error:
                if name in ("orchestrate", REFERENCE):
                    raise
                self.failed[name] = str(error).splitlines()[0]
        return found

    def _noise(self, size: Size) -> float:
        found = [each[FLOOR] for each in self._rounds[size] if FLOOR in each]
        if size.count < LEAST_OF_NOISE or not found:
            return 0.0
        cpu, wall = [each.cpu_seconds for each in found], [each.wall_seconds for each in found]
        return max(Spread.of(cpu).share, Spread.of(wall).share)

    @staticmethod
    def _noisiest(rounds: list[Round]) -> int:
        """The round whose floor is farthest from the median, in CPU or in wall."""
        cpu = statistics.median(each[FLOOR].cpu_seconds for each in rounds)
        wall = statistics.median(each[FLOOR].wall_seconds for each in rounds)

        def distance(number: int) -> float:
            floor = rounds[number][FLOOR]
            return max(abs(floor.cpu_seconds / cpu - 1), abs(floor.wall_seconds / wall - 1))

        return max(range(len(rounds)), key=distance)

    def _standing(self, size: Size, name: str) -> Standing:
        rounds = [each for each in self._rounds[size] if name in each]
        own = [each[name] for each in rounds]
        beside = [(each[name], each[REFERENCE]) for each in rounds if REFERENCE in each]
        return Standing(
            name,
            Spread.of([1000 * reading.cpu_seconds / size.count for reading in own]),
            Spread.of([1000 * reading.wall_seconds / size.count for reading in own]),
            Spread.of([mine.cpu_seconds / theirs.cpu_seconds for mine, theirs in beside]) if beside else None,
            Spread.of([mine.wall_seconds / theirs.wall_seconds for mine, theirs in beside]) if beside else None,
        )


def told(words: str) -> None:
    """Say on stderr what is being measured."""
    print(f"  {words}", file=sys.stderr, flush=True)


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
    """Run `argv` in `folder` by a meter. Raises BenchError if it fails, or takes minutes."""
    report = folder / f"{name}.json"
    try:
        reading = metered(argv, cwd=folder, env=environment(folder), report=report, timeout_seconds=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{Path(argv[0]).name} took more than {LIMIT_SECONDS} s") from None
    check_exit(reading, argv, report)
    return reading


def check_exit(reading: Reading, argv: list[str], report: Path) -> None:
    """Raises BenchError unless the exit code was 0."""
    if reading.exit_code != 0:
        said = report.with_suffix(".stderr").read_text(errors="replace")[-2000:]
        raise BenchError(f"exit code {reading.exit_code} of {Path(argv[0]).name}\n{argv}:\n{said}")


def check_all_succeeded(folder: Path, count: int) -> None:
    """Raises BenchError unless the newest run of `folder` recorded `count` successes."""
    argv = [*orchestrate_command(), "status", "--json"]
    status = subprocess.run(argv, cwd=folder, env=environment(folder), capture_output=True, check=True, timeout=120)
    succeeded = json.loads(status.stdout)["counts"].get("succeeded", 0)
    if succeeded != count:
        raise BenchError(f"{folder}: {succeeded} of {count} items succeeded")


def _seconds(found: Round) -> float:
    return sum(reading.wall_seconds for reading in found.values())
