"""Listeners that write to one pipe (`2>&1`), heard on one thread: on two, their lines would change places and tear each other."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.views.happenings import Happening
from orchestrator.views.listener import Listener


class Together:
    """Passes each call on to `listeners`, in their order. One that raises silences them all."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def hear(self, happening: Happening) -> None:
        """Have each take in one happening."""
        for listener in self._listeners:
            listener.hear(happening)

    @property
    def shows_time(self) -> bool:
        """Whether one of them does."""
        return any(listener.shows_time for listener in self._listeners)

    def refresh(self, now: float) -> None:
        """Refresh each. `now`: monotonic seconds."""
        for listener in self._listeners:
            listener.refresh(now)

    def close(self) -> None:
        """Close each."""
        for listener in self._listeners:
            listener.close()
