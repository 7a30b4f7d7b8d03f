"""Asking a living child run, through its own control socket, to do what its parent was asked to do.

The tree of a child's attempt is ended by signals like any other, but a child that is asked first ends its items in order, and
records why: as cancelled or interrupted, and not as failed. These functions wait, so they are called beside the loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.control.client import NoSupervisor, ask, stopped_supervisor
from orchestrator.control.messages import Request
from orchestrator.errors import UserError
from orchestrator.system.locks.holders import is_locked

_POLL_SECONDS = 0.05
_LONGEST_POLL_SECONDS = 1.0
"""Between two looks at a supervisor that does not hear: it may be stopped for hours."""
_ANSWER_SECONDS = 3.0


def have_ended(folder: Path, request: Request, is_over: Callable[[], bool], patience_seconds: float) -> None:
    """Ask the run in `folder` to end, as soon as it is up, and wait until nobody supervises it any more: at most so long.

    One that does not hear is left to the signals that come next. `is_over`: whether its attempt has ended.
    """
    deadline = time.monotonic() + patience_seconds

    def is_late() -> bool:
        return is_over() or time.monotonic() >= deadline

    tell(folder, request, is_late)
    while is_locked(folder / "supervisor.lock") and not is_late():
        time.sleep(_POLL_SECONDS)


def tell(folder: Path, request: Request, is_over: Callable[[], bool]) -> None:
    """Have the run in `folder` hear `request`, as soon as it is up; no more once `is_over`."""
    pause = _POLL_SECONDS
    while not is_over():
        # One that is stopped is not asked: each try would leave a request at its door, which it obeys when it goes on; and once
        # as many stand there as there is room for, each further try would fail at once.
        if stopped_supervisor(folder) is None:
            try:
                ask(folder, request, _ANSWER_SECONDS)
            except NoSupervisor:
                pause = _POLL_SECONDS  # the child's supervisor comes up, or is about to be over
            except UserError:
                pause = min(pause * 2, _LONGEST_POLL_SECONDS)  # it is busy
            else:
                return
        else:
            pause = min(pause * 2, _LONGEST_POLL_SECONDS)
        time.sleep(pause)
