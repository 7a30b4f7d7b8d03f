"""Work that must not hold up the loop: ending what a dead worker left behind, which may take as long as its grace, and asking
child runs to end.

One short-lived thread for each (never one an item), which touches nothing of the loop's but a pipe.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable


class SideThreads:
    """Does work beside the loop; `fileno` is readable when some is done."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._done: deque[tuple[int, BaseException | None]] = deque()
        self._is_closed = False
        self._closing = threading.Lock()

    def begin(self, number: int, work: Callable[[], object]) -> None:
        """Call `work` in a thread; `take` tells `number` when it is done."""

        def do() -> None:
            failure: BaseException | None = None
            try:
                work()
            except BaseException as error:
                failure = error
            self._done.append((number, failure))
            with self._closing:
                if not self._is_closed:
                    os.write(self._write_fd, b".")

        threading.Thread(target=do, name=f"beside-{number}", daemon=True).start()

    def fileno(self) -> int:
        """Readable when `take` has something."""
        return self._read_fd

    def take(self) -> list[int]:
        """The numbers of what is done. Raises what the work raised: then it is not known to be done."""
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
        """Wait for none: a run that cannot write ends soon, and what it leaves unended has no end recorded: a resume ends it."""
        with self._closing:
            self._is_closed = True
            os.close(self._read_fd)
            os.close(self._write_fd)
