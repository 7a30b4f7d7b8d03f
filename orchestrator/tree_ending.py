"""Ending the processes that a dead worker left behind, beside the loop: it may take as long as their grace.

One short-lived thread for each dead worker (never one an item; another when somebody loses patience), which touches nothing but
those processes and a pipe.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable


class TreeEndings:
    """Runs endings beside the loop; `fileno` is readable when one is done."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._done: deque[tuple[int, BaseException | None]] = deque()
        self._is_closed = False
        self._closing = threading.Lock()

    def begin(self, sequence: int, end_tree: Callable[[], object]) -> None:
        """Call `end_tree` in a thread; `take` tells `sequence` (the attempt's) when it is done."""

        def work() -> None:
            failure: BaseException | None = None
            try:
                end_tree()
            except BaseException as error:
                failure = error
            self._done.append((sequence, failure))
            with self._closing:
                if not self._is_closed:
                    os.write(self._write_fd, b".")

        threading.Thread(target=work, name=f"end-tree-{sequence}", daemon=True).start()

    def fileno(self) -> int:
        """Readable when `take` has something."""
        return self._read_fd

    def take(self) -> list[int]:
        """Attempts whose trees are ended, by sequence. Raises what an ending raised: then it is not known to be ended."""
        try:
            os.read(self._read_fd, 4096)
        except BlockingIOError:
            return []
        ended: list[int] = []
        while self._done:
            sequence, failure = self._done.popleft()
            if failure is not None:
                raise failure
            ended.append(sequence)
        return ended

    def close(self) -> None:
        """Wait for none: a run that cannot write ends soon, and what it leaves unended has no end recorded: a resume ends it."""
        with self._closing:
            self._is_closed = True
            os.close(self._read_fd)
            os.close(self._write_fd)
