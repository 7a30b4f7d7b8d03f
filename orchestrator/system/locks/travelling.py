"""Lock files whose locks travel with an attempt: slots, pool slots, borrowed slots, tokens. Freed the moment nobody holds them.

A descriptor is opened anew for each attempt, handed to the worker, and closed
here without unlocking; the worker unlocks it (`workers.locks.unlock`) once the attempt's tree is confirmed ended.
"""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.opening import open_found, stands_at
from orchestrator.workers.locks import lock_descriptor


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
            if not lock_descriptor(fd):
                return None
            if stands_at(mine, path):
                is_mine = True
                return fd
        finally:
            if not is_mine:
                os.close(fd)
