"""Asking a child run to do what its parent was asked to do: one that does not hear costs next to nothing, however long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.control.messages import Pause, Reply, Request
from orchestrator.errors import RunHeldError
from orchestrator.supervisor import child_asks

HOLDER = """
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """What holds the lock of a child run in `tmp_path`."""
    argv = [sys.executable, "-S", "-c", HOLDER, tmp_path / "supervisor.lock"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder
        holder.kill()


class Patience:
    """Sleeps that take no time; `hour_is_over` once they would have taken an hour."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept: list[float] = []
        monkeypatch.setattr(time, "sleep", self.slept.append)

    def hour_is_over(self) -> bool:
        return sum(self.slept) >= 3600


def test_a_stopped_child_is_looked_at_once_a_second_and_never_asked(
    child: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Request] = []
    monkeypatch.setattr(child_asks, "ask", lambda _folder, request, _seconds: asked.append(request))
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    patience = Patience(monkeypatch)
    child_asks.tell(tmp_path, Pause(), patience.hour_is_over)
    assert asked == [], "each request that is left at its door would be obeyed when it goes on"
    assert len(patience.slept) < 3600 + 10
    child.send_signal(signal.SIGCONT)
    os.waitid(os.P_PID, child.pid, os.WCONTINUED)
    child_asks.tell(tmp_path, Pause(), lambda: False)
    assert asked == [Pause()]


def test_a_child_that_is_busy_is_asked_ever_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def ask(_folder: Path, request: Request, _seconds: float) -> Reply:
        asked.append(request)
        raise RunHeldError("its supervisor does not answer", "ask again later")

    monkeypatch.setattr(child_asks, "ask", ask)
    patience = Patience(monkeypatch)
    child_asks.tell(tmp_path, Pause(), patience.hour_is_over)
    assert len(asked) < 3600 + 10
