"""`slots = 0`: attempts run one by one in the supervisor itself, for debugging. They end with it; nothing is adopted.

They run on one thread of this process, so that the loop goes on to hear signals and requests as it does beside workers. Only that
thread touches the attempt; `end` and SIGCHLD reach it through a pipe, its outcomes come back through another.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import select
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.core.stopping import NOW_GRACE_SECONDS
from orchestrator.engines.engine import EngineEvent, OutcomeArrived
from orchestrator.store.records import WorkerStarted
from orchestrator.workers.attempt import AttemptRunner
from orchestrator.workers.launch import lock_liveness
from orchestrator.workers.processes.identity import boot_id, start_ticks
from orchestrator.workers.processes.tree import children_now
from orchestrator.workers.protocol import End, EndReason, Outcome, Start

_SLOT = 0
_JOIN_SECONDS = 0.05


class InlineEngine:
    """The one slot of an inline run. To be made and used by the main thread, which alone may handle signals."""

    def __init__(self, folder_of: Callable[[int], Path]) -> None:
        self._folder_of = folder_of
        self._control = _InlineControl()
        self._old_child_handler = signal.signal(signal.SIGCHLD, lambda *_: self._control.wake())
        self._old_folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._read_fd, self._write_fd = os.pipe()
        self._starts: queue.SimpleQueue[tuple[Start, list[int]] | None] = queue.SimpleQueue()
        self._ended: deque[tuple[Start, Outcome | BaseException]] = deque()
        self._thread: threading.Thread | None = None
        self._runner: AttemptRunner | None = None
        self._running: Start | None = None
        self._worker = -1
        self._liveness_fd: int | None = None

    def prepare_slot(self, slot: int, next_worker: int) -> WorkerStarted | None:
        """Make the folder; the "worker" is this process."""
        assert slot == _SLOT
        if self._runner is not None:
            return None
        self._begin_thread()
        folder = self._folder_of(next_worker)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._liveness_fd = lock_liveness(str(folder))
        self._runner = AttemptRunner(str(folder), self._control, children_now())
        self._worker = next_worker
        pid = os.getpid()
        ticks = start_ticks(pid)
        return WorkerStarted(worker=next_worker, pid=pid, start_ticks=-1 if ticks is None else ticks, boot_id=boot_id())

    def has_worker(self, slot: int) -> bool:
        """Whether the one that there is has been made."""
        assert slot == _SLOT
        return self._runner is not None

    def worker_of(self, slot: int) -> int:
        """The only worker there is."""
        assert slot == _SLOT
        return self._worker

    def start(self, slot: int, start: Start, lock_fds: Sequence[int]) -> None:
        """Have the thread run the attempt."""
        assert slot == _SLOT
        assert self._running is None
        self._running = start
        # The runner unlocks and closes what it is given; the caller closes its own.
        self._starts.put((start, [os.dup(fd) for fd in lock_fds]))

    def end(self, slot: int, end: End) -> None:
        """Have the running attempt ended."""
        assert slot == _SLOT
        self._control.end(end)

    def filenos(self) -> list[int]:
        """Readable after an attempt."""
        return [self._read_fd]

    def poll(self, fileno: int) -> list[EngineEvent]:
        """The outcome of the attempt that ran. Raises what the runner raised: our bug, as it would be in a worker."""
        os.read(fileno, 4096)
        events: list[EngineEvent] = []
        while self._ended:
            start, outcome = self._ended.popleft()
            self._running = None
            if isinstance(outcome, BaseException):
                raise outcome
            events.append(OutcomeArrived(_SLOT, start.sequence, outcome))
        return events

    def close(self) -> None:
        """End what runs: it does not outlive this process. Its outcome stays in the log, for the resume. Put the handler back,
        and all else that an attempt changes in this process.
        """
        if self._running is not None:
            self.end(_SLOT, End(sequence=self._running.sequence, reason=EndReason.DRAIN, grace_seconds=NOW_GRACE_SECONDS))
        self._starts.put(None)
        while self._thread is not None and self._thread.is_alive():
            # Not for ever at once: SIGCHLD may come to another thread, and its handler runs when this one wakes up.
            self._thread.join(_JOIN_SECONDS)
        if self._runner is not None:
            self._runner.close()
        signal.signal(signal.SIGCHLD, self._old_child_handler)
        os.fchdir(self._old_folder)  # an attempt leaves the process in its own
        for fd in (self._old_folder, self._read_fd, self._write_fd):
            os.close(fd)
        self._control.close()
        if self._liveness_fd is not None:
            os.close(self._liveness_fd)

    def _begin_thread(self) -> None:
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._serve, name="inline-attempts", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the machine has no room for it just now: Python tells no number
            raise BlockingIOError(errno.EAGAIN, str(error)) from error
        self._thread = thread

    def _serve(self) -> None:
        """On the thread: run what is started, until there is no more."""
        while (given := self._starts.get()) is not None:
            start, locks = given
            assert self._runner is not None
            outcome: Outcome | BaseException
            try:
                outcome = self._runner.run(start, locks)
            except BaseException as error:
                outcome = error  # told by `poll`, on the main thread
            self._ended.append((start, outcome))
            os.write(self._write_fd, b".")


class _InlineControl:
    """Where an inline attempt waits: for its child, and for what the loop wants of it."""

    def __init__(self) -> None:
        self._ends: deque[End] = deque()
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        self._poll = select.poll()
        self._poll.register(self._read_fd, select.POLLIN)

    def end(self, end: End) -> None:
        """Have `wait` tell this. One that comes too late names a sequence that runs no more."""
        self._ends.append(end)
        self.wake()

    def wake(self) -> None:
        """Have `wait` return."""
        with contextlib.suppress(BlockingIOError):  # full: it will
            os.write(self._write_fd, b".")

    def close(self) -> None:
        """Nothing waits any more."""
        os.close(self._read_fd)
        os.close(self._write_fd)

    def is_supervisor_gone(self) -> bool:
        """This process is the supervisor."""
        return False

    def wait(self, timeout_seconds: float | None) -> Sequence[End]:
        """See `workers.processes.watch.Control`."""
        longest = 3600.0 if timeout_seconds is None else min(timeout_seconds, 3600.0)
        if self._poll.poll(longest * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(self._read_fd, 4096)
        ends: list[End] = []
        while self._ends:
            ends.append(self._ends.popleft())
        return ends
