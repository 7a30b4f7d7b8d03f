"""Pools between real processes: kills free, different sizes never exceed the larger, one rate for all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.jobsfile.model import Pool, Rate
from orchestrator.shared.pools.rates import PoolRate
from orchestrator.shared.pools.slots import PoolSlots

LIMIT_SECONDS = 60.0

PRELUDE = """
import os, sys, time
from pathlib import Path
from orchestrator.jobsfile.model import Pool, Rate
from orchestrator.shared.pools.rates import PoolRate, boot_nanoseconds
from orchestrator.shared.pools.slots import PoolSlots
from orchestrator.workers import faultpoints
from orchestrator.workers.locks import unlock
home = Path(sys.argv[1])
"""


class Crowd:
    """Processes that use the pools of one home; none is left at the end."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._started: list[subprocess.Popen[str]] = []

    def start(self, code: str, *arguments: object) -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", PRELUDE + code, str(self.home), *map(str, arguments)]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._started.append(process)
        return process

    def output(self, process: subprocess.Popen[str], exit_code: int = 0) -> str:
        told, _ = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == exit_code
        return told

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate(timeout=LIMIT_SECONDS)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    crowd = Crowd(tmp_path)
    yield crowd
    crowd.close()


HOLD = """
fds = [PoolSlots(home, Pool(name="api", slots=int(sys.argv[2]))).try_take_slot(f"run/{n} mark") for n in range(int(sys.argv[3]))]
assert None not in fds
print("held", flush=True)
sys.stdin.read()
"""


def held_by(crowd: Crowd, slots: int, count: int) -> subprocess.Popen[str]:
    process = crowd.start(HOLD, slots, count)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_kill_frees_the_slots_of_a_pool(crowd: Crowd) -> None:
    holder = held_by(crowd, 2, 2)
    pool = PoolSlots(crowd.home, Pool(name="api", slots=2))
    before = pool.stamp()
    assert pool.try_take_slot("me") is None
    assert sorted(pool.holders()) == ["run/0 mark", "run/1 mark"]
    holder.kill()
    crowd.output(holder, -signal.SIGKILL)
    assert pool.stamp() == before, "nobody touches the lock of a killed holder: only the real look sees it"
    assert pool.is_any_free()
    fd = pool.try_take_slot("me")
    assert fd is not None
    os.close(fd)


def test_a_holder_that_is_stopped_keeps_its_slot_and_is_named(crowd: Crowd) -> None:
    holder = held_by(crowd, 1, 1)
    holder.send_signal(signal.SIGSTOP)
    pool = PoolSlots(crowd.home, Pool(name="api", slots=1))
    assert pool.try_take_slot("me") is None
    assert not pool.is_any_free()
    assert pool.holders() == ["run/0 mark"]
    holder.send_signal(signal.SIGCONT)


TAKE_AND_LET_GO = """
slots, rounds = int(sys.argv[2]), int(sys.argv[3])
pool = PoolSlots(home, Pool(name="api", slots=slots))
witness = os.open(home / "witness", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
print("ready", flush=True)
sys.stdin.readline()
while rounds:
    fd = pool.try_take_slot(f"run/{slots} mark")
    if fd is not None:
        os.write(witness, b"+%d\\n" % slots)
        time.sleep(0.0005)
        os.write(witness, b"-%d\\n" % slots)
        unlock(fd)
        rounds -= 1
    time.sleep(0.0002)
"""


def test_processes_with_two_sizes_of_one_pool_never_hold_more_than_the_larger(crowd: Crowd) -> None:
    processes = [crowd.start(TAKE_AND_LET_GO, slots, 60) for slots in (2, 4, 2, 4, 2, 4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # together: else the first may be done before the last has begun
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        crowd.output(process)
    holding = {"2": 0, "4": 0}
    most = {"small": 0, "all": 0}
    lines = (crowd.home / "witness").read_text().splitlines()
    assert len(lines) == 2 * 6 * 60
    for line in lines:
        holding[line[1]] += 1 if line[0] == "+" else -1
        most["small"] = max(most["small"], holding["2"])
        most["all"] = max(most["all"], sum(holding.values()))
    assert most["small"] <= 2
    assert 2 <= most["all"] <= 4


START_BY_RATE = """
count, starts, seconds = int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
faultpoints.arm(sys.argv[5])
log = PoolRate(home, Pool(name="api", rate=Rate(starts, seconds)))
while count:
    before = boot_nanoseconds()
    wait = log.try_grant_start()
    if wait is None:
        print(before, boot_nanoseconds(), flush=True)
        count -= 1
    else:
        time.sleep(wait)
"""


def most_in_a_span(told: str, seconds: float) -> int:
    """The most starts that certainly lie in one span: each lies between the two times of its line."""
    befores, afters = zip(*((int(before), int(after)) for before, after in map(str.split, told.splitlines())), strict=True)
    first, last = sorted(befores), sorted(afters)
    span = seconds * 1e9
    return max(sum(1 for place in range(here, len(first)) if last[place] - first[here] < span) for here in range(len(first)))


def test_eight_processes_share_one_rate(crowd: Crowd) -> None:
    told = "".join(map(crowd.output, [crowd.start(START_BY_RATE, 5, 10, 0.4, "") for _ in range(8)]))
    assert len(told.splitlines()) == 40
    assert most_in_a_span(told, 0.4) <= 10


def test_two_runs_with_different_rates_each_keep_their_own(crowd: Crowd) -> None:
    quick = [crowd.start(START_BY_RATE, 12, 8, 0.2, "") for _ in range(2)]
    told = "".join(map(crowd.output, quick))
    assert most_in_a_span(told, 0.2) <= 8
    slow = PoolRate(crowd.home, Pool(name="api", rate=Rate(24, 3600)))
    wait = slow.try_grant_start()
    assert wait is not None, "the starts of the quick ones count"
    assert 3500 < wait <= 3600


def test_kills_in_the_middle_of_a_start_neither_lock_the_rate_nor_loosen_it(crowd: Crowd) -> None:
    killed = "".join(
        crowd.output(crowd.start(START_BY_RATE, 9, 6, 0.3, f"rate.noted:{passes}"), -signal.SIGKILL) for passes in (1, 2, 4)
    )
    assert len(killed.splitlines()) == 0 + 1 + 3, "who was killed before the count was written was not granted"
    crowd.output(crowd.start(START_BY_RATE, 1, 2000, 0.3, "rate.log_written"), -signal.SIGKILL)
    told = "".join(map(crowd.output, [crowd.start(START_BY_RATE, 4, 6, 0.3, "") for _ in range(3)]))
    assert len(told.splitlines()) == 12
    assert most_in_a_span(killed + told, 0.3) <= 6
