"""What stops a supervisor from within its own process: signals, and a `Stopper`, turned into something a selector can wait for.

A handler only notes the number; a byte on the wakeup descriptor wakes the loop. A signal that was ignored when we started
(`nohup`, a background job of a shell) stays ignored. Handlers belong to the main thread: a supervisor in another one has none.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType

import msgspec

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)

_DRAIN = 1
_NOW = 2


class Stopper:
    """Stops runs of this process: from another thread, from a callback, from a signal handler.

    One Stopper may be given to any number of runs. It stays pressed: a run that gets it later ends before anything starts.
    """

    def __init__(self) -> None:
        # A signal handler may come in the midst of another call, in the same thread.
        self._lock = threading.RLock()
        self._level = 0
        self._pressed = threading.Event()
        self._listeners: list[Callable[[int], None]] = []

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._pressed.is_set()

    def stop(self, *, now: bool = False) -> None:
        """Drain: nothing more starts, what runs may finish within `drain_timeout`. `now`: end what runs at once.

        Returns at once, and once more of the same changes nothing. The run is then `interrupted` (exit code 143), resumable.
        """
        with self._lock:
            self._level = max(self._level, _NOW if now else _DRAIN)
            self._pressed.set()
            for listener in list(self._listeners):
                listener(self._level)

    def wait(self, timeout_seconds: float) -> bool:
        """Whether `stop` was called, at the latest after so long."""
        return self._pressed.wait(timeout_seconds)

    def press(self, level: int) -> None:
        """What another Stopper heard."""
        self.stop(now=level >= _NOW)

    @contextmanager
    def heard_by(self, listener: Callable[[int], None]) -> Iterator[None]:
        """Call `listener` with 1 for a drain and 2 for at once, in whichever thread calls `stop`; now, if that was before."""
        with self._lock:
            self._listeners.append(listener)
            if self._level:
                listener(self._level)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)


class StopSources(msgspec.Struct, frozen=True, kw_only=True):
    """What stops a supervisor: with `signals` those of its process (only in the main thread), and a `stopper`."""

    signals: bool = True
    stopper: Stopper | None = None


SIGNALS = StopSources()


class SignalInbox:
    """Context manager: while it is open it catches SIGINT, SIGTERM, SIGHUP, SIGUSR1 (and puts the old handlers back), as far as
    `sources` says so, and takes what its Stopper hears for SIGTERM."""

    def __init__(self, sources: StopSources) -> None:
        self._sources = sources
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        self._noted: list[signal.Signals] = []
        self._stops_heard = 0
        self._open = ExitStack()

    def __enter__(self) -> SignalInbox:
        self._open.callback(self._close_pipe)
        os.set_blocking(self._read_fd, False)
        os.set_blocking(self._write_fd, False)
        if self._sources.signals and threading.current_thread() is threading.main_thread():
            self._open.enter_context(self._catching())
        if self._sources.stopper is not None:
            self._open.enter_context(self._sources.stopper.heard_by(self._hear))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._open.close()

    def fileno(self) -> int:
        """Readable after a signal."""
        return self._read_fd

    @property
    def has_signals(self) -> bool:
        """Whether some came since the last call of `take_signals`."""
        return bool(self._noted)

    def take_signals(self) -> list[signal.Signals]:
        """The signals that came since the last call, in order."""
        self._empty()
        noted = list(self._noted)
        # A signal that another thread adds meanwhile stays, and has written its byte: the next call takes it.
        del self._noted[: len(noted)]
        return noted

    @contextmanager
    def _catching(self) -> Iterator[None]:
        old_handlers = {number: signal.getsignal(number) for number in CAUGHT}
        # An ignored signal stays ignored. None is a handler that is not Python's (faulthandler's): it could not be put back.
        caught = [number for number, handler in old_handlers.items() if handler not in (signal.SIG_IGN, None)]
        for number in caught:
            signal.signal(number, self._note)
        old_wakeup_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old_wakeup_fd)
            for number in caught:
                signal.signal(number, old_handlers[number])

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted.append(signal.Signals(number))

    def _hear(self, level: int) -> None:
        """A drain is one stop signal, at once are two: the same way as Ctrl-C. Called under the Stopper's lock."""
        while self._stops_heard < level:
            self._stops_heard += 1
            self._noted.append(signal.SIGTERM)
        self._wake()

    def _wake(self) -> None:
        # A full pipe is readable already.
        with contextlib.suppress(BlockingIOError):
            os.write(self._write_fd, b".")

    def _empty(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read_fd, 512):
                continue

    def _close_pipe(self) -> None:
        os.close(self._read_fd)
        os.close(self._write_fd)
