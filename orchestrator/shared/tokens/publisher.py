"""Writing the records that end tokens, durably and on one thread, so that no disk holds up the loop.

Where the machine has no room for the thread the loop writes them itself.

Promise: a record that `take_published` returns survives power loss. Records are returned in the order in which they were given.
What could not be written is raised by `take_published` and by `finish`, and nothing is published after it.
It refuses to handle: locks (`publications` holds them until the record is returned).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from pathlib import Path

from orchestrator.errors import StateUnwritableError
from orchestrator.shared.tokens.record import TokenPaths, TokenRecord, write_new_record
from orchestrator.store.durable_file import unwritable
from orchestrator.system.threads import begin_thread
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.syncing import sync_data, sync_folder
from orchestrator.workers.processes.spawn import SHORTAGES

SHORTEST_INTERVAL_SECONDS = 0.025
"""From the beginning of one group to that of the next, unless a whole group waits: it bounds what a run of very short items
spends on syncing. It is a quarter of the time that others take to see that a lock was let go."""

LARGEST_GROUP = 16
"""Records that are written together, and so the most files that are open for it."""

SHORTAGE_SECONDS = 0.1
"""After which a group is tried again that found no descriptor to write with."""


class Publisher:
    """One thread, started with the first publication."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._changed = threading.Condition()
        self._waiting: deque[tuple[TokenPaths, TokenRecord]] = deque()
        self._done: deque[TokenRecord] = deque()
        self._open = 0
        self._failure: BaseException | None = None
        self._is_closed = False
        self._is_hurried = False
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Readable when `take_published` has something."""
        return self._read_fd

    def publish_record(self, paths: TokenPaths, record: TokenRecord) -> None:
        """Have `record` written."""
        with self._changed:
            self._waiting.append((paths, record))
            self._open += 1
            is_first = len(self._waiting) == 1
            if self._thread is None and not self._has_thread():
                self._write_here()
                return
            # In between the thread knows that something waits, or looks before it sleeps.
            if is_first or len(self._waiting) == LARGEST_GROUP:
                self._changed.notify_all()

    def take_published(self) -> list[TokenRecord]:
        """The records that were published since the last call. Raises StateUnwritableError."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._read_fd, 4096)
        with self._changed:
            if self._failure is not None:
                raise self._failure
            done = list(self._done)
            self._done.clear()
            return done

    def finish(self) -> None:
        """Wait until all is published. Raises StateUnwritableError."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()
            while self._open and self._failure is None:
                if self._thread is not None or self._has_thread():
                    self._changed.wait()
                    continue
                self._write_here()
                if self._open and self._failure is None:
                    time.sleep(SHORTAGE_SECONDS)
            self._is_hurried = False
            if self._failure is not None:
                raise self._failure

    def close(self) -> None:
        """End the thread after what it is writing; what waits is not published."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _work(self) -> None:
        last_began = -SHORTEST_INTERVAL_SECONDS
        while True:
            with self._changed:
                while not self._waiting and not self._is_closed:
                    self._changed.wait()
                # Gather a group, so that many short items share one commit of the file system.
                pause = last_began + SHORTEST_INTERVAL_SECONDS - time.monotonic()
                if pause > 0:
                    self._changed.wait_for(self._must_go_on, pause)
                last_began = time.monotonic()
                if self._is_closed:
                    return
                # A few at a time: never more open files than that, however many records have come.
                group = [self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_GROUP))]
            failure: BaseException | None = None
            count = 0
            try:
                count = _write(group)
            except BaseException as error:
                # Raised on the loop's side, by `take_published`: a thread has nobody to raise to.
                failure = error
            with self._changed:
                self._hand_over(group, count, failure)
                self._changed.notify_all()
                # Without a descriptor nothing could be written: wait a moment, or this would be a busy loop.
                if count == 0 and failure is None:
                    self._changed.wait_for(lambda: self._is_closed, SHORTAGE_SECONDS)
            os.write(self._write_fd, b".")
            if failure is not None:
                return

    def _has_thread(self) -> bool:
        """Whether the thread is there, or can be begun now."""
        self._thread = begin_thread(self._work, "publisher")
        return self._thread is not None

    def _write_here(self) -> None:
        """Without a thread: write what waits, in this one. What finds no descriptor stays, and goes with the next record."""
        while self._waiting and self._failure is None:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_GROUP))]
            failure: BaseException | None = None
            count = 0
            try:
                count = _write(group)
            except StateUnwritableError as error:
                failure = error
            self._hand_over(group, count, failure)
            os.write(self._write_fd, b".")
            if count == 0:
                return

    def _hand_over(self, group: list[tuple[TokenPaths, TokenRecord]], count: int, failure: BaseException | None) -> None:
        """Hand over what is durable, the first `count`; the rest of the group goes back to the front, in its order."""
        self._failure = failure
        self._done.extend(record for _, record in group[:count])
        self._open -= count
        self._waiting.extendleft(reversed(group[count:]))

    def _must_go_on(self) -> bool:
        return self._is_closed or self._is_hurried or len(self._waiting) >= LARGEST_GROUP


def _begin(paths: TokenPaths, record: TokenRecord) -> int | None:
    """Write what becomes the record by rename; None if there is no descriptor for it just now. Raises OSError."""
    fault_point("token.publishing")
    try:
        return write_new_record(paths, record)
    except OSError as error:
        if error.errno not in SHORTAGES:
            raise
        return None


def _write(group: list[tuple[TokenPaths, TokenRecord]]) -> int:
    """Write all, sync all, rename all, sync the folder. Returns how many: only the first ones if descriptors are short."""
    fds: list[int] = []
    at = group[0][0]
    try:
        # Write them all under temporary names, as far as descriptors go.
        for at, record in group:
            if (fd := _begin(at, record)) is None:
                break
            fds.append(fd)
        if not fds:
            return 0
        group = group[: len(fds)]
        if sys.platform == "linux":
            # Has the kernel begin to write them all, without waiting: then one commit of the file system serves the whole group.
            for fd in fds:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        # The content is durable before the name: a power loss must not leave a record that is empty.
        for fd in fds:
            sync_data(fd)
        fault_point("token.synced")
        for at, _ in group:
            os.rename(at.temporary, at.record)
        fault_point("token.renamed")
        # Close them before the folder is opened: perhaps these are all the descriptors that there are.
        while fds:
            os.close(fds.pop())
        sync_folder(os.path.dirname(at.record))
        fault_point("token.published")
        return len(group)
    except OSError as error:
        for paths, _ in group:
            with contextlib.suppress(OSError):  # a temporary file that stays is overwritten by the next holder
                os.unlink(paths.temporary)
        raise unwritable(Path(at.record), error) from error
    finally:
        for fd in fds:
            os.close(fd)
