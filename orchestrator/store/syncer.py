"""One thread that makes a journal's groups durable, many at a time.

Promise: after `request(group)`, `durable_through()` is at least `group` within one or two fdatasyncs, unless one failed. At
most one fdatasync runs at a time and covers every request that came before it began. After a failed one nothing is ever
retried: the kernel may have dropped the pages and would call the next one a success. A machine that has no room for the thread
costs time alone: until there is room each request is synced by the one who asks.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from orchestrator.errors import StateUnwritableError
from orchestrator.store.durable_file import unwritable
from orchestrator.system.threads import begin_thread
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.syncing import sync_data

SHORTEST_INTERVAL_SECONDS = 0.010
"""From the beginning of one fdatasync to the next: bounds what a run of very short items spends on syncing."""

LONGEST_REST_SECONDS = 0.030
"""The same while nobody waits for what came in: more groups share the next one. Items that end less often do not meet it."""


class Syncer:
    """Owns the thread, not the descriptor. `fileno()` is readable when what was awaited is durable, or a sync has failed."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path
        self._condition = threading.Condition()
        self._requested = 0
        self._durable = 0
        self._awaited = 0
        """The last group of which somebody wants to hear that it is durable."""
        self._is_idle = False
        self._is_resting = False
        """Whether the thread does nothing as long as nobody waits for what was requested."""
        self._is_syncing = False
        self._closing = threading.Event()
        self.failure: StateUnwritableError | None = None
        """Set once, by the thread, when an fdatasync has failed."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._is_told = False
        self._thread: threading.Thread | None = None
        self._has_thread()

    def request_sync(self, group: int, *, is_awaited: bool = True) -> None:
        """Make everything through `group` durable, soon. Waits for nothing but a machine that has no room for a thread.

        `is_awaited`: something waits for it, so it is told (`fileno`). Other news would wake the loop for nothing.
        """
        # Before the request: a sync that covers the group has seen that it is awaited.
        if is_awaited:
            self._awaited = group
        self._requested = group
        if self._thread is None and not self._has_thread():
            if self.failure is None:
                self._end_sync(group, _try_sync(self._fd))
            return
        # Waking a thread costs more than all the rest of an append: only one that waits for a request is woken. It says that it
        # waits before it looks for requests, so that it has seen ours or we see it waiting.
        if self._is_idle or (is_awaited and self._is_resting):
            with self._condition:
                self._condition.notify_all()

    def sync_now(self, group: int) -> None:
        """Make everything through `group` durable before this returns. Raises StateUnwritableError, as ever after a failure."""
        with self._condition:
            self._condition.wait_for(lambda: not self._is_syncing)
            # The condition is held meanwhile, so the thread begins no sync beside this one.
            if self.failure is None and self._durable < group:
                error = _try_sync(self._fd)
                if error is None:
                    self._durable = group
                else:
                    self.failure = unwritable(self._path, error)
                self._tell()
            if self.failure is not None:
                raise self.failure

    def fileno(self) -> int:
        """Readable when `durable_through` has news; asking it clears that."""
        return self._reader

    def durable_through(self) -> int:
        """The last group that survives power loss. Raises StateUnwritableError once an fdatasync has failed."""
        with self._condition:
            if self._is_told:
                os.read(self._reader, 1)
                self._is_told = False
            if self.failure is not None:
                raise self.failure
            return self._durable

    def switch_file(self, fd: int, path: Path, durable: int) -> None:
        """Sync `fd` from now on; everything through group `durable` is durable elsewhere. Waits for a sync under way."""
        with self._condition:
            self._condition.wait_for(lambda: not self._is_syncing)
            self._fd = fd
            self._path = path
            if durable > self._durable:
                self._durable = durable
                self._tell()

    def close(self) -> None:
        """End the thread after what it is doing; what was requested and not yet begun is not synced."""
        with self._condition:
            if self._closing.is_set():
                return
            self._closing.set()
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join()
        os.close(self._reader)
        os.close(self._writer)

    def _tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            os.write(self._writer, b"!")

    def _has_thread(self) -> bool:
        """Whether the thread is there, or can be begun now."""
        self._thread = begin_thread(self._run, "syncer")
        return self._thread is not None

    def _end_sync(self, goal: int, error: OSError | None) -> None:
        """Everything through group `goal` is durable now, or (`error`) nobody knows."""
        if error is not None:
            # Never tried again: the kernel may have dropped the pages, and would call the next fdatasync a success.
            self.failure = unwritable(self._path, error)
            self._tell()
            return
        is_awaited = self._durable < self._awaited
        self._durable = goal
        if is_awaited:
            self._tell()

    def _rest(self, last_began: float) -> None:
        """Wait until the next fdatasync is due, and longer while nobody waits for it."""
        rest = last_began + LONGEST_REST_SECONDS - time.monotonic()
        if rest > 0:
            with self._condition:
                self._is_resting = True
                self._condition.wait_for(lambda: self._closing.is_set() or self._awaited > self._durable, rest)
                self._is_resting = False
        rest = last_began + SHORTEST_INTERVAL_SECONDS - time.monotonic()
        if rest > 0:
            self._closing.wait(rest)

    def _run(self) -> None:
        """The thread: wait for a request, rest, sync once for all that came meanwhile."""
        last_began = -LONGEST_REST_SECONDS
        while True:
            # Rest before the next fdatasync: more groups come in meanwhile and share it, and need not wake this thread for that.
            # A close ends the rest at once.
            self._rest(last_began)
            with self._condition:
                if self._requested <= self._durable:
                    self._is_idle = True
                    self._condition.wait_for(lambda: self._closing.is_set() or self._requested > self._durable)
                    self._is_idle = False
                if self._closing.is_set():
                    return
                goal, fd = self._requested, self._fd
                last_began = time.monotonic()
                self._is_syncing = True
                # Without the condition: the loop asks `durable_through` while the disk works. `switch_file` waits for the flag.
                self._condition.release()
                error = _try_sync(fd)
                self._condition.acquire()
                self._is_syncing = False
                self._condition.notify_all()
                self._end_sync(goal, error)
                if error is not None:
                    return


def _try_sync(fd: int) -> OSError | None:
    try:
        fault_point("journal.sync")
        sync_data(fd)
        fault_point("journal.synced")
    except OSError as error:
        return error
    return None
