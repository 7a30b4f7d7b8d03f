"""The lock that makes a process the supervisor of a run: one at a time, until it lets go or dies.

Promise: of two processes one supervises the run, also if somebody removes the lock file beside a living supervisor. Two locks
see to that: the one of supervisor.lock, by which others know that the run is supervised, and the one of the journal that is
written (`journal`). Whoever finds the journal locked leaves; whoever writes it puts supervisor.lock back (`keep`).
The kernel frees both with their holder. supervisor.json says who that is: only a cache, for messages, never believed.
"""

from __future__ import annotations

import contextlib
import os
import time

import msgspec

from orchestrator.errors import RunHeldError, StateUnwritableError
from orchestrator.store.durable_file import write_whole
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import holder_pid, is_locked
from orchestrator.system.run_log import append_log
from orchestrator.workers.files.opening import read_file
from orchestrator.workers.foreign import ForeignBytesError, decode_json
from orchestrator.workers.locks import unlock_descriptor
from orchestrator.workers.processes.identity import boot_id, start_ticks

_POLL_SECONDS = 0.02


class SupervisorLock:
    """The right to write a run's records. Freed by `release`, and by the kernel when this process dies."""

    def __init__(self, run_dir: RunDir) -> None:
        self._run_dir = run_dir
        self._path = str(run_dir.supervisor_lock)
        self._fd: int | None = None
        self._file = (0, 0)

    def try_acquire(self, timeout_seconds: float = 1.0) -> None:
        """Take the lock and note in supervisor.json who did. Raises RunHeldError (who has it), StateUnwritableError."""
        give_up_at = time.monotonic() + timeout_seconds
        # A supervisor that was killed just now may have let go of one of the two locks, and not yet of the other.
        while (fd := self._try_both()) is None:
            if time.monotonic() >= give_up_at:
                raise RunHeldError(*self._holder_in_words())
            time.sleep(_POLL_SECONDS)
        self._hold(fd)

    def keep(self) -> bool:
        """Put the lock file back if somebody has removed or replaced it: then True. Costs one `stat` otherwise.

        To be asked by who holds the lock of the journal. Raises StateUnwritableError: the run's folder is gone.
        """
        try:
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self._file:
                return False
        except (FileNotFoundError, NotADirectoryError):
            pass
        if not self._run_dir.path.is_dir():
            raise StateUnwritableError(
                f"{self._run_dir.path}: the folder of the run is gone: moved, or removed",
                "put it back, then resume the run: what is recorded stays",
            )
        fd = self._try_lock()
        # Another process tries for the run just now. It will see that the journal is locked, and let go.
        if fd is None:
            return True
        assert self._fd is not None, "who has let go keeps nothing"
        os.close(self._fd)
        self._hold(fd)
        append_log(self._run_dir.log, "supervisor.lock had been removed or replaced: it was put back, and locked")
        return True

    def release(self) -> None:
        """Let the lock go; the lock file stays (unlinking it would let two processes lock two files of one name)."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            # Closing alone would not do: a process that is being started has a copy until the kernel is done with its exec.
            # Where the file system has lost its lock service (ENOLCK) the close has to do.
            with contextlib.suppress(OSError):
                unlock_descriptor(fd)
            os.close(fd)

    def _try_both(self) -> int | None:
        """The lock, if the journal is free as well."""
        fd = self._try_lock()
        if fd is None:
            return None
        is_written = True
        try:
            is_written = self._is_written()
        finally:
            if is_written:
                os.close(fd)
        return None if is_written else fd

    def _try_lock(self) -> int | None:
        # Imported here: it takes 35 ms, which a reader must not pay.
        from orchestrator.system.locks.travelling import try_lock

        path = self._run_dir.supervisor_lock
        try:
            return try_lock(path)
        except OSError as error:
            raise StateUnwritableError(
                f"{path}: cannot be locked: {error.strerror or error}", "mend that, then try again"
            ) from error

    def _hold(self, fd: int) -> None:
        found = os.fstat(fd)
        self._fd, self._file = fd, (found.st_dev, found.st_ino)
        self._note_holder()

    def _is_written(self) -> bool:
        """Whether a living supervisor has the journal, though its lock file was taken from under it."""
        return any(map(is_locked, self._run_dir.journals()))

    def _note_holder(self) -> None:
        """Write supervisor.json: only a cache. A folder that takes no note takes no records: then the lock is let go."""
        pid = os.getpid()
        note = {"pid": pid, "start_ticks": start_ticks(pid), "boot_id": boot_id(), "since": time.time()}
        try:
            write_whole(self._run_dir.supervisor_json, msgspec.json.encode(note))
        except StateUnwritableError:
            self.release()
            raise

    def _holder_in_words(self) -> tuple[str, str]:
        """Message and hint. The kernel says who took the lock; the note says since when, if it is of that process."""
        pids = map(holder_pid, (self._run_dir.supervisor_lock, *self._run_dir.journals()))
        pid = next(filter(None, pids), None)
        since = ""
        with contextlib.suppress(OSError, ForeignBytesError, OverflowError, ValueError, KeyError, TypeError):
            note = decode_json(read_file(self._run_dir.supervisor_json))
            if pid in (None, note["pid"]):
                pid = int(note["pid"])
                since = time.strftime(" since %Y-%m-%d %H:%M:%S", time.localtime(note["since"]))
        who = f"process {pid}{since}" if pid else "another process"
        run_id = self._run_dir.run_id
        return f"run {run_id} is supervised by {who}", f"see it: orchestrate status {run_id}; end it: orchestrate stop {run_id}"
