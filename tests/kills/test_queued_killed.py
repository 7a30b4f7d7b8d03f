"""Items so short that their starts are queued: whatever is killed, each runs exactly once, and every result is there."""

from __future__ import annotations

import pytest
from drivers.run_driver import KILLED, RunDriver

COUNT = 64
ITEMS = [f"a:{index}" for index in range(COUNT)]

FAULTS = [
    (point, count)
    for point in ("supervisor.recorded", "supervisor.acted", "supervisor.outcome", "journal.written")
    for count in (16, 20, 24, 28)
]


def run_to_its_end(driver: RunDriver, fault: str = "", worker_fault: str = "") -> None:
    driver.write(f"[run]\nslots = 2\n[jobs.a]\nfor_each = {list(range(COUNT))}\nshell = '''{driver.witnessed()}'''\n")
    first = driver.run("--quiet", fault=fault, worker_fault=worker_fault).exit_code()
    assert first in (0, KILLED)
    driver.assert_exit(driver.run("--quiet"), 0)
    driver.assert_each_ran_once(ITEMS)
    assert [result["status"] for result in driver.results()] == ["succeeded"] * COUNT
    driver.assert_tidy()


def test_a_supervisor_killed_while_starts_are_queued_loses_nothing_and_runs_nothing_twice(driver: RunDriver) -> None:
    run_to_its_end(driver, fault="supervisor.acted:24")


@pytest.mark.slow
@pytest.mark.parametrize(("point", "count"), FAULTS)
def test_a_supervisor_killed_anywhere_while_starts_are_queued_loses_nothing(driver: RunDriver, point: str, count: int) -> None:
    run_to_its_end(driver, fault=f"{point}:{count}")


@pytest.mark.slow
@pytest.mark.parametrize("point", ["worker.begun", "worker.logged", "worker.sent"])
@pytest.mark.parametrize("count", [14, 20, 27])
def test_a_worker_killed_anywhere_while_starts_are_queued_loses_nothing(driver: RunDriver, point: str, count: int) -> None:
    run_to_its_end(driver, worker_fault=f"{point}:{count}")
