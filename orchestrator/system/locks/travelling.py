"""Lock files whose locks travel with an attempt: slots, pool slots, borrowed slots, tokens. Freed the moment nobody holds them.

`filelock.lock_descriptor` and not `FileLock`: a FileLock object unlocks when it is garbage-collected and at interpreter exit,
also for a descriptor that an agent still holds. A descriptor is opened anew for each attempt, handed to the worker, and closed
here without unlocking; the worker unlocks it (`workers.locks.unlock`) once the attempt's tree is confirmed ended.
"""

from __future__ import annotations

import os
from pathlib import Path

from filelock import lock_descriptor

from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.opening import open_found, stands_at


def try_lock(path: str | Path) -> int | None:
    """Open and lock a lock file; the descriptor (close-on-exec), or None if somebody holds it. Raises OSError.

    What the file says is never looked at: a pid in it proves nothing. A file that was removed or replaced between the open and
    the lock is not the one that others will find, so it is let go and the one that stands there now is tried.
    """
    while True:
        fd, mine = open_found(path, os.O_RDWR | os.O_CREAT)
        is_mine = False
        try:
            fault_point("lock.taking")
            if not lock_descriptor(fd, blocking=False):
                return None
            if stands_at(mine, path):
                is_mine = True
                return fd
        finally:
            if not is_mine:
                os.close(fd)
