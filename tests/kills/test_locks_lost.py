"""A file system that loses its lock service after the start (ENOLCK): exit 74, nothing is lost, and the run goes on later."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
from drivers.run_driver import RunDriver
from drivers.sweeps import sweep

from orchestrator.cli import main
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.locks import unlock

JOBS = """
[run]
slots = 2
[jobs.go]
for_each = [1, 2, 3]
pool = "site"
token = "work on {{ item }}"
shell = '''SHELL'''
[pools.site]
slots = 1
rate = "100/s"
"""


def lose_locks(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """From the call after so many on, this process can take and let go of no lock."""
    real, calls = fcntl.flock, 0

    def flock(fd: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("after", sweep([14, 15, *range(3, 14), *range(16, 40)], quick=2))
def test_a_run_ends_with_74_and_goes_on_when_there_are_locks_again(
    driver: RunDriver, after: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    driver.write(JOBS.replace("SHELL", driver.witnessed()))
    monkeypatch.chdir(driver.folder)
    with monkeypatch.context() as patched:
        lose_locks(patched, after)
        code = main(["run", "jobs.toml", "--run-id", driver.run_id, "--quiet"])
        said = capfd.readouterr().err
    assert (code, "No locks available" in said) in ((0, False), (74, True)), said
    code = main(["resume", driver.run_id, "--quiet"])
    assert code == 0, capfd.readouterr().err
    driver.assert_each_ran_once(["go:0", "go:1", "go:2"])


def test_a_lock_that_cannot_be_unlocked_is_let_go_with_its_last_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "0.lock"
    fd = try_lock(path)
    assert fd is not None
    with monkeypatch.context() as patched:
        lose_locks(patched, 0)
        unlock(fd)
    again = try_lock(path)
    assert again is not None
    os.close(again)
