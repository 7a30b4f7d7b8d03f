"""Those who hear what happens to a run, and the fan-out that keeps each of them from ending or delaying it.

Promise: a run never waits for a listener and never ends because of one.
- A listener is called on the thread of the loop and must return at once. The terminal's view is such a listener: a question at
  a gate is written to the same terminal by the loop, so the order of the two matters.
- A listener that may have to wait (a pipe, an exporter) is given as `slow`: it gets a bounded queue and a thread of its own
  (`queued_listener`). What does not fit in the queue is lost to it, and counted.
- A listener that raises is silenced: it is closed and hears nothing more. supervisor.log has the traceback, the others a note.
- `refresh` comes by the clock, every 0.25 s, however many happenings there are.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from orchestrator.system.run_log import append_log
from orchestrator.views.happenings import Happening, Noted

REFRESH_SECONDS = 0.25
"""The longest time between two refreshes of a view, as long as the loop turns or anything happens."""


class Listener(Protocol):
    """Hears what happens to a run. Must return at once; what it raises silences it and is noted, and never ends the run."""

    def hear(self, happening: Happening) -> None:
        """Take in one happening."""

    def refresh(self, now: float) -> None:
        """Time has passed: durations of what runs have changed. `now`: monotonic seconds. Called at least every 0.25 s."""

    def close(self) -> None:
        """The run is over, or its supervisor leaves: let go of what was opened, and restore the terminal."""


class Listeners:
    """Tells each listener what happens. Used by one thread, the loop's; `clock` gives monotonic seconds."""

    def __init__(self, listeners: Sequence[Listener], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._listeners = list(listeners)
        self._clock = clock
        self._refresh_at = -math.inf
        self._log: Path | None = None
        self.silenced: list[Listener] = []

    def log_to(self, log: Path) -> None:
        """Have supervisor.log tell of listeners that fail, too. Before this there is no run that has one."""
        self._log = log

    def hear(self, happening: Happening) -> None:
        """Tell all listeners, in the order in which they were given. Never raises for a listener."""
        self._call_each(lambda listener: listener.hear(happening))
        # A busy turn of the loop may last longer than a refresh may wait.
        self.refresh_if_due(self._clock())

    def refresh_if_due(self, now: float) -> None:
        """Refresh all listeners if the last refresh is 0.25 s ago. Cheap otherwise: one comparison."""
        if now < self._refresh_at:
            return
        self._refresh_at = now + REFRESH_SECONDS
        self._call_each(lambda listener: listener.refresh(now))

    def close(self) -> None:
        """Close all listeners. Called again, it does nothing."""
        closing, self._listeners = self._listeners, []
        for listener in closing:
            try:
                listener.close()
            except Exception as error:
                self._note(_failed_in_words(listener, error), _traceback_of(error))

    def _call_each(self, call: Callable[[Listener], None]) -> None:
        failures: list[tuple[Listener, Exception]] = []
        for listener in tuple(self._listeners):
            try:
                call(listener)
            except Exception as error:
                failures.append((listener, error))
        # Only now: the others hear the happening itself before they hear of the failure.
        for failed, why in failures:
            self._silence(failed, why)

    def _silence(self, listener: Listener, error: Exception) -> None:
        if listener not in self._listeners:
            return
        self._listeners.remove(listener)
        self.silenced.append(listener)
        try:
            listener.close()  # a live view gives the cursor back
        except Exception as again:
            error.add_note(f"its close raised {again!r}")
        self._note(_failed_in_words(listener, error), _traceback_of(error))

    def _note(self, words: str, details: str) -> None:
        if self._log is not None:
            append_log(self._log, f"{words}\n{details}")
        self.hear(Noted(message=words, at=time.time()))


def _failed_in_words(listener: Listener, error: Exception) -> str:
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{type(listener).__name__} failed and hears nothing more ({said}); the run goes on"


def _traceback_of(error: Exception) -> str:
    return "".join(traceback.format_exception(error)).rstrip()
