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
from collections.abc import Sequence

from orchestrator.core.stopping import NOW_GRACE_SECONDS
from orchestrator.engines.engine import AgentTaskOf, Attempt, EngineEvent, OutcomeArrived, ReadyWorker, grace_of
from orchestrator.engines.taken_over import TakenOver
from orchestrator.store.records import WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.held import HeldLocks
from orchestrator.system.threads import begin_thread
from orchestrator.workers.attempt import AttemptRunner
from orchestrator.workers.environment import become_readable
from orchestrator.workers.files.syncing import make_folder
from orchestrator.workers.launch import lock_liveness
from orchestrator.workers.log import LOG_NAME, begin_log
from orchestrator.workers.processes.identity import boot_id, start_ticks
from orchestrator.workers.processes.tree import children_now
from orchestrator.workers.protocol import End, EndReason, Outcome, Start

_SLOT = 0
_JOIN_SECONDS = 0.05


class InlineEngine:
    """The one slot of an inline run. To be made and used by the main thread, which alone may handle signals."""

    def __init__(self, run_dir: RunDir, next_worker: int, agent_task: AgentTaskOf) -> None:
        self._run_dir = run_dir
        self._worker = next_worker
        self._taken_over = TakenOver(run_dir, agent_task)
        self._control = _InlineControl()
        self._old_child_handler = signal.signal(signal.SIGCHLD, lambda *_: self._control.wake())
        self._old_folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._read_fd, self._write_fd = os.pipe()
        self._starts: queue.SimpleQueue[tuple[Start, list[int]] | None] = queue.SimpleQueue()
        self._ended: deque[Outcome | BaseException] = deque()
        self._thread: threading.Thread | None = None
        self._runner: AttemptRunner | None = None
        self._running: Attempt | None = None
        self._liveness_fd: int | None = None
        # What runs inside an attempt, and lost its environment, finds out by the liveness lock that this process has open.
        become_readable()

    @property
    def next_look(self) -> float | None:
        """See `Engine`."""
        return self._taken_over.next_look

    def prepare(self, slot: int) -> ReadyWorker:
        """Make the thread and the folder; the "worker" is this process."""
        assert slot == _SLOT
        if self._runner is not None:
            return ReadyWorker(self._worker, None)
        self._begin_thread()
        folder = self._run_dir.worker_folder(self._worker)
        make_folder(str(folder), str(self._run_dir.path), is_synced=False)
        begin_log(f"{folder}/{LOG_NAME}")
        self._liveness_fd = lock_liveness(str(folder))
        self._runner = AttemptRunner(str(folder), self._control, children_now())
        pid = os.getpid()
        ticks = start_ticks(pid)
        record = WorkerStarted(worker=self._worker, pid=pid, start_ticks=-1 if ticks is None else ticks, boot_id=boot_id())
        return ReadyWorker(self._worker, record)

    most_queued = 0

    def start(self, attempt: Attempt, message: Start, locks: HeldLocks, queued: Sequence[tuple[Attempt, Start]] = ()) -> None:
        """Have the thread run the attempt."""
        assert attempt.slot == _SLOT
        assert not queued
        assert self._running is None
        self._running = attempt
        # The runner unlocks and closes what it is given.
        with locks as lock_fds:
            self._starts.put((message, [os.dup(fd) for fd in lock_fds]))

    def queue(self, slot: int, queued: Sequence[tuple[Attempt, Start]], locks: HeldLocks) -> None:  # noqa: ARG002
        """Nothing is ever queued."""
        raise AssertionError(f"{len(queued)} starts for slot {slot}, and none may be queued")

    def recall(self) -> None:
        """Nothing is ever queued."""

    def end(self, attempt: Attempt, reason: EndReason, grace_at_most: float | None) -> None:
        """Have the attempt ended, whoever runs it."""
        if not self._taken_over.try_end(attempt, reason, grace_at_most):
            grace = grace_of(attempt, grace_at_most)
            self._control.end(End(sequence=attempt.start.sequence, reason=reason, grace_seconds=grace))

    def resume(self, attempt: Attempt, worker: WorkerStarted | None) -> list[EngineEvent]:
        """See `Engine`. No inline attempt outlived its supervisor; one of a worker may have."""
        return self._taken_over.resume(attempt, worker)

    def has_living_worker(self, slot: int) -> bool:
        """See `Engine`."""
        return not self._taken_over.is_dead(slot)

    def sources(self) -> list[int]:
        """Readable after an attempt; and what tells of attempts that were taken over."""
        return [self._read_fd, *self._taken_over.sources()]

    def take_in(self, fileno: int) -> list[EngineEvent]:
        """The outcome of the attempt that ran. Raises what the runner raised: our bug, as it would be in a worker."""
        if fileno != self._read_fd:
            return self._taken_over.take_in(fileno)
        os.read(fileno, 4096)
        events: list[EngineEvent] = []
        while self._ended:
            outcome = self._ended.popleft()
            attempt, self._running = self._running, None
            if isinstance(outcome, BaseException):
                raise outcome
            assert attempt is not None
            events.append(OutcomeArrived(_SLOT, attempt.start.sequence, outcome))
        return events

    def look_at_workers(self, now: float) -> list[EngineEvent]:
        """See `Engine`."""
        return self._taken_over.look_at_workers(now)

    def let_idle_go(self) -> None:
        """See `Engine`. The thread ends at once when it is let go."""

    def close(self) -> None:
        """End what runs: it does not outlive this process. Its outcome stays in the log, for the resume. Put the handler back,
        and all else that an attempt changes in this process.
        """
        if self._running is not None:
            sequence = self._running.start.sequence
            self._control.end(End(sequence=sequence, reason=EndReason.DRAIN, grace_seconds=NOW_GRACE_SECONDS))
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
        self._taken_over.close()

    def _begin_thread(self) -> None:
        if self._thread is not None:
            return
        self._thread = begin_thread(self._serve, "inline-attempts")
        if self._thread is None:
            raise BlockingIOError(errno.EAGAIN, "no room on this machine just now for a thread")

    def _serve(self) -> None:
        """On the thread: run what is started, until there is no more."""
        while (given := self._starts.get()) is not None:
            start, locks = given
            assert self._runner is not None
            outcome: Outcome | BaseException
            try:
                outcome = self._runner.run(start, locks)
                self._runner.let_go_of_locks(locks, start.kept_locks)
            except BaseException as error:
                outcome = error  # told by `take_in`, on the main thread
            self._ended.append(outcome)
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

    def wake_at_write(self) -> bool:
        """See `surroundings.Control`. A signal comes to the main thread alone, which is the program's."""
        return False

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
