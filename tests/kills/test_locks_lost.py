"""A file system that loses its lock service after the start (ENOLCK): exit 74, nothing is lost, and the run goes on later."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from drivers.processes import LIMIT_SECONDS
from drivers.run_driver import RunDriver
from drivers.sweeps import sweep

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


WITHOUT_LOCKS = """
import errno, fcntl, os, sys
from orchestrator.cli import main

real, left = fcntl.flock, int(sys.argv.pop(1))

def flock(fd, operation):
    global left
    left -= 1
    if left < 0:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    real(fd, operation)

fcntl.flock = flock
sys.exit(main(sys.argv[1:]))
"""
"""The command line, which can take and let go of no lock after so many calls. What it holds goes with its process."""


@pytest.mark.parametrize("after", sweep([14, 15, *range(3, 14), *range(16, 40)], quick=2))
def test_a_run_ends_with_74_and_goes_on_when_there_are_locks_again(driver: RunDriver, after: int) -> None:
    driver.write(JOBS.replace("SHELL", driver.witnessed()))
    words = ["run", "jobs.toml", "--run-id", driver.run_id, "--quiet"]
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_LOCKS, str(after), *words],
        cwd=driver.folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
    )
    assert (ended.returncode, "No locks available" in ended.stderr) in ((0, False), (74, True)), ended.stderr
    again = driver.launch("resume", driver.run_id, "--quiet")
    assert again.exit_code() == 0, again.stderr
    driver.assert_each_ran_once(["go:0", "go:1", "go:2"])


def test_a_lock_that_cannot_be_unlocked_is_let_go_with_its_last_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "0.lock"
    fd = try_lock(path)
    assert fd is not None

    def lose_locks(_fd: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", lose_locks)
        unlock(fd)
    again = try_lock(path)
    assert again is not None
    os.close(again)
