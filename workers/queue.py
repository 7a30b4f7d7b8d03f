"""The starts that a worker was given at once, or while others ran: one runs, the others are queued behind it.

Promise: a queued start begins only right after an attempt that ended well, as long as the halt word of the run is what it was
when they were sent, the supervisor lives and wants nothing else, and none lasts longer than `Starts.seconds`. What does not begin
is given back in the same message that tells what has ended, and the log tells it to the next supervisor. No end is told later
than these seconds after it, though the queue goes on, nor later than half of what was queued has begun, nor than the last has:
then more may come, so that the worker need not wait at the end of its queue.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence

from .halt_word import HALT_WORD_NAME, HaltWord
from .log import LOG_NAME, LogWriter
from .protocol import Ended, LeftAlone, LogLine, MoreStarts, Returned, Start, Starts, Told

MOST_IN_A_ROW = 256
"""So many begin one after the other at most, before no more are asked for: at the end of a queue the log is cut to what is not
recorded, and the lock of the slot may go to a run within this one."""


class StartQueue:
    """Of the worker with this `folder`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._halt_word: HaltWord | None = None
        self.starts: list[Start] = []
        """What has not begun, in order."""
        self._word = b""
        self._seconds = 0.0
        self._in_a_row = 0
        """How many have begun one after the other."""
        self._low = 0
        """So few are left when it is told that more may come; negative: that was told, also when the last began."""
        self._is_low = False
        """That is to be told now."""
        self._over_at = math.inf
        """When what runs has lasted so long that the others wait for it no more (monotonic seconds)."""
        self._ended: list[Ended] = []
        """What was not told yet."""
        self._tell_at = 0.0
        """When the first of these is to be told (monotonic seconds)."""
        self.is_untold = False
        """Whether `Told` is still to come for what was given last."""

    def take(self, given: Start | Starts) -> Start:
        """Queue what was given; its first start, which is to begin now."""
        self._in_a_row = 0
        self._over_at = math.inf
        if isinstance(given, Start):
            return given
        self._queue(given, given.starts[1:])
        return given.starts[0]

    def add(self, more: MoreStarts) -> None:
        """Queue this behind what runs, or have it given back with the next `take_told`."""
        self._queue(more, more.starts)

    def __contains__(self, sequence: int) -> bool:
        return any(start.sequence == sequence for start in self.starts)

    @property
    def tell_at(self) -> float:
        """When what has ended is to be told while the next runs (monotonic seconds); infinite: nothing has."""
        return 0.0 if self._is_low else self._tell_at if self._ended else math.inf

    @property
    def over_at(self) -> float:
        """Until when what is queued waits for the running attempt (monotonic seconds); infinite: nothing is."""
        return self._over_at if self.starts else math.inf

    def is_current(self, word: bytes) -> bool:
        """Whether this is the halt word still."""
        try:
            return self._opened_word().read() == word
        except OSError:
            # Nothing is known of the others.
            return False

    def begin_next(self) -> Start | None:
        """The first of what is queued, which begins now; None if the halt word was changed."""
        if not self.is_current(self._word):
            return None
        self._over_at = time.monotonic() + self._seconds
        self._in_a_row += 1
        following = self.starts.pop(0)
        if len(self.starts) <= self._low and self._in_a_row < MOST_IN_A_ROW:
            # Once more when the last has begun: near the end of a list none came for half a queue, and then some may.
            self._is_low, self._low = True, 0 if self.starts else -1
        return following

    def halt(self) -> None:
        """An attempt did not end well: whoever has a queued start of this run begins it no more."""
        try:
            self._opened_word().change()
        except OSError:
            # The supervisor hears of the end all the same, and recalls what is queued.
            return

    def keep(self, ended: Ended) -> None:
        """Have this told with what follows it."""
        if not self._ended:
            self._tell_at = time.monotonic() + self._seconds
        self._ended.append(ended)

    def take_ended(self, running: int) -> Told:
        """What has ended is to be told now, while this attempt runs, and others stay queued behind it."""
        told = Told(ended=self._ended, running=running, returned=[], is_low=self._is_low)
        self._ended, self._is_low = [], False
        return told

    def take_told(self, running: int | None) -> Told:
        """All that is to be told now, with what is given back. `running`: the attempt that goes on, and is told by itself."""
        told = Told(ended=self._ended, running=running, returned=[start.sequence for start in self.starts])
        self._ended, self.starts = [], []
        self.is_untold = self._is_low = False
        return told

    def note_in_log(self, returned: list[int]) -> None:
        """What is given back stands in the log before it is told: a supervisor that is killed meanwhile records nothing of it.

        The next one takes what it does not find there for attempts that may still begin, until this worker is gone.
        """
        if returned:
            self._append([Returned(sequence=sequence) for sequence in returned])

    def note_left_alone(self, running: int) -> None:
        """The supervisor is gone, and may have recorded starts that it could not send any more: none of them begins.

        The next one need not wait for the end of what runs, to know that.
        """
        self._append([LeftAlone(sequence=running)])

    def _queue(self, given: Starts | MoreStarts, starts: list[Start]) -> None:
        # If the word was changed since, what is queued already is given back, and what is behind it as well.
        if not self.starts:
            self._word = given.word
        self.starts += starts
        self._low = len(self.starts) // 2
        self._seconds = given.seconds
        self._over_at = min(self._over_at, time.monotonic() + given.seconds)
        self.is_untold = True

    def _append(self, lines: Sequence[LogLine]) -> None:
        try:
            log = LogWriter(f"{self._folder}/{LOG_NAME}")
            try:
                for line in lines:
                    log.append(line)
            finally:
                log.close()
        except OSError:
            return

    def _opened_word(self) -> HaltWord:
        if self._halt_word is None:
            self._halt_word = HaltWord(f"{os.path.dirname(self._folder)}/{HALT_WORD_NAME}")
        return self._halt_word
