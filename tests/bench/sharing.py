"""What tokens and pools cost: a token an item, duplicates, a pool's slot that goes from one run to the other, waiting for them.

Only differences and ratios between rounds of the same minutes count: what else the machine does, both sides bear.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from contest import BenchError, Spread, check_all_succeeded, environment, measured, told
from contestants import JOB, orchestrate_command, write_items
from meter import Reading

SLOTS = 2
DUPLICATES_OF_ONE = 10
SETTLE_SECONDS = 5.0
HOLD_SECONDS, BACKOFF_SECONDS = 0.4, 0.1
"""The other run waits for the slot long before it is let go, and who let it go cannot take it again at once."""


@dataclass(frozen=True)
class TokenCost:
    """What distinct tokens add to an item of /bin/true, in rounds of `count` items with and without them."""

    count: int
    rounds: int
    cpu_ms: Spread
    wall_ms: Spread


@dataclass(frozen=True)
class Duplicates:
    """`count` items of which nine in ten are duplicates, to as many distinct ones."""

    count: int
    rounds: int
    wall_ratio: Spread
    cpu_ratio: Spread


@dataclass(frozen=True)
class Handover:
    """Milliseconds from the end of what held a pool's only slot to the start of what waited for it in another run."""

    count: int
    milliseconds: Spread


@dataclass(frozen=True)
class Idle:
    """CPU of a supervisor that waits, in percent of a core."""

    what: str
    percent: float


@dataclass(frozen=True)
class Sharing:
    """All of it. `idle_seconds`: how long those who wait were watched."""

    token: TokenCost
    duplicates: Duplicates
    handover: Handover
    idle: list[Idle]
    idle_seconds: float


def measure_sharing(scratch: Path, *, is_quick: bool) -> Sharing:
    """Raises BenchError."""
    idle_seconds = 5.0 if is_quick else 10.0
    return Sharing(
        measure_token_cost(200 if is_quick else 1_000, 1 if is_quick else 5, scratch),
        measure_duplicates(200 if is_quick else 2_000, 1 if is_quick else 3, scratch),
        measure_handover(6 if is_quick else 16, scratch),
        measure_idle(idle_seconds, scratch),
        idle_seconds,
    )


def measure_token_cost(count: int, rounds: int, scratch: Path) -> TokenCost:
    """The same items without and with a token each, in alternating rounds."""
    pairs = _in_turns(scratch / "token", count, rounds, None, "t {{ item }}")
    return TokenCost(
        count,
        rounds,
        Spread.of([1000 * (with_it.cpu_seconds - without.cpu_seconds) / count for without, with_it in pairs]),
        Spread.of([1000 * (with_it.wall_seconds - without.wall_seconds) / count for without, with_it in pairs]),
    )


def measure_duplicates(count: int, rounds: int, scratch: Path) -> Duplicates:
    """Distinct tokens, and a tenth as many, in alternating rounds."""
    few = f"t {{{{ index % {count // DUPLICATES_OF_ONE} }}}}"
    pairs = _in_turns(scratch / "duplicates", count, rounds, "t {{ item }}", few)
    return Duplicates(
        count,
        rounds,
        Spread.of([duplicates.wall_seconds / distinct.wall_seconds for distinct, duplicates in pairs]),
        Spread.of([duplicates.cpu_seconds / distinct.cpu_seconds for distinct, duplicates in pairs]),
    )


def measure_handover(count: int, scratch: Path) -> Handover:
    """Two runs, an item each that takes the pool's only slot again and again: it fails, and is retried after a while."""
    folder = scratch / "handover"
    folder.mkdir()
    attempts = count // 2 + 1
    running = []
    for name in ("one", "two"):
        # The time for which the slot is held is another each time, so that no rhythm of the look at it is met.
        script = (
            f"echo $(date +%s%N) {name} >> begun; sleep {HOLD_SECONDS:.1f}$((ORCHESTRATE_ATTEMPT * 37 % 100 / 10)); "
            f"echo $(date +%s%N) {name} >> ended; test $ORCHESTRATE_ATTEMPT -ge {attempts}"
        )
        (folder / f"{name}.toml").write_text(
            "[run]\nslots = 1\n\n[pools.shared]\nslots = 1\n\n"
            f"[jobs.take]\nshell = '{script}'\npool = \"shared\"\nattempts = {attempts}\n"
            f'retry = {{ delay = "{BACKOFF_SECONDS}s", backoff = 1 }}\n'
        )
        running.append(_start(folder, name))
    limit = 60 + 2 * count * (HOLD_SECONDS + BACKOFF_SECONDS)
    for process in running:
        if process.wait(timeout=limit) != 0:
            raise BenchError(f"{process.args!r}: exit code {process.returncode}")
    begun, ended = _moments(folder / "begun"), _moments(folder / "ended")
    taken = [
        1000 * (start - end)
        for (end, who_ended), (start, who_began) in zip(ended, begun[1:], strict=False)
        if who_began != who_ended
    ]
    if len(taken) < count / 2:
        raise BenchError(f"{folder}: only {len(taken)} of {count} times the slot went to the other run")
    return Handover(len(taken), Spread.of(taken))


def measure_idle(seconds: float, scratch: Path) -> list[Idle]:
    """One run holds everything, the others wait for it."""
    folder = scratch / "idle"
    folder.mkdir()
    write_items(folder, 1_000)
    (folder / "hundred.txt").write_text("".join(f"{number}\n" for number in range(100)))
    pool = "[pools.full]\nslots = 1\n"
    thousand = 'for_each = { lines = "items.txt" }\ncommand = ["sleep", "3600"]\n'
    hundred = 'for_each = { lines = "hundred.txt" }\ncommand = ["false"]\ntoken = "hundred {{ item }}"\n'
    (folder / "holder.toml").write_text(
        f"[run]\nslots = 4\n\n{pool}\n"
        '[jobs.one]\ncommand = ["sleep", "3600"]\ntoken = "one"\npool = "full"\n\n'
        # Kept through a backoff: a hundred tokens in flight without a hundred processes.
        f'[jobs.hundred]\n{hundred}attempts = 2\nretry = {{ delay = "1h" }}\n'
    )
    waiters = {
        "1,000 items that wait for one token": ("same", f'[jobs.wait]\n{thousand}token = "one"\n'),
        "100 items that wait for a token each": ("each", f"[jobs.wait]\n{hundred}"),
        "1,000 items that wait for a slot of a pool": ("pool", f'{pool}\n[jobs.wait]\n{thousand}pool = "full"\n'),
    }
    with _run_until_killed(folder, "holder"):
        time.sleep(SETTLE_SECONDS)
        for name, text in waiters.values():
            (folder / f"{name}.toml").write_text(text)
        with (
            _run_until_killed(folder, "same") as same,
            _run_until_killed(folder, "each") as each,
            _run_until_killed(folder, "pool") as slot,
        ):
            time.sleep(SETTLE_SECONDS)
            supervisors = [psutil.Process(process.pid) for process in (same, each, slot)]
            before = [_cpu_seconds(supervisor) for supervisor in supervisors]
            begun = time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - begun
            spent = [_cpu_seconds(supervisor) - cpu for supervisor, cpu in zip(supervisors, before, strict=True)]
            left = [process for process in (same, each, slot) if process.poll() is not None]
    if left:
        raise BenchError(f"{left[0].args!r}: exit code {left[0].returncode}, and it should wait")
    return [Idle(what, 100 * cpu / took) for what, cpu in zip(waiters, spent, strict=True)]


def _in_turns(scratch: Path, count: int, rounds: int, first: str | None, second: str) -> list[tuple[Reading, Reading]]:
    """Runs of `count` items with the one token and the other, each round in the other order."""
    found = []
    for number in range(rounds):
        told(f"{scratch.name}: {count:,} items, round {number + 1}")
        folders = scratch / f"{number}-first", scratch / f"{number}-second"
        for folder, token in zip(folders, (first, second), strict=True):
            folder.mkdir(parents=True)
            write_items(folder, count)
            line = f'token = "{token}"\n' if token is not None else ""
            (folder / "jobs.toml").write_text(
                f'[run]\nslots = {SLOTS}\n\n[jobs.noop]\nfor_each = {{ lines = "items.txt" }}\ncommand = ["{JOB}"]\n{line}'
            )
        readings = {}
        for folder in folders if number % 2 == 0 else reversed(folders):
            readings[folder] = measured([*orchestrate_command(), "run", "jobs.toml", "--quiet"], folder)
            check_all_succeeded(folder, count)
        found.append((readings[folders[0]], readings[folders[1]]))
    return found


def _start(folder: Path, name: str) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.stderr").open("wb") as stderr:
        return subprocess.Popen(
            [*orchestrate_command(), "run", f"{name}.toml", "--quiet"],
            cwd=folder,
            env=environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )


@contextmanager
def _run_until_killed(folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    process = _start(folder, name)
    try:
        yield process
    finally:
        for _ in range(2):  # the second ends at once what runs
            process.terminate()
            time.sleep(0.5)
        process.wait(timeout=30)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _moments(path: Path) -> list[tuple[float, str]]:
    """Seconds, and which run, in the order of time."""
    fields = (line.split() for line in path.read_text().splitlines())
    return sorted((int(nanoseconds) / 1e9, name) for nanoseconds, name in fields)
