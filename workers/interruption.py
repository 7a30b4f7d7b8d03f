"""The end of an attempt that comes in the midst of long work of ours: a call of git, a copy, a sync.

Promise: within `heeding` all such work hears what is asked of the attempt, however deep it is called: no function on the way has
to hand anything on, and none can forget to. Outside of it nothing is heard, and a pause is only a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

HEED_SECONDS = 0.1
"""How long work that waits goes on without hearing anything."""

Wait = Callable[[float], bool]
"""Waits so many seconds, at most; False once the attempt's end has come."""

_wait: ContextVar[Wait | None] = ContextVar("_wait", default=None)


class Interrupted(Exception):
    """The attempt's end has come: what was being done for it is of no use any more, and was left as it is."""


@contextmanager
def heeding(wait: Wait) -> Iterator[None]:
    """Have what is done within hear of the attempt's end by `wait`."""
    token = _wait.set(wait)
    try:
        yield
    finally:
        _wait.reset(token)


def heed() -> None:
    """Raise Interrupted if the attempt's end has come."""
    if _wait.get() is not None:
        pause(0.0)


def pause(seconds: float) -> None:
    """Wait so long. Raises Interrupted, as soon as the attempt's end comes."""
    wait = _wait.get()
    if wait is None:
        time.sleep(seconds)
    elif not wait(seconds):
        raise Interrupted


def do_heeding(work: Callable[[], None]) -> None:
    """Do `work`, which the kernel does not let go of, on a thread: an end is heard meanwhile, and leaves it behind.

    Raises Interrupted, and what `work` raises.
    """
    import threading

    raised: list[BaseException] = []

    def on_thread() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)  # for the caller, below

    thread = threading.Thread(target=on_thread, name="uninterruptible", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # The machine has no room for a thread just now: better deaf than not done.
        work()
        return
    while thread.is_alive():
        thread.join(HEED_SECONDS)
        heed()
    if raised:
        raise raised[0]
