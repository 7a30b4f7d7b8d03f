"""The supervisor is killed with SIGKILL at each named point: every item runs exactly once, and every result is there.

Workers outlive it, so not even what runs at that moment runs again.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from drivers.batch import ITEMS, assert_every_result_is_there, let_end, wait_for_the_others, write_batch
from drivers.processes import wait_until
from drivers.run_driver import KILLED, Command, RunDriver

POINTS = {
    "supervisor.listed": (1,),
    "supervisor.deciding": (1, 2, 7),
    "supervisor.recorded": (1, 4),
    "supervisor.acted": (1, 2, 5),
    "supervisor.outcome": (1, 2, 6),
    "supervisor.ending": (1,),
    "supervisor.ended": (1,),
    "journal.created": (1, 2),
    "journal.write": (1, 4),
    "journal.written": (1, 2, 8),
    "journal.sync": (1,),
    "journal.synced": (2,),
    "file.written": (1, 2, 4),
    "file.synced": (3,),
    "file.renamed": (2, 3, 4),
    "file.folder_synced": (1, 3),
    "checkpoint.switched": (1,),
}
"""Each point of the supervisor's side, and some passes at which a short run of ours comes there.

Of each point the last pass is tried here, when most has been recorded; the sweep goes through them all.
"""

FEW = {"supervisor.recorded", "supervisor.outcome"}
"""Where all these passes are tried: around what must neither be lost nor done twice."""

MANY = {"journal.write", "journal.sync", "journal.synced", "journal.created", "supervisor.listed"} | {
    f"file.{step}" for step in ("written", "synced", "renamed", "folder_synced")
}
"""Where only the sweep kills a whole supervisor: tests/store/test_durability_order.py kills a writer there."""

RESUME_FAULTS = [
    "supervisor.resuming:1",
    "supervisor.resuming:2",
    "supervisor.outcome:1",
    "journal.write:1",
    "journal.written:1",
    "journal.synced:1",
    "supervisor.recorded:1",
    "supervisor.acted:1",
    "file.written:1",
    "file.renamed:1",
    "journal.created:1",
    "checkpoint.switched:1",
    "supervisor.ended:1",
]
"""Where each resume of the row is killed; one that does not come there goes as far as it can."""


def assert_once(driver: RunDriver) -> None:
    driver.assert_each_ran_once(ITEMS)
    assert_every_result_is_there(driver)


PASSES = [
    pytest.param(point, count, marks=[] if (count == counts[-1] and point not in MANY) or point in FEW else pytest.mark.slow)
    for point, counts in POINTS.items()
    for count in counts
]


@pytest.mark.parametrize(("point", "count"), PASSES)
def test_a_supervisor_killed_anywhere_loses_nothing_and_runs_nothing_twice(driver: RunDriver, point: str, count: int) -> None:
    write_batch(driver)
    assert let_end(driver, driver.run(fault=f"{point}:{count}")) == KILLED, "the fault was never reached"
    driver.assert_exit(driver.run(), 0)
    assert_once(driver)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_supervisor_killed_at_every_pass_of_a_point(home: Path, tmp_path: Path, point: str) -> None:
    for count in range(1, 100):
        folder = tmp_path / str(count)
        folder.mkdir()
        driver = RunDriver(folder, home, f"crash-{count}")
        write_batch(driver)
        ended = let_end(driver, driver.run(fault=f"{point}:{count}"))
        driver.assert_exit(driver.run(), 0)
        assert_once(driver)
        driver.close()
        if ended != KILLED:
            assert count > 1, f"{point} is never passed"
            return
    raise AssertionError(f"{point} is passed more often than this test can tell")


@pytest.mark.slow
def test_resumes_that_are_killed_one_after_another(driver: RunDriver) -> None:
    write_batch(driver)
    assert driver.run(fault="supervisor.acted:4").exit_code() == KILLED
    killed = 0
    for fault in RESUME_FAULTS:
        command = driver.run(fault=fault)
        wait_for_the_others(driver, command)
        if fault == RESUME_FAULTS[-4]:
            driver.open_gate()
        if command.is_running and all(driver.acts("end")[item] for item in ITEMS if item != "work:4"):
            command.kill()
        killed += command.exit_code() == KILLED
    assert killed >= len(RESUME_FAULTS) - 2, "the resumes did not come to their faults"
    driver.open_gate()
    driver.assert_exit(driver.run(), 0)
    assert_once(driver)


def test_a_torn_group_is_cut_and_a_kill_while_it_is_cut_does_no_harm(driver: RunDriver) -> None:
    write_batch(driver)
    assert driver.run(fault="journal.written:7").exit_code() == KILLED
    driver.open_gate()
    [journal] = driver.run_folder.glob("journal-*.jsonl")
    whole = journal.read_bytes()
    for cut in (3, 40):
        journal.write_bytes(whole[:-cut])
        assert driver.run(fault="file.renamed:1").exit_code() == KILLED
        assert driver.run(fault="journal.cut:1").exit_code() == KILLED
    driver.assert_exit(driver.run(), 0)
    assert_every_result_is_there(driver)
    assert list(driver.run_folder.glob("journal-*.torn-*"))


def kill_at_random_times(driver: RunDriver, seed: int) -> None:
    """A kill comes after so many lines of the witness or so many records, whichever the dice say; five times, then to the end."""
    dice = random.Random(seed)
    write_batch(driver)
    for _ in range(5):
        command = driver.run()
        _wait_for_progress(driver, command, driver.bytes_written() + dice.randrange(1, 2500))
        command.kill()
        if dice.random() < 0.3:
            driver.open_gate()
    driver.open_gate()
    driver.assert_exit(driver.run(), 0)
    assert_once(driver)


def _wait_for_progress(driver: RunDriver, command: Command, wanted: int) -> None:
    wait_until(lambda: not command.is_running or driver.bytes_written() >= wanted or _waits_at_gate(driver), f"{wanted} bytes")


def _waits_at_gate(driver: RunDriver) -> bool:
    return sum(driver.acts("end").values()) == len(ITEMS) - 1


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_kills_at_random_times(driver: RunDriver, seed: int) -> None:
    kill_at_random_times(driver, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_many_kills_at_random_times(driver: RunDriver, seed: int) -> None:
    kill_at_random_times(driver, seed)
