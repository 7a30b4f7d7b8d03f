"""Waiting for worker processes that have ended, or are about to: a zombie of each would stay as long as this process lives."""

from __future__ import annotations

import contextlib
import os
import threading
import time


def reap_by(pid: int, deadline: float) -> None:
    """Reap a worker that was let go. One that is stopped (SIGSTOP) must not hold us for ever."""
    pause = 0.0005
    with contextlib.suppress(ChildProcessError):  # somebody else in this process reaps children
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def reap_later(pid: int) -> None:
    """A program that goes on after its run broke off shall keep no zombie of a worker that goes on, too."""
    # Without room for a thread a zombie is the least of its troubles.
    with contextlib.suppress(RuntimeError):
        threading.Thread(target=exit_code_of, args=(pid,), name=f"reap-{pid}", daemon=True).start()


def exit_code_of(pid: int) -> int | None:
    """Of a worker that has ended, negative of a signal; None if the program around us reaps children that are not its own."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return None
