"""Processes of a test: waiting for what they do, with a hard limit, and finding those that belong to a home."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

LIMIT_SECONDS = 60.0
"""For every wait. Only a hang takes that long: a test that passes never comes near it, whatever else the machine does."""

SETTLE_SECONDS = 30.0
"""How long a worker may take to notice that its supervisor is gone, on a machine that has much else to do."""

WAIT = "i=0; until test -e NAME; do i=$((i+1)); test $i -lt 3000 || exit 9; sleep 0.01; done"
"""A shell script that waits for the file NAME, for half a minute at most."""

sees_open_files = pytest.mark.skipif(os.getuid() != 0, reason="nobody but root sees the open files of a worker or a supervisor")


def wait_until(condition: Callable[[], Any], what: str, limit: float = LIMIT_SECONDS) -> Any:
    """The first true value of `condition`. Fails after `limit` seconds."""
    deadline = time.monotonic() + limit
    began = time.thread_time()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {limit:g} s: {what}"
        # A dear look, as at all records of a run, is taken less often: who looks all the time has others wait for the CPU.
        time.sleep(max(0.005, 3 * (time.thread_time() - began)))
        began = time.thread_time()
    return value


@contextmanager
def without_threads() -> Iterator[None]:
    """A machine that has no room for one more thread."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        yield


def is_living(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pids_in(path: Path, count: int) -> list[int]:
    """The pids that agents have written to `path`, one a line, once there are `count`."""
    wait_until(lambda: len(read_pids(path)) >= count, f"{count} pids in {path}")
    return read_pids(path)


def read_pids(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []


@contextmanager
def no_process_left(home: Path) -> Iterator[None]:
    """Afterwards no process belongs to a run in `home`, or it fails; also what a block that failed has left is ended."""
    older = _numbers()
    try:
        yield
    except BaseException:
        kill(processes_of(home))
        raise
    _, left = psutil.wait_procs(processes_of(home, older), timeout=SETTLE_SECONDS)
    if left:
        told = "\n".join(describe(process) for process in left)
        kill(left)
        pytest.fail(f"this test left processes behind:\n{told}")


def processes_of(home: Path, older: Collection[str] = ()) -> list[psutil.Process]:
    """Living processes that belong to a run in `home`: by its name in their environment or command line, or by their cwd.

    The cwd finds jobs that were started with an empty environment: a test's jobs run in its own folder, which holds its home.
    `older`: pids from before anything ran in `home`, which are not looked at; most tests look, and a machine has hundreds.
    """
    found = {int(number) for number in _numbers().difference(older) if _belongs_to(f"/proc/{number}", home)}
    if not found:
        return []
    found -= {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    living = []
    for pid in sorted(found):
        with contextlib.suppress(psutil.NoSuchProcess):
            living.append(psutil.Process(pid))
    return living


def _numbers() -> set[str]:
    return {name for name in os.listdir("/proc") if name.isdecimal()}


def _belongs_to(process: str, home: Path) -> bool:
    # Read here, and not by psutil, which takes three times as long for it; and searched as one text, not word by word.
    name = os.fsencode(home)
    try:
        with open(f"{process}/environ", "rb") as file:
            environment = b"\0%b\0" % file.read()
        # An agent is told its worker's folder alone.
        if b"\0ORCHESTRATE_HOME=%b\0" % name in environment or b"\0ORCHESTRATE_WORKER=%b/" % name in environment:
            return True
        with open(f"{process}/cmdline", "rb") as file:
            if name in file.read():
                return True
        return Path(os.readlink(f"{process}/cwd")).is_relative_to(home.parent)
    except OSError:  # gone, a zombie, or another user's: not ours
        return False


def describe(process: psutil.Process) -> str:
    """`PID COMMAND`, also of a process that has gone meanwhile."""
    try:
        return f"{process.pid} {process.cmdline()}"
    except psutil.Error:
        return f"{process.pid} (gone)"


def kill(processes: list[psutil.Process]) -> None:
    """SIGKILL to all, and wait until they are gone."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=SETTLE_SECONDS)
