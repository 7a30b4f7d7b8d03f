"""Looks at the sources of items, beside the loop: to read them may take minutes, and the loop has others to serve.

Each look has one short-lived thread, which touches nothing of the loop. Nobody waits for it when a run ends: a look changes
nothing but notes that tell the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

from orchestrator.attempts.renewal import Renewal
from orchestrator.system.threads import begin_thread

PATIENCE_SECONDS = 0.02
"""So long the loop waits for a look: most are over by then."""

_LONGEST_COUNT_SECONDS = 30.0
"""So long counts what a look has found. Its item may have to wait for a slot after it."""


class Look:
    """`look` is called in a thread; by the caller itself if there is no room for one."""

    def __init__(self, look: Callable[[], Renewal]) -> None:
        self._look = look
        self._over = threading.Event()
        self._over_at = 0.0
        self._found: Renewal | BaseException | None = None
        if begin_thread(self._do, "look") is None:
            self._do()
        self._over.wait(PATIENCE_SECONDS)

    @property
    def is_over(self) -> bool:
        """Whether it is known what it has found."""
        return self._over.is_set()

    @property
    def is_old(self) -> bool:
        """Whether it was over too long ago to be counted on."""
        return self.is_over and time.monotonic() > self._over_at + _LONGEST_COUNT_SECONDS

    def found(self) -> Renewal:
        """What it has found, once it is over. Raises what it raised."""
        if isinstance(self._found, BaseException):
            raise self._found
        assert self._found is not None
        return self._found

    def _do(self) -> None:
        try:
            self._found = self._look()
        except BaseException as error:
            self._found = error
        self._over_at = time.monotonic()
        self._over.set()


class Looks:
    """Of one run, by item: anything that is another for an item that is asked for once more."""

    def __init__(self) -> None:
        self._begun: dict[Hashable, Look] = {}

    def look_of(self, item: Hashable, look: Callable[[], Renewal]) -> Look:
        """The look that was begun for the item, else a new one. What one has found counts once."""
        found = self._begun.pop(item, None)
        if found is None or found.is_old:
            found = Look(look)
        if not found.is_over:
            self._begun[item] = found
        return found
