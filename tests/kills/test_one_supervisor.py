"""Two at once: one supervisor a run, and what a second run of the same file does."""

from __future__ import annotations

import time

import pytest
from drivers.processes import wait_until
from drivers.run_driver import Command, RunDriver

from orchestrator.system.locks.holders import is_locked


@pytest.fixture
def living(driver: RunDriver) -> Command:
    """A run whose one item stands at the gate."""
    driver.write(f"[jobs.go]\nshell = '''{driver.witnessed(driver.gated())}'''\n")
    command = driver.run()
    driver.wait_for("begin", "go")
    return command


def let_end(driver: RunDriver, living: Command, times: int = 1) -> None:
    driver.open_gate(count=times)
    driver.assert_exit(living, 0)


def run_ids(driver: RunDriver) -> list[str]:
    return sorted(path.name for path in (driver.home / "runs").iterdir() if (path / "checkpoint.json").exists())


def test_a_second_resume_names_the_holder_and_leaves_while_that_goes_on(driver: RunDriver, living: Command) -> None:
    began = time.monotonic()
    second = driver.launch("resume", driver.run_id)
    assert second.exit_code() == 75
    assert time.monotonic() - began >= 1.0, "it tries for a second"
    assert living.is_running
    assert f"run {driver.run_id} is supervised by process {living.pid} since " in second.stderr
    assert f"orchestrate stop {driver.run_id}" in second.stderr
    let_end(driver, living)
    assert driver.acts("begin")["go"] == 1


def test_a_run_id_that_exists_is_refused(driver: RunDriver, living: Command) -> None:
    second = driver.launch("run", "jobs.toml", "--run-id", driver.run_id)
    assert second.exit_code() == 2
    assert f"run {driver.run_id} exists already" in second.stderr
    let_end(driver, living)
    third = driver.launch("run", "jobs.toml", "--run-id", driver.run_id)
    assert third.exit_code() == 2


def test_resume_of_a_living_run_by_its_file_is_held(driver: RunDriver, living: Command) -> None:
    second = driver.launch("run", "jobs.toml", "--resume")
    assert second.exit_code() == 75
    assert driver.run_id in second.stderr
    let_end(driver, living)


def test_resume_by_file_continues_the_newest_unfinished_run_and_else_starts_one(driver: RunDriver, living: Command) -> None:
    living.kill()
    driver.open_gate(count=2)
    driver.assert_exit(driver.launch("run", "jobs.toml", "--resume"), 0)
    assert run_ids(driver) == [driver.run_id]
    driver.assert_each_ran_once(["go"])
    driver.assert_exit(driver.launch("run", "jobs.toml", "--resume"), 0)
    assert len(run_ids(driver)) == 2
    assert driver.acts("end")["go"] == 2


@pytest.mark.slow
def test_resume_by_file_leaves_an_old_run_and_a_failed_one(driver: RunDriver) -> None:
    driver.write(f"[inputs]\ncode = 0\n[jobs.go]\nshell = '''{driver.witnessed('exit {{ inputs.code }}')}'''\n")
    driver.assert_exit(driver.run(), 0)
    assert driver.launch("run", "jobs.toml", "--run-id", "failed", "-i", "code=3").exit_code() == 1
    assert driver.launch("run", "jobs.toml", "--resume", "-i", "code=3").exit_code() == 1
    assert len(run_ids(driver)) == 3, "a failed run is not continued by itself"
    assert driver.launch("run", "jobs.toml", "--run-id", "killed", fault="supervisor.ending:1").exit_code() == -9
    driver.assert_exit(driver.launch("run", "jobs.toml", "--resume", "--max-age", "0s"), 0)
    assert len(run_ids(driver)) == 5, "a run that is older than --max-age is not continued"


@pytest.mark.parametrize(("overlap", "code"), [("skip", 0), ("fail", 75)])
def test_overlap_skip_and_fail(driver: RunDriver, living: Command, overlap: str, code: int) -> None:
    for resume in ([], ["--resume"]):
        second = driver.launch("run", "jobs.toml", "--overlap", overlap, *resume)
        assert second.exit_code() == code
        assert driver.run_id in second.stderr
    assert run_ids(driver) == [driver.run_id]
    let_end(driver, living)


def test_overlap_wait_runs_after_the_living_one(driver: RunDriver, living: Command) -> None:
    second = driver.launch("run", "jobs.toml", "--overlap", "wait")
    driver.open_gate(count=2)
    driver.assert_exit(living, 0)
    driver.assert_exit(second, 0)
    assert [line.split()[0] for line in driver.witness.read_text().splitlines()] == ["begin", "end"] * 2


def test_overlap_allow_runs_beside_it(driver: RunDriver, living: Command) -> None:
    second = driver.launch("run", "jobs.toml")
    driver.wait_for("begin", "go", times=2)
    driver.open_gate(count=2)
    driver.assert_exit(living, 0)
    driver.assert_exit(second, 0)
    assert len(run_ids(driver)) == 2


def test_of_two_cron_lines_of_the_same_second_one_runs(driver: RunDriver) -> None:
    driver.write(f"[jobs.go]\nshell = '''{driver.witnessed(driver.gated())}'''\n")
    lines = [driver.launch("run", "jobs.toml", "--resume", "--overlap", "skip") for _ in range(2)]
    wait_until(lambda: sum(line.is_running for line in lines) == 1, "one of them leaves")
    driver.wait_for("begin", "go")
    [skipped] = [line for line in lines if not line.is_running]
    [running] = [line for line in lines if line.is_running]
    driver.assert_exit(skipped, 0)
    assert "skipped: run " in skipped.stderr
    let_end(driver, running)
    driver.assert_each_ran_once(["go"])
    assert len(run_ids(driver)) == 1


def test_of_two_resumes_of_the_same_moment_one_runs(driver: RunDriver, living: Command) -> None:
    living.kill()
    both = [driver.launch("resume", driver.run_id) for _ in range(2)]
    wait_until(lambda: sum(each.is_running for each in both) == 1, "one of them leaves")
    [held] = [each for each in both if not each.is_running]
    assert held.exit_code() == 75, held.stderr
    [running] = [each for each in both if each.is_running]
    let_end(driver, running)
    driver.assert_each_ran_once(["go"])


def test_a_lock_file_that_is_removed_beside_a_living_supervisor_lets_no_second_one_in(driver: RunDriver) -> None:
    """The first goes on and puts the file back; what others ask of the run is answered as before."""
    shell = driver.witnessed(driver.gated())
    driver.write(f"[run]\nslots = 1\n[jobs.go]\nfor_each = [1, 2, 3]\nshell = '''{shell}'''\n")
    first = driver.run()
    driver.wait_for("begin", "go:0")
    lock, socket = driver.run_folder / "supervisor.lock", driver.run_folder / "control.sock"
    for item in ("go:0", "go:1"):
        lock.unlink()
        if item == "go:1":
            lock.touch()
        second = driver.launch("resume", driver.run_id)
        assert second.exit_code() == 75, second.stderr
        assert f"run {driver.run_id} is supervised by process {first.pid} since " in second.stderr
        pruned = driver.launch("prune", "--older-than", "0s")
        driver.assert_exit(pruned, 0)
        wait_until(lambda: is_locked(lock), "the lock file is put back")
        socket.unlink()
        wait_until(socket.is_socket, "the socket is put back")
        driver.assert_exit(driver.launch("flush", driver.run_id), 0)
        driver.open_gate()
        driver.wait_for("end", item)
    driver.open_gate()
    driver.assert_exit(first, 0)
    driver.assert_each_ran_once(["go:0", "go:1", "go:2"])
    assert [result["status"] for result in driver.results()] == ["succeeded"] * 3


def test_a_run_folder_that_is_moved_away_ends_its_supervisor_and_goes_on_where_it_was(driver: RunDriver, living: Command) -> None:
    moved = driver.run_folder.with_name("moved")
    driver.run_folder.rename(moved)
    driver.open_gate()
    assert living.exit_code() == 74, living.stderr
    assert "the folder of the run is gone" in living.stderr
    assert not driver.run_folder.exists(), "nothing is made in its place: it could not be put back"
    moved.rename(driver.run_folder)
    driver.assert_exit(driver.run(), 0)
    driver.assert_each_ran_once(["go"])


def test_a_journal_that_is_edited_beside_a_living_supervisor_costs_nothing(driver: RunDriver) -> None:
    """`sed -i` puts another file in its place: the supervisor begins the next generation with all that it has written."""
    shell = driver.witnessed(driver.gated())
    driver.write(f"[run]\nslots = 1\n[jobs.go]\nfor_each = [1, 2, 3]\nshell = '''{shell}'''\n")
    first = driver.run()
    driver.open_gate(count=2)
    driver.wait_for("begin", "go:2")
    journal = driver.run_folder / "journal-1.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    edited = journal.with_name("edited")
    edited.write_bytes(b"".join(lines[:5] + lines[6:]))
    edited.rename(journal)
    wait_until(lambda: (driver.run_folder / "journal-2.jsonl").exists() and not journal.exists(), "a new generation")
    first.kill()
    driver.open_gate()
    driver.assert_exit(driver.launch("resume", driver.run_id), 0)
    driver.assert_each_ran_once(["go:0", "go:1", "go:2"])
