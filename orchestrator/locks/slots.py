"""Slots: lock files whose locks travel with the attempt. A slot is free the moment nobody holds its lock.

`filelock.lock_descriptor` and not `FileLock`: a FileLock object unlocks when it is garbage-collected and at interpreter exit,
also for a descriptor that an agent still holds. A descriptor is opened anew for each attempt, handed to the worker, and closed
here without unlocking; only the worker unlocks it, once the attempt's tree is confirmed ended.
"""

from __future__ import annotations

import os
from pathlib import Path

from filelock import lock_descriptor


def try_lock_slot(path: Path) -> int | None:
    """Open and lock a slot's file; the descriptor (close-on-exec), or None if somebody holds the slot. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if lock_descriptor(fd, blocking=False):
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def is_slot_free(path: Path) -> bool:
    """Whether the slot's lock could be taken just now (it is let go at once)."""
    fd = try_lock_slot(path)
    if fd is None:
        return False
    os.close(fd)
    return True
