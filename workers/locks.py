"""Letting go of a lock that travelled: slots, pool slots, borrowed slots, tokens."""

from __future__ import annotations

import os
import time


def unlock(fd: int) -> None:
    """Unlock, for every copy of the descriptor in any process; wake those that wait for it; close. Raises OSError of the close.

    Closing alone would not do: a process that escaped from an attempt's tree may hold the same open file for ever. Waiters look
    for the touch. Its time is given in full nanoseconds: the kernel's own stamps stand still for 4 ms, and two releases would
    look like one. filelock's objects would not do: they unlock at garbage collection and at exit, under an agent that still runs.
    """
    import filelock

    try:
        filelock.unlock_descriptor(fd)
        now = time.time_ns()
        os.utime(fd, ns=(now, now))
    except OSError:
        # A file system may lose its lock service (ENOLCK) after the lock was taken. Then the close has to do: the kernel frees
        # the lock with the last copy, and what waits for it really tries, once a second.
        return
    finally:
        os.close(fd)
