"""The fan-out to those who hear what happens to a run: it keeps each of them from ending or delaying the run.

Promise: a run never waits for a listener and never ends because of one.
- A listener is called on the thread of the loop and must return at once. The terminal's view is such a listener: a question at
  a gate is written to the same terminal by the loop, and what is drawn must stand still from then on. A view on a thread of its
  own could only promise that if the loop waited for it. So it draws on the loop's, and never waits for the terminal (`outlet`).
- A slow listener, which may have to wait for somebody, has a bounded queue and a thread of its own (`queued_listener`). What
  does not fit into the queue is lost to it, and counted; all others hear the number at the end.
- A listener that raises is silenced: it is closed and hears nothing more. supervisor.log has the traceback, the others a note.
- `refresh` comes by the clock: every 0.2 s, however many happenings there are; four times a second also where the loop is late;
  once a second where nothing happens; never where no listener shows that time passes. What is told first after a while is shown a
  little later: the start that follows the end of an attempt does not wait for the picture of that end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.system.run_log import append_log
from orchestrator.system.wording import error_in_words
from orchestrator.views.happenings import Happening, Noted
from orchestrator.views.listener import Listener
from orchestrator.views.queued_listener import QueuedListener, lost_in_words

REFRESH_SECONDS = 0.2
"""From one refresh of a view to the next, or to whatever happens first behind that."""

TURN_SECONDS = 0.05
"""What is told first after a while is shown so much later, when the turn of the loop is over in which it has happened."""

QUIET_REFRESH_SECONDS = 1.0
"""As that where nothing has happened meanwhile: a view shows whole seconds."""


class Listeners:
    """Tells each listener what happens. Used by one thread, the loop's; `clock` gives monotonic seconds.

    `slow`: listeners that may have to wait for somebody.
    """

    def __init__(
        self, listeners: Sequence[Listener], slow: Sequence[Listener] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slow = [QueuedListener(each) for each in slow]
        self._listeners: tuple[Listener, ...] = (*listeners, *self._slow)
        """Those that still hear. A tuple: one may be silenced while the others are told something."""
        self._clock = clock
        self._log: Path | None = None
        self._refreshed_at = -math.inf
        self._has_news = False
        """Whether something was told since the last refresh."""
        self._shows_time = any(each.shows_time for each in self._listeners)
        self.next_refresh = -math.inf if self._shows_time else math.inf
        """When `refresh_if_due` has something to do again: monotonic seconds."""
        self.follows_items = any(_follows_items(each) for each in (*listeners, *slow))
        """Whether anybody hears of starts, and of successes that say nothing."""
        self.silenced: list[Listener] = []

    def log_to(self, log: Path) -> None:
        """Have supervisor.log tell of listeners that fail, too. Before this there is no run that has one."""
        self._log = log

    def hear(self, happening: Happening) -> None:
        """Tell all listeners, in the order in which they were given. Never raises for a listener."""
        failures: list[tuple[Listener, Exception]] | None = None
        for listener in self._listeners:
            try:
                listener.hear(happening)
            except Exception as error:
                failures = [*(failures or ()), (listener, error)]
        if failures:
            self._silence_failed(failures)
        if not self._shows_time:
            return
        now = self._clock()
        if not self._has_news:
            self._has_news = True
            self.next_refresh = max(self._refreshed_at + REFRESH_SECONDS, now + TURN_SECONDS)
        # A busy turn of the loop may last longer than a refresh may wait.
        elif now >= self.next_refresh:
            self.refresh_if_due(now)

    def refresh_if_due(self, now: float) -> None:
        """Refresh all listeners if that is due. Cheap otherwise: one comparison."""
        if now < self.next_refresh:
            return
        self._has_news = False
        # At a whole second, as other looks of the loop: one wake does for all.
        self._refreshed_at, self.next_refresh = now, int(now) + QUIET_REFRESH_SECONDS
        failures: list[tuple[Listener, Exception]] = []
        for listener in self._listeners:
            try:
                listener.refresh(now)
            except Exception as error:
                failures.append((listener, error))
        if failures:
            self._silence_failed(failures)

    def close(self) -> None:
        """Close all listeners, the slow ones first: what was lost to them is told to the others. Called again, it does nothing.

        Waits for a slow listener as long as it takes what is queued, and no longer than its patience once it takes nothing.
        """
        try:
            for slow in self._slow:
                if slow not in self._listeners:
                    continue
                self._close(slow)
                if slow.lost:
                    self._note(f"{type(slow.listener).__name__}: {lost_in_words(slow.lost)}")
        finally:
            # Also when somebody has interrupted the wait: a live view has to give the cursor back.
            for listener in self._listeners:
                self._close(listener)

    def _silence_failed(self, failures: Sequence[tuple[Listener, Exception]]) -> None:
        """Only now, behind the loop over all: the others hear the happening itself before they hear of a failure."""
        for failed, why in failures:
            self._silence(failed, why)

    def _silence(self, listener: Listener, error: Exception) -> None:
        if listener not in self._listeners:
            return  # what it did when it heard of another's failure has silenced it already
        self._listeners = tuple(each for each in self._listeners if each is not listener)
        self.silenced.append(_behind_queue(listener))
        try:
            listener.close()  # a live view gives the cursor back
        except Exception as again:
            error.add_note(f"its close raised {again!r}")
        self._note(_failed_in_words(listener, error), error)

    def _close(self, listener: Listener) -> None:
        if listener not in self._listeners:
            return
        self._listeners = tuple(each for each in self._listeners if each is not listener)
        try:
            listener.close()
        except Exception as error:
            self._note(_failed_in_words(listener, error), error)

    def _note(self, words: str, error: Exception | None = None) -> None:
        """Made here and not by the narrator: at `close` the run is over."""
        if self._log is not None:
            append_log(self._log, words if error is None else f"{words}\n{_traceback_of(error)}")
        self.hear(Noted(message=words, at=time.time()))


def _follows_items(listener: Listener) -> bool:
    return bool(getattr(listener, "follows_items", True))


def _behind_queue(listener: Listener) -> Listener:
    return listener.listener if isinstance(listener, QueuedListener) else listener


def _failed_in_words(listener: Listener, error: Exception) -> str:
    return f"{type(_behind_queue(listener)).__name__} failed and hears nothing more ({error_in_words(error)}); the run goes on"


def _traceback_of(error: Exception) -> str:
    import traceback  # Of a bug alone.

    return "".join(traceback.format_exception(error)).rstrip()
