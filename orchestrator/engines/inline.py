"""`slots = 0`: attempts run one by one in the supervisor itself, for debugging. They die with it; nothing is adopted.

`start` blocks until the attempt has ended. While it runs the first stop signal lets it finish within the drain's budget, the
second ends it at once: the same rules as elsewhere, told to the supervisor afterwards.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.core.stopping import NOW_GRACE_SECONDS
from orchestrator.engines.engine import EngineEvent, OutcomeArrived
from orchestrator.signals import SignalInbox
from orchestrator.store.records import WorkerStarted
from workers.attempt import AttemptRunner
from workers.identity import boot_id, start_ticks
from workers.launch import lock_liveness
from workers.protocol import End, EndReason, Start
from workers.tree import children_now

_SLOT = 0


class InlineEngine:
    """The one slot of an inline run."""

    def __init__(self, folder_of: Callable[[int], Path], signals: SignalInbox, drain_seconds: float) -> None:
        self._folder_of = folder_of
        self._control = _InlineControl(signals, drain_seconds)
        self._old_child_handler = signal.signal(signal.SIGCHLD, lambda *_: None)
        self._old_folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._read_fd, self._write_fd = os.pipe()
        self._events: list[EngineEvent] = []
        self._runner: AttemptRunner | None = None
        self._worker = -1
        self._liveness_fd: int | None = None

    def prepare_slot(self, slot: int, next_worker: int) -> WorkerStarted | None:
        """Make the folder; the "worker" is this process."""
        assert slot == _SLOT
        if self._runner is not None:
            return None
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
        """Run the attempt now."""
        assert self._runner is not None
        self._control.running = start
        # The runner unlocks and closes what it is given; the caller closes its own.
        outcome = self._runner.run(start, [os.dup(fd) for fd in lock_fds])
        self._control.running = None
        self._control.give_signals_back()
        self._events.append(OutcomeArrived(slot, start.sequence, outcome))
        os.write(self._write_fd, b".")

    def end(self, slot: int, end: End) -> None:
        """Nothing runs when anybody could ask for its end."""

    def filenos(self) -> list[int]:
        """Readable after an attempt."""
        return [self._read_fd]

    def poll(self, fileno: int) -> list[EngineEvent]:
        """The outcome of the attempt that `start` ran."""
        os.read(fileno, 4096)
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Put the child handler back, and all else that an attempt changes in this process."""
        if self._runner is not None:
            self._runner.close()
        signal.signal(signal.SIGCHLD, self._old_child_handler)
        os.fchdir(self._old_folder)  # an attempt leaves the process in its own
        os.close(self._old_folder)
        os.close(self._read_fd)
        os.close(self._write_fd)
        if self._liveness_fd is not None:
            os.close(self._liveness_fd)


class _InlineControl:
    """Where an inline attempt waits: for its child, and for the supervisor's own signals."""

    def __init__(self, signals: SignalInbox, drain_seconds: float) -> None:
        self.running: Start | None = None
        self._signals = signals
        self._drain_seconds = drain_seconds
        self._drain_until: float | None = None
        self._poll = select.poll()
        self._poll.register(signals.fileno(), select.POLLIN)

    def give_signals_back(self) -> None:
        """The supervisor shall hear of the signals that came while it was blocked."""
        self._drain_until = None
        self._signals.rearm()

    def is_supervisor_gone(self) -> bool:
        """This process is the supervisor."""
        return False

    def wait(self, timeout_seconds: float | None) -> Sequence[End]:
        """See `workers.watch.Control`."""
        now = time.monotonic()
        waits = [each for each in (timeout_seconds, self._drain_until and self._drain_until - now, 3600.0) if each is not None]
        self._poll.poll(max(0.0, min(waits)) * 1000)
        stops = [number for number in self._signals.peek() if number != signal.SIGUSR1]
        if self.running is None or not stops:
            return []
        if len(stops) > 1:
            return [End(sequence=self.running.sequence, reason=EndReason.DRAIN, grace_seconds=NOW_GRACE_SECONDS)]
        if self._drain_until is None:
            self._drain_until = time.monotonic() + self._drain_seconds
        if time.monotonic() >= self._drain_until:
            grace = self.running.grace_seconds
            return [End(sequence=self.running.sequence, reason=EndReason.DRAIN, grace_seconds=grace)]
        return []
