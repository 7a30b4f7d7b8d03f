"""The lock that makes a process the supervisor of a run: one at a time, until it lets go or dies.

The kernel frees the lock with its holder. supervisor.json beside it says who that is: only a cache, for messages, never believed.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING

from orchestrator.errors import RunHeldError, StateUnwritableError
from orchestrator.store.durable_file import write_whole
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import holder_pid
from orchestrator.workers.foreign import ForeignBytesError, decode_json
from orchestrator.workers.processes.identity import boot_id, start_ticks

if TYPE_CHECKING:
    from filelock import BaseFileLock


class SupervisorLock:
    """The right to write a run's records. Freed by `release`, and by the kernel when this process dies."""

    def __init__(self, run_dir: RunDir) -> None:
        self._run_dir = run_dir
        self._lock: BaseFileLock | None = None

    def try_acquire(self, timeout_seconds: float = 1.0) -> None:
        """Take the lock and note in supervisor.json who did. Raises RunHeldError (who has it), StateUnwritableError."""
        # Imported here: it takes 35 ms, which a reader must not pay.
        import filelock

        path = self._run_dir.supervisor_lock
        # Soft fallback: where flock is missing a mere file would outlive a SIGKILL and hold the run for ever.
        lock = filelock.FileLock(path, mode=0o600, fallback_to_soft=False, is_singleton=False, thread_local=False)
        try:
            lock.acquire(timeout=timeout_seconds, poll_interval=0.02)
        except filelock.Timeout as error:
            raise RunHeldError(*self._holder_in_words()) from error
        except OSError as error:
            raise StateUnwritableError(
                f"{path}: cannot be locked: {error.strerror or error}", "mend that, then try again"
            ) from error
        # filelock unlocks when its object is collected: the lock lasts as long as this attribute.
        self._lock = lock
        self._note_holder()

    def release(self) -> None:
        """Let the lock go; the lock file stays (unlinking it would let two processes lock two files of one name)."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _note_holder(self) -> None:
        """Write supervisor.json: only a cache. A folder that takes no note takes no records: then the lock is let go."""
        pid = os.getpid()
        note = {"pid": pid, "start_ticks": start_ticks(pid), "boot_id": boot_id(), "since": time.time()}
        try:
            write_whole(self._run_dir.supervisor_json, json.dumps(note).encode())
        except StateUnwritableError:
            self.release()
            raise

    def _holder_in_words(self) -> tuple[str, str]:
        """Message and hint. The kernel says who took the lock; the note says since when, if it is of that process."""
        pid = holder_pid(self._run_dir.supervisor_lock)
        since = ""
        with contextlib.suppress(OSError, ForeignBytesError, OverflowError, ValueError, KeyError, TypeError):
            note = decode_json(self._run_dir.supervisor_json.read_bytes())
            if pid in (None, note["pid"]):
                pid = int(note["pid"])
                since = time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(note["since"]))
        who = f"process {pid}{since}" if pid else "another process"
        run_id = self._run_dir.run_id
        return f"run {run_id} is supervised by {who}", f"see it: orchestrate status {run_id}; end it: orchestrate stop {run_id}"
