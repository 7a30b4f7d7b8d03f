"""What is told of a child that has ended, with the C library's call and with Python's."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable

import pytest

from orchestrator.workers.processes.reaping import Reaper


def in_a_process_without_children(check: Callable[[], None]) -> None:
    """Run `check` in a fork: the children of a test's own process are none of its business."""
    if (pid := os.fork()) == 0:
        code = 1
        try:
            check()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def check_what_is_told() -> None:
    reaper = Reaper()
    if (child := os.fork()) == 0:
        signal.pause()
    assert reaper.reap().pid == 0, "it lives"
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    reaped = reaper.reap()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (reaped.pid, reaped.status, reaped.max_rss) == (child, signal.SIGKILL, used.ru_maxrss)
    assert reaped.cpu_seconds == pytest.approx(used.ru_utime + used.ru_stime)
    assert reaper.reap().pid == -1, "there is no other"


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_child_is_told_of_as_the_kernel_counts_it(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    in_a_process_without_children(check_what_is_told)
