"""Items so short that their starts are queued: whatever is killed, each runs exactly once, and every result is there.

A queue may last for a minute here, so starts are surely queued, and stay so while a test looks at them.
"""

from __future__ import annotations

import os
import signal

import pytest
from drivers.processes import wait_until
from drivers.run_driver import KILLED, Command, RunDriver
from drivers.sweeps import sweep

from orchestrator.store.load import read_history
from orchestrator.store.run_dir import RunDir

COUNT = 64
ITEMS = [f"a:{index}" for index in range(COUNT)]
PATIENT = "queue.seconds=60"

FAULTS = [
    (point, count)
    for point in ("supervisor.recorded", "supervisor.acted", "supervisor.outcome", "journal.written")
    for count in (8, 14, 20, 26)
]


def write(driver: RunDriver, body: str = ":", keys: str = "") -> None:
    shell = driver.witnessed(body)
    driver.write(f"[run]\nslots = 2\n[jobs.a]\nfor_each = {list(range(COUNT))}\n{keys}\nshell = '''{shell}'''\n")


def queued(driver: RunDriver) -> list[int]:
    """The items that are recorded as queued, and may have begun and ended since."""
    return [index for _, index in read_history(RunDir(driver.run_folder)).queued]


def run_to_its_end(driver: RunDriver, fault: str = "", worker_fault: str = "") -> None:
    write(driver)
    first = driver.run("--quiet", fault=f"{PATIENT},{fault}", worker_fault=worker_fault).exit_code()
    assert first in (0, KILLED)
    driver.assert_exit(driver.run("--quiet"), 0)
    all_is_well(driver)


def all_is_well(driver: RunDriver) -> None:
    driver.assert_each_ran_once(ITEMS)
    assert [result["status"] for result in driver.results()] == ["succeeded"] * COUNT
    driver.assert_tidy()


def with_some_queued_behind_the_gate(driver: RunDriver, keys: str = "") -> Command:
    """a:30 stands at a gate, and others are queued behind it: in the other slot all that can go on has ended."""
    write(driver, f"test {{{{ item }}}} != 30 || {driver.gated()}", keys)
    command = driver.run("--quiet", fault=PATIENT)
    driver.wait_for("begin", "a:30")
    # Those that began before it in its queue are none of them.
    wait_until(lambda: len(driver.acts("end")) + len(left(driver)) + 1 == COUNT, "all others have ended")
    assert left(driver)
    return command


def left(driver: RunDriver) -> list[int]:
    """The items that are queued and have not begun."""
    begun = driver.acts("begin")
    return [index for index in queued(driver) if f"a:{index}" not in begun]


@pytest.mark.parametrize("killed", sweep(["supervisor", "worker", "supervisor, worker", "worker, supervisor"], quick=1))
def test_what_is_queued_behind_one_that_lasts_is_run_once_whatever_is_killed(driver: RunDriver, killed: str) -> None:
    command = with_some_queued_behind_the_gate(driver, "attempts = 2\nretry = { delay = 0 }")
    waiting = [f"a:{index}" for index in left(driver)]
    worker = driver.worker_of("a:30")
    for each in killed.split(", "):
        if each == "worker":
            os.kill(worker, signal.SIGKILL)
        else:
            command.kill()
    if "supervisor" in killed:
        command = driver.run("--quiet", fault=PATIENT)
    # They do not wait for the one that stands at the gate.
    driver.wait_for("end", *waiting)
    times = 2 if "worker" in killed else 1
    driver.wait_for("begin", "a:30", times=times)
    driver.open_gate()
    driver.assert_exit(command, 0)
    assert driver.acts("begin") == dict.fromkeys(ITEMS, 1) | {"a:30": times}
    assert driver.acts("end") == dict.fromkeys(ITEMS, 1)
    driver.assert_tidy()


@pytest.mark.slow
@pytest.mark.parametrize(("point", "count"), FAULTS)
def test_a_supervisor_killed_anywhere_while_starts_are_queued_loses_nothing(driver: RunDriver, point: str, count: int) -> None:
    run_to_its_end(driver, fault=f"{point}:{count}")


@pytest.mark.slow
@pytest.mark.parametrize("point", ["worker.begun", "worker.logged", "worker.sent"])
@pytest.mark.parametrize("count", [14, 20, 27])
def test_a_worker_killed_anywhere_while_starts_are_queued_loses_nothing(driver: RunDriver, point: str, count: int) -> None:
    run_to_its_end(driver, worker_fault=f"{point}:{count}")
