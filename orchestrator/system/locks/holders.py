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
        try:
            self._text: str | None = _PROC_LOCKS.read_text()
        except OSError:
            self._text = None

    def on(self, inode: int) -> dict[int, int] | None:
        """Device -> pid of all flocks on files with this inode; None where the system does not tell, or may not."""
        if self._text is None:
            return None
        # 1: FLOCK  ADVISORY  WRITE 1234 08:01:131073 0 EOF     (a waiter has "->" after the number)
        file = f":{inode} "
        holders = {}
        # The list is long on a busy machine, and hardly a line of it is of this file.
        for line in self._text.splitlines() if file in self._text else ():
            fields = line.split()
            if file in line and fields[1] == "FLOCK":
                major, minor, _ = fields[5].split(":")
                holders[os.makedev(int(major, 16), int(minor, 16))] = int(fields[4])
        return holders if holders or len(self._text) < _SURELY_WHOLE_BYTES else None


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
    # The inode alone may be another filesystem's.
    return found.st_dev in holders or (bool(holders) and _cannot_share(path))


def holder_pid(path: Path) -> int | None:
    """The process that took the flock of `path`, if the system tells. It may have handed the lock on."""
    found = _plain_file(path)
    if found is None:
        return None
    for _ in range(_LOOKS):
        if (holders := SeenLocks().on(found.st_ino)) is not None:
            break
    holders = holders or {}
    pid = holders.get(found.st_dev)
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
