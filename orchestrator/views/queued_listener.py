"""A listener that may have to wait, behind a bounded queue and a thread of its own: what it waits for is never time of the run.

Promise, for what comes into the queue: it is heard in order, each once, and the last of it before `close` returns, as long as the
listener takes an event at least every `PATIENCE_SECONDS`. Promise, when the queue is full: what happens next is lost to this
listener, counted, and told to it (`events lost: N`) at the place of the gap; the end of the run is never what is lost.
It refuses to handle: a listener that takes nothing any more. `close` leaves it to its thread, which ends with the process.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque

from orchestrator.system.threads import begin_thread
from orchestrator.views.happenings import Happening, Noted, RunFinished
from orchestrator.views.listener import Listener

MOST_QUEUED = 1 << 16
"""Events that wait for a slow listener. A run tells some thousands a second when all it does is to skip items, so a listener half
as fast as that keeps up with a burst of 130,000. The queue is some 30 MB when it is full, and empty with a quick reader."""

PATIENCE_SECONDS = 30.0
"""At the end: for how long nothing may be taken before what is left is given up. Long, for a reader may be short of CPU; only a
reader that has stopped costs it."""


_RETRY_SECONDS = 0.1
"""After which a thread for which there was no room at the end is tried again."""

REST_SECONDS = 0.05
"""How long the thread rests after it has given all that was queued. Waking it for each of a thousand events a second would cost
the run a tenth of its time: the two threads share one interpreter."""


class QueuedListener:
    """Hands on to `listener`, on a thread. What that raises comes out of the next `hear`, `refresh` or `close`, once.

    `lost` counts the events that the listener was never given.
    """

    def __init__(self, listener: Listener, *, most_queued: int = MOST_QUEUED, patience_seconds: float = PATIENCE_SECONDS) -> None:
        # What the loop's thread sets, the listener's thread sets, or both: all of it only under `_changed`.
        self.listener = listener
        self.lost = 0
        self._most_queued = most_queued
        self._patience_seconds = patience_seconds
        self._changed = threading.Condition()
        self._queue: deque[Happening] = deque()
        self._refresh_at: float | None = None
        """The `now` of a refresh that the listener has not had yet."""
        self._gap = 0
        """Events lost since the listener was last told of a gap. Not 0: it is given nothing until there is room again."""
        self._taken = 0
        self._in_hand = 0
        """1 while the listener is given an event."""
        self._is_idle = False
        """The thread waits for news and must be woken. Otherwise it looks for news by itself, after its work or its rest."""
        self._is_closing = False
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None

    def hear(self, happening: Happening) -> None:
        """Queue one happening. Never blocks."""
        with self._changed:
            self._raise_failure()
            if self._is_closing:
                return
            # A gap lasts until half of the queue is free. Ending with the first free place, it would come again with the next
            # event, and a listener that is behind would be told of gaps more than of anything else.
            room = self._most_queued // 2 if self._gap else self._most_queued
            if len(self._queue) >= room and not isinstance(happening, RunFinished):
                self._gap += 1
                self.lost += 1
                return
            self._queue_gap()
            self._queue.append(happening)
            self._wake()

    @property
    def shows_time(self) -> bool:
        """As of the listener behind it."""
        return self.listener.shows_time

    def refresh(self, now: float) -> None:
        """Have the listener refreshed as soon as it is done with what it does; once, if several refreshes come meanwhile."""
        with self._changed:
            self._raise_failure()
            if not self._is_closing:
                self._refresh_at = now
                self._wake()

    def close(self) -> None:
        """Wait until the listener was given all that is queued, and is closed. A listener that has stopped is left alone.

        It has stopped when it took nothing for `patience_seconds`: by progress, not in all, for a reader that needs a while for
        thousands of events shall get them.
        """
        with self._changed:
            self._queue_gap()
            self._is_closing = True
            self._is_idle = True  # a thread that rests is woken, too
            self._wake()
        # What else the run had has just ended, or is about to: there may be room for a thread at last.
        give_up_at = time.monotonic() + self._patience_seconds
        while self._thread is None and self._queue and time.monotonic() < give_up_at:
            time.sleep(_RETRY_SECONDS)
            with self._changed:
                self._wake()
        while self._thread is not None and self._thread.is_alive():
            before = self._taken
            self._thread.join(self._patience_seconds)
            if self._thread.is_alive() and self._taken == before:
                self._give_up()
                return
        if self._thread is None:
            # There was no room for a thread: nothing was given, and nothing can be without the danger to wait for ever.
            self._give_up()
        with self._changed:
            self._raise_failure()

    def _queue_gap(self) -> None:
        if self._gap:
            self._queue.append(Noted(message=lost_in_words(self._gap), at=time.time()))
            self._gap = 0

    def _wake(self) -> None:
        if self._thread is not None:
            if self._is_idle:
                self._is_idle = False
                self._changed.notify_all()
            return
        # Without room for a thread each later call tries again, and until then all is queued.
        self._thread = begin_thread(self._serve, f"listener-{type(self.listener).__name__}")

    def _give_up(self) -> None:
        with self._changed:
            # The event in hand counts as lost, too: nobody knows how much of it arrives.
            self.lost += len(self._queue) + self._in_hand
            self._queue.clear()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    # On the thread.

    def _serve(self) -> None:
        # Signals belong to the loop, whose wait they end.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        failure: Exception | None = None
        try:
            while (given := self._next()) is not None:
                self._give(given)
        except Exception as error:
            failure = error
        # A listener that failed is closed, too: it may have a file open, or a connection.
        try:
            self.listener.close()
        except Exception as error:
            failure = failure or error
        if failure is not None:
            self._fail(failure)

    def _give(self, given: Happening | float) -> None:
        if isinstance(given, float):
            self.listener.refresh(given)
        else:
            self._in_hand = 1
            self.listener.hear(given)
            self._in_hand = 0
        self._taken += 1

    def _next(self) -> Happening | float | None:
        """What the listener is given next; a number: a refresh. None: nothing more comes."""
        with self._changed:
            if not self._has_news():
                self._changed.wait_for(lambda: self._is_closing, REST_SECONDS)
            while not self._has_news():
                self._is_idle = True
                self._changed.wait()
            # A refresh goes first: behind a long queue it would come late, and it is 0.2 s until the next.
            if self._refresh_at is not None and not self._is_closing:
                now, self._refresh_at = self._refresh_at, None
                return now
            return self._queue.popleft() if self._queue else None

    def _has_news(self) -> bool:
        return bool(self._queue) or self._refresh_at is not None or self._is_closing

    def _fail(self, error: Exception) -> None:
        with self._changed:
            # Events that are queued do not count as lost: a listener that failed hears nothing more, and that is told.
            self._is_closing = True
            self._queue.clear()
            self._failure = error


def lost_in_words(count: int) -> str:
    """What is said of events that a listener was not given."""
    return f"events lost: {count}"
