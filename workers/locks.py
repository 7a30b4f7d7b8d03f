"""The kernel's locks, by descriptor: taking one by a try, and letting go of one that travelled with an attempt.

Not by filelock's objects: they unlock when they are collected and at exit, under an agent that still runs. Its functions for
descriptors make the same one call (docs/decisions/0017); importing them cost a start as much as Python itself does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time


def lock_descriptor(fd: int) -> bool:
    """Lock the open file for all copies of `fd`; False if another open file has it. Raises OSError: there are no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # EACCES: how some network file systems say that another has it.
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def unlock_descriptor(fd: int) -> None:
    """Unlock it for all copies of `fd`, and leave it open. Raises OSError."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def unlock(fd: int) -> None:
    """Unlock, for every copy of the descriptor in any process; wake those that wait for it; close. Raises OSError of the close.

    Closing alone would not do: a process that escaped from an attempt's tree may hold the same open file for ever. Waiters look
    for the touch. Its time is given in full nanoseconds: the kernel's own stamps stand still for 4 ms, and two releases would
    look like one.
    """
    try:
        unlock_descriptor(fd)
        now = time.time_ns()
        os.utime(fd, ns=(now, now))
    except OSError:
        # A file system may lose its lock service (ENOLCK) after the lock was taken. Then the close has to do: the kernel frees
        # the lock with the last copy, and what waits for it really tries, once a second.
        return
    finally:
        os.close(fd)
