"""The state cannot be written (disk full, EIO, read-only): exit 74, words, nothing recorded lost, and a resume that completes."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.batch import GATED, ITEMS, assert_every_result_is_there, wait_for_the_others, write_batch
from drivers.processes import is_living, wait_until
from drivers.run_driver import RunDriver
from drivers.sweeps import sweep


@pytest.mark.parametrize(
    ("fault", "hint"),
    sweep(
        [
            ("journal.write:5:ENOSPC", "free some space there, then resume the run"),
            ("journal.sync:1:EIO", "mend that, then resume the run: what is recorded stays"),
            ("journal.write:9:EIO", "mend that, then resume the run: what is recorded stays"),
            ("journal.sync:3:ENOSPC", "free some space there, then resume the run"),
            ("journal.synced:2:EIO", "mend that, then resume the run: what is recorded stays"),
            ("journal.write:7:EROFS,control.closing:1:EROFS", "mend that, then resume the run: what is recorded stays"),
        ],
        quick=2,
    ),
)
def test_running_items_finish_and_leave_their_outcomes(driver: RunDriver, fault: str, hint: str) -> None:
    write_batch(driver)
    command = driver.run(fault=fault)
    wait_for_the_others(driver, command)
    if command.is_running:
        # All but the last have been recorded by then, or will fail to be when it ends.
        driver.open_gate()
    assert command.exit_code() == 74, command.stderr
    assert "cannot write state" in command.stderr
    assert hint in command.stderr
    assert "Traceback" not in command.stderr
    recorded = [result["item"] for result in driver.results() if result["status"] == "succeeded"]
    driver.open_gate()
    driver.assert_exit(driver.run(), 0)
    driver.assert_each_ran_once(ITEMS)
    assert_every_result_is_there(driver)
    assert set(recorded) <= {"list", *ITEMS}


@pytest.mark.parametrize(
    "point", sweep(["file.renamed", "file.written", "journal.created", "file.synced", "file.folder_synced"], quick=1)
)
def test_a_checkpoint_that_cannot_be_written(driver: RunDriver, point: str) -> None:
    write_batch(driver)
    command = driver.run()
    wait_for_the_others(driver, command)
    command.kill()
    # In a resume the checkpoint is the first whole file to be written.
    command = driver.run(fault=f"{point}:1:ENOSPC")
    wait_until(lambda: f"adopted {GATED}" in command.stderr or not command.is_running, "it is adopted")
    flush = driver.launch("flush", driver.run_id)
    flush.exit_code()
    assert command.exit_code() == 74, command.stderr
    assert "free some space there, then resume the run" in command.stderr
    assert flush.exit_code() != 0, "a flush that failed must not say that all is durable"
    assert driver.acts("begin")[GATED] == 1
    driver.open_gate()
    driver.assert_exit(driver.run(), 0)
    driver.assert_each_ran_once(ITEMS)
    assert_every_result_is_there(driver)


def test_a_new_run_that_cannot_be_written_leaves_none(driver: RunDriver) -> None:
    write_batch(driver)
    command = driver.run(fault="file.written:2:ENOSPC")
    assert command.exit_code() == 74, command.stderr
    assert "then run it again" in command.stderr
    assert "resume" not in command.stderr, "there is nothing to resume"
    assert driver.ask("list") == []
    assert not driver.acts("begin")
    driver.open_gate()
    driver.assert_exit(driver.run(), 0)
    driver.assert_each_ran_once(ITEMS)


@pytest.mark.parametrize("point", ["worker.log.write", "worker.capture"])
def test_workers_whose_files_cannot_be_written(driver: RunDriver, point: str) -> None:
    """The second attempt of a worker: its outcome may be lost with its files, those of all others may not."""
    write_batch(driver)
    command = driver.run(worker_fault=f"{point}:4:ENOSPC")
    driver.open_gate(count=9)
    assert command.exit_code() == 74, command.stderr
    assert "No space left on device" in command.stderr
    recorded = [result["item"] for result in driver.results() if result["status"] == "succeeded"]
    driver.assert_exit(driver.run(), 0)
    assert_every_result_is_there(driver)
    assert {driver.acts("begin")[item] for item in recorded if item in ITEMS} <= {1}


@pytest.mark.parametrize("is_draining", sweep([False, True], quick=1), ids=["running", "draining"])
def test_a_tree_that_is_being_ended_with_much_patience_does_not_hold_up_the_end(driver: RunDriver, is_draining: bool) -> None:
    """Its worker is dead, it ignores SIGTERM, and its grace is long: who cannot write leaves it to the resume."""
    body = f"trap '' TERM; echo $$ > pid; {driver.gated()}"
    driver.write(f'[run]\nslots = 1\n[jobs.deaf]\ngrace = "10m"\nshell = """{driver.witnessed(body)}"""\n')
    command = driver.run()
    driver.wait_for("begin", "deaf")
    deaf = int(wait_until(lambda: (driver.folder / "pid").exists() and (driver.folder / "pid").read_text(), "its pid"))
    worker = driver.worker_of("deaf")
    command.kill()
    os.kill(worker, signal.SIGKILL)
    command = driver.run(fault="file.written:1:ENOSPC")
    wait_until(lambda: "ending what it left behind" in command.stderr or not command.is_running, "its tree is being ended")
    if is_draining:
        command.send(signal.SIGTERM)
        wait_until(lambda: "stopping" in command.stderr, "it drains")
    command.send(signal.SIGUSR1)
    assert command.exit_code() == 74, command.stderr
    assert is_living(deaf), "it had ten minutes, which nobody waited for"
    os.kill(deaf, signal.SIGKILL)
    driver.open_gate()
    driver.assert_exit(driver.run(), 0)
    assert driver.acts("end") == {"deaf": 1}
    driver.assert_tidy()


@pytest.fixture
def small_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of half a MiB with the home on it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux may mount a file system")
    disk = home.parent / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", disk], capture_output=True, text=True, timeout=30
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    monkeypatch.setenv("ORCHESTRATE_HOME", str(disk / "home"))
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True, timeout=30)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True, timeout=30)


LARGE_KIB = 100


def write_large(driver: RunDriver) -> list[str]:
    """Eight items whose outputs are more than the disk holds."""
    body = f"head -c {LARGE_KIB * 1024} /dev/zero | tr '\\0' {{{{ item }}}}"
    driver.write(f"[run]\nslots = 2\n[jobs.go]\nfor_each = {list('abcdefgh')}\nshell = '''{driver.witnessed(body)}'''\n")
    return [f"go:{index}" for index in range(8)]


def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    driver = RunDriver(tmp_path, small_disk / "home")
    items = write_large(driver)
    command = driver.run()
    assert command.exit_code() == 74, command.stderr
    assert re.search("No space left on device|a write was cut short|the disk that takes its output is full", command.stderr)
    assert "resume the run" in command.stderr
    assert "Traceback" not in command.stderr
    recorded = [result["item"] for result in driver.results() if result["status"] == "succeeded"]
    assert 0 < len(recorded) < len(items)
    again = driver.run()
    assert again.exit_code() == 74, "it is still full"
    assert "Traceback" not in again.stderr
    before = driver.acts("begin")
    recorded = [result["item"] for result in driver.results() if result["status"] == "succeeded"]
    remount(small_disk, "size=8m")
    driver.assert_exit(driver.run(), 0)
    for index, result in enumerate(driver.results()):
        assert result["output"] == "abcdefgh"[index] * LARGE_KIB * 1024
    assert all(driver.acts("begin")[item] == before[item] for item in recorded), "what was recorded ran again"
    driver.assert_tidy()
    driver.close()


@pytest.mark.parametrize("slots", [2, pytest.param(0, marks=pytest.mark.slow)])
def test_an_output_that_the_disk_did_not_take_whole_is_no_success_whatever_the_exit_code(
    tmp_path: Path, small_disk: Path, slots: int
) -> None:
    driver = RunDriver(tmp_path, small_disk / "home")
    driver.write(
        f"[run]\nslots = {slots}\n"
        '[jobs.list]\nshell = "seq 200000 || true"\noutput = "lines"\n'
        '[jobs.count]\nshell = "echo {{ jobs.list.output | length }}; touch counted"\n'
    )
    command = driver.run()
    assert command.exit_code() == 74, command.stderr
    assert "the disk that takes its output is full" in command.stderr
    assert [each["status"] for each in driver.results() if each["item"] == "list"] != ["succeeded"]
    assert not (driver.folder / "counted").exists(), "it would have read half of the list"
    remount(small_disk, "size=16m")
    driver.assert_exit(driver.run(), 0)
    assert [each["output"] for each in driver.results() if each["item"] == "count"] == ["200000"]
    driver.close()


@pytest.mark.slow
def test_a_check_that_fails_for_a_full_disk_is_no_failure_of_what_it_checks(tmp_path: Path, small_disk: Path) -> None:
    driver = RunDriver(tmp_path, small_disk / "home")
    driver.write("[jobs.go]\nshell = 'true'\ncheck = 'head -c 1m /dev/zero'\n")
    command = driver.run()
    assert command.exit_code() == 74, command.stderr
    assert "the disk that takes its output is full" in command.stderr
    remount(small_disk, "size=16m")
    driver.assert_exit(driver.run(), 0)
    driver.close()


def test_a_disk_that_is_full_from_the_start(tmp_path: Path, small_disk: Path) -> None:
    driver = RunDriver(tmp_path, small_disk / "home")
    items = write_large(driver)
    driver.launch("list").exit_code()
    with (small_disk / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize)
    command = driver.run()
    assert command.exit_code() == 74, command.stderr
    assert "No space left on device" in command.stderr
    assert "Traceback" not in command.stderr
    assert not driver.acts("begin")
    remount(small_disk, "size=8m")
    driver.assert_exit(driver.run(), 0)
    driver.assert_each_ran_once(items)
    driver.close()


def test_a_read_only_home(tmp_path: Path, small_disk: Path) -> None:
    driver = RunDriver(tmp_path, small_disk / "home")
    driver.write(f"[run]\nslots = 1\n[jobs.go]\nfor_each = [0, 1]\nshell = '''{driver.witnessed(driver.gated())}'''\n")
    command = driver.run()
    driver.wait_for("begin", "go:0")
    worker = driver.worker_of("go:0")
    command.kill()
    driver.open_gate(count=2)
    wait_until(lambda: not is_living(worker), "the worker leaves")
    remount(small_disk, "ro")
    for arguments in (["resume", driver.run_id], ["run", "jobs.toml"], ["cancel", driver.run_id]):
        command = driver.launch(*arguments)
        assert command.exit_code() == 74, (arguments, command.stderr)
        assert "Read-only file system" in command.stderr
        assert "Traceback" not in command.stderr
    assert driver.ask("status", driver.run_id)["status"] == "interrupted"
    remount(small_disk, "rw")
    driver.assert_exit(driver.run(), 0)
    driver.assert_each_ran_once(["go:0", "go:1"])
    driver.close()


def test_a_cancel_that_could_not_be_recorded_is_told_as_such(driver: RunDriver) -> None:
    write_batch(driver)
    command = driver.run()
    wait_for_the_others(driver, command)
    wait_until(lambda: sum(each["status"] == "succeeded" for each in driver.results()) == len(ITEMS), "all but one are recorded")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Nothing more fits into the journal, and what is said still fits into the file that takes its stderr.
    (journal,) = driver.run_folder.glob("journal-*.jsonl")
    resource.prlimit(command.pid, resource.RLIMIT_FSIZE, (journal.stat().st_size, hard))
    driver.launch("cancel", driver.run_id).exit_code()
    assert command.exit_code() == 74, command.stderr
    assert "what was being cancelled was not recorded: cancel it once more" in command.stderr
    driver.assert_exit(driver.launch("cancel", driver.run_id), 0)
    assert [each["status"] for each in driver.results() if each["item"] == GATED] == ["cancelled"]
