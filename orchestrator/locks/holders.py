"""Who holds a lock: asked without taking it. And the lock that makes a process the supervisor of a run.

Readers never take a lock, because a `status` that holds one for a moment would make a `resume` fail. They look into
/proc/locks; only where that is missing, or cannot tell (some filesystems show another device number there than stat does),
they try for a shared lock and let it go at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.errors import RunHeldError, StateUnwritableError
from workers.identity import boot_id, start_ticks

if TYPE_CHECKING:
    from filelock import BaseFileLock

_PROC_LOCKS = Path("/proc/locks")


class Supervised(Protocol):
    """What a supervisor lock needs to know of a run's directory."""

    @property
    def run_id(self) -> str: ...
    @property
    def supervisor_lock(self) -> Path: ...
    @property
    def supervisor_json(self) -> Path: ...


def is_locked(path: Path) -> bool:
    """Whether some process holds the flock of `path`. A missing file is not locked."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    holders = _flock_holders(found.st_ino)
    if holders is None:
        return _cannot_share(path)
    if (found.st_dev, found.st_ino) in holders:
        return True
    # The inode alone may be another filesystem's.
    return any(inode == found.st_ino for _, inode in holders) and _cannot_share(path)


def holder_pid(path: Path) -> int | None:
    """The process that took the flock of `path`, if the system tells. It may have handed the lock on."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    pid = (_flock_holders(found.st_ino) or {}).get((found.st_dev, found.st_ino))
    return pid if pid and pid > 0 else None


def _flock_holders(inode: int) -> dict[tuple[int, int], int] | None:
    """(device, inode) -> pid of all flocks on files with this inode number; None where the system does not tell."""
    try:
        text = _PROC_LOCKS.read_text()
    except OSError:
        return None
    holders = {}
    for line in text.splitlines():
        # 1: FLOCK  ADVISORY  WRITE 1234 08:01:131073 0 EOF     (a waiter has "->" after the number)
        fields = line.split()
        if len(fields) < 6 or fields[1] != "FLOCK":
            continue
        major, minor, number = fields[5].split(":")
        if int(number) == inode:
            holders[os.makedev(int(major, 16), int(minor, 16)), inode] = int(fields[4])
    return holders


def _cannot_share(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class SupervisorLock:
    """The right to write a run's records. Freed by `release`, and by the kernel when this process dies."""

    def __init__(self, run_dir: Supervised) -> None:
        self._run_dir = run_dir
        self._lock: BaseFileLock | None = None

    def try_acquire(self, timeout_seconds: float = 1.0) -> None:
        """Take the lock and note in supervisor.json who did. Raises RunHeldError (who has it), StateUnwritableError."""
        # 35 ms of import that a reader must not pay.
        import filelock

        path = self._run_dir.supervisor_lock
        # Soft fallback: where flock is missing a mere file would outlive a SIGKILL and hold the run for ever.
        lock = filelock.FileLock(path, mode=0o600, fallback_to_soft=False, is_singleton=False, thread_local=False)
        try:
            lock.acquire(timeout=timeout_seconds, poll_interval=0.02)
        except filelock.Timeout as error:
            raise RunHeldError(*self._holder_in_words()) from error
        except OSError as error:
            raise StateUnwritableError(f"{path}: cannot be locked: {error.strerror or error}") from error
        # filelock unlocks when the object is collected: whoever owns this object owns the lock.
        self._lock = lock
        self._note_holder()

    def release(self) -> None:
        """Let the lock go; the lock file stays (unlinking it would let two processes lock two files of one name)."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _note_holder(self) -> None:
        pid = os.getpid()
        note = {"pid": pid, "start_ticks": start_ticks(pid), "boot_id": boot_id(), "since": time.time()}
        temporary = self._run_dir.supervisor_json.with_name(".supervisor.json.new")
        # Only words for messages: not synced, but never seen half-written.
        try:
            temporary.write_text(json.dumps(note))
            temporary.rename(self._run_dir.supervisor_json)
        except OSError as error:
            self.release()
            raise StateUnwritableError(f"{self._run_dir.supervisor_json}: cannot write state: {error.strerror}") from error

    def _holder_in_words(self) -> tuple[str, str]:
        pid = holder_pid(self._run_dir.supervisor_lock)
        since = ""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            note = json.loads(self._run_dir.supervisor_json.read_text())
            if pid in (None, note["pid"]):
                pid = int(note["pid"])
                since = time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(note["since"]))
        who = f"process {pid}{since}" if pid else "another process"
        run_id = self._run_dir.run_id
        return f"run {run_id} is supervised by {who}", f"see it: orchestrate status {run_id}; end it: orchestrate stop {run_id}"
