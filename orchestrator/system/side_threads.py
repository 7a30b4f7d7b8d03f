"""Work that must not hold up the loop: it may take seconds, and the loop has others to serve.

Examples are the end of what a dead worker left behind, which may take as long as its grace, and the request to a child run.
Each piece of work has one short-lived thread (never one an item), which touches nothing of the loop but a pipe.

Promise: work that raised is never told as done; its exception comes out of `take_done`. Work for which the machine has no thread
just now is never refused: it waits, and `begin_waiting` tries again. What must be done all the same is done without a thread,
once it has waited for `patience_seconds`.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from orchestrator.system.threads import begin_thread

RETRY_SECONDS = 0.25
"""After which work that found no thread is tried again."""


class SideThreads:
    """Does work beside the loop; `fileno` is readable when a piece of it is done."""

    def __init__(self, patience_seconds: float = math.inf) -> None:
        self._patience_seconds = patience_seconds
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._done: deque[tuple[int, BaseException | None]] = deque()
        self._is_closed = False
        self._closing = threading.Lock()
        self._waiting: deque[tuple[int, Callable[[], object]]] = deque()
        self._waiting_since = 0.0
        self._retry_at = 0.0
        self._is_told = True

    def begin_work(self, number: int, work: Callable[[], object]) -> bool:
        """Call `work` in a thread; `take_done` tells `number` when it is done. Numbers need not differ.

        False: there is no room for a thread just now. Then `begin_waiting` is to be called at `next_look`.
        """
        if self._waiting or not self._try_begin(number, work):
            if not self._waiting:
                self._waiting_since = time.monotonic()
                self._is_told = False
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self._waiting.append((number, work))
            return False
        return True

    @property
    def next_look(self) -> float | None:
        """When `begin_waiting` is due (monotonic seconds); None: nothing waits for a thread."""
        return self._retry_at if self._waiting else None

    def begin_waiting(self, now: float) -> None:
        """Begin what waits for a thread, as far as there is room; nothing before `next_look`."""
        if not self._waiting or now < self._retry_at:
            return
        while self._waiting and self._try_begin(*self._waiting[0]):
            self._waiting.popleft()
        # Held up for a while, the loop can go on; without this work some item would have no end.
        while self._waiting and now >= self._waiting_since + self._patience_seconds:
            self._do(*self._waiting.popleft())
        self._retry_at = now + RETRY_SECONDS

    def take_words(self) -> str:
        """What a person should know of work that waits for a thread; once each time that it begins to wait, else empty."""
        words = "" if self._is_told else "no room on this machine just now for a thread; tried again"
        self._is_told = True
        return words

    def tell_done(self, number: int) -> None:
        """Have `take_done` tell `number`, for which nothing is to be done. Makes no thread: perhaps there is no room for one."""
        self._tell(number, None)

    def fileno(self) -> int:
        """Readable when `take_done` has something."""
        return self._read_fd

    def take_done(self) -> list[int]:
        """The numbers of the work that is done. Raises what a piece of work raised: that one is not done."""
        try:
            os.read(self._read_fd, 4096)
        except BlockingIOError:
            return []
        done: list[int] = []
        while self._done:
            number, failure = self._done.popleft()
            if failure is not None:
                raise failure
            done.append(number)
        return done

    def close(self) -> None:
        """Wait for nothing: a run that cannot write must end soon. Work that is cut off has no end recorded; a resume does it."""
        self._waiting.clear()
        with self._closing:
            self._is_closed = True
            os.close(self._read_fd)
            os.close(self._write_fd)

    def _try_begin(self, number: int, work: Callable[[], object]) -> bool:
        return begin_thread(partial(self._do, number, work), f"beside-{number}") is not None

    def _do(self, number: int, work: Callable[[], object]) -> None:
        failure: BaseException | None = None
        try:
            work()
        except BaseException as error:
            failure = error
        self._tell(number, failure)

    def _tell(self, number: int, failure: BaseException | None) -> None:
        # Told first, then woken: the loop finds it whenever it wakes.
        self._done.append((number, failure))
        with self._closing:
            # After `close` the number of the pipe may be another file's.
            if not self._is_closed:
                os.write(self._write_fd, b".")
