"""Who holds a lock: asked without taking it.

Readers never take a lock, because a `status` that holds one for a moment would make a `resume` fail. They look into
/proc/locks; only where that is missing, or cannot tell (some filesystems show another device number there than stat does; a
long list is read in pieces, and a lock is passed over if one before it goes meanwhile), they try for a shared lock and let it go
at once.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from orchestrator.workers.files.opening import open_file

_PROC_LOCKS = Path("/proc/locks")
_SURELY_WHOLE_BYTES = os.sysconf("SC_PAGE_SIZE") * 3 // 4
"""The kernel gives a page of it at a time, and no lock in parts: a piece that ends before its page may be the first of several.
A quarter is room for a lock and a dozen that wait for it, which it gives as one."""
_LOOKS = 5
"""How often who holds a lock is looked for in a list that may have passed over it."""


class SeenLocks:
    """The flocks that the system tells, as they are when this is made."""

    def __init__(self) -> None:
        self._by_inode: dict[int, dict[tuple[int, int], int]] | None = None
        self._is_whole = False
        try:
            text = _PROC_LOCKS.read_text()
        except OSError:
            return
        self._is_whole = len(text) < _SURELY_WHOLE_BYTES
        self._by_inode = {}
        for line in text.splitlines():
            # 1: FLOCK  ADVISORY  WRITE 1234 08:01:131073 0 EOF     (a waiter has "->" after the number)
            fields = line.split()
            if len(fields) < 6 or fields[1] != "FLOCK":
                continue
            major, minor, number = fields[5].split(":")
            holders = self._by_inode.setdefault(int(number), {})
            holders[os.makedev(int(major, 16), int(minor, 16)), int(number)] = int(fields[4])

    def on(self, inode: int) -> dict[tuple[int, int], int] | None:
        """(device, inode) -> pid of all flocks on files with this inode; None where the system does not tell, or may not."""
        if self._by_inode is None:
            return None
        return self._by_inode.get(inode) or ({} if self._is_whole else None)


def is_locked(path: Path, seen: SeenLocks | None = None) -> bool:
    """Whether some process holds the flock of `path`. A missing file is not locked, nor is what is no plain file.

    `seen`: the locks of a moment ago, for who asks of many files.
    """
    found = _plain_file(path)
    if found is None:
        return False
    holders = (seen or SeenLocks()).on(found.st_ino)
    if holders is None:
        return _cannot_share(path)
    if (found.st_dev, found.st_ino) in holders:
        return True
    # The inode alone may be another filesystem's.
    return any(inode == found.st_ino for _, inode in holders) and _cannot_share(path)


def holder_pid(path: Path) -> int | None:
    """The process that took the flock of `path`, if the system tells. It may have handed the lock on."""
    found = _plain_file(path)
    if found is None:
        return None
    for _ in range(_LOOKS):
        if (holders := SeenLocks().on(found.st_ino)) is not None:
            break
    holders = holders or {}
    pid = holders.get((found.st_dev, found.st_ino))
    # Where another device number is shown than `stat` tells, the inode has to do, if it is of one file alone.
    if pid is None and len(holders) == 1 and _cannot_share(path):
        (pid,) = holders.values()
    return pid if pid and pid > 0 else None


def is_stopped(pid: int) -> bool:
    """Whether the process is stopped, by a signal or a debugger."""
    import psutil

    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:  # gone meanwhile
        return False


def _plain_file(path: Path) -> os.stat_result | None:
    """What `stat` says of a file that can be a lock; None if nothing, or something else, is there."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _cannot_share(path: Path) -> bool:
    try:
        fd = open_file(path)
    except OSError:  # gone meanwhile, or nothing that anybody could have locked
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
