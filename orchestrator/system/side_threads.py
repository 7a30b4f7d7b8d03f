"""Work that must not hold up the loop: it may take seconds, and the loop has others to serve.

Examples are the end of what a dead worker left behind, which may take as long as its grace, and the request to a child run.
Each piece of work has one short-lived thread (never one an item), which touches nothing of the loop but a pipe.

Promise: work that raised is never told as done; its exception comes out of `take_done`.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable


class SideThreads:
    """Does work beside the loop; `fileno` is readable when a piece of it is done."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._done: deque[tuple[int, BaseException | None]] = deque()
        self._is_closed = False
        self._closing = threading.Lock()

    def begin_work(self, number: int, work: Callable[[], object]) -> None:
        """Call `work` in a thread; `take_done` tells `number` when it is done. Numbers need not differ."""

        def do() -> None:
            failure: BaseException | None = None
            try:
                work()
            except BaseException as error:
                failure = error
            self._tell(number, failure)

        threading.Thread(target=do, name=f"beside-{number}", daemon=True).start()

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
        with self._closing:
            self._is_closed = True
            os.close(self._read_fd)
            os.close(self._write_fd)

    def _tell(self, number: int, failure: BaseException | None) -> None:
        # Told first, then woken: the loop finds it whenever it wakes.
        self._done.append((number, failure))
        with self._closing:
            # After `close` the number of the pipe may be another file's.
            if not self._is_closed:
                os.write(self._write_fd, b".")
