"""The starts that a worker was given at once: the first runs, the others are queued behind it.

Promise: a queued start begins only right after an attempt that ended well, as long as the halt word of the run is what it was
when they were sent, the supervisor lives and wants nothing else, and none lasts longer than `Starts.seconds`. What does not begin
is given back in the same message that tells what has ended, and the log tells it to the next supervisor. No end is told later
than these seconds after it, though the queue goes on.
"""

from __future__ import annotations

import os
import time

from .halt_word import HALT_WORD_NAME, HaltWord
from .log import LOG_NAME, LogWriter
from .protocol import Ended, Returned, Start, Starts, Told


class StartQueue:
    """Of the worker with this `folder`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._halt_word: HaltWord | None = None
        self._starts: list[Start] = []
        """What has not begun, in order."""
        self._word = b""
        self._seconds = 0.0
        self._over_at = 0.0
        """When what runs has lasted so long that the others wait for it no more (monotonic seconds)."""
        self._ended: list[Ended] = []
        """What was not told yet."""
        self._tell_at = 0.0
        """When the first of these is to be told (monotonic seconds)."""
        self.is_untold = False
        """Whether `Told` is still to come for what was given last."""

    def take(self, given: Starts) -> Start:
        """Queue what was given; its first start, which is to begin now."""
        self._starts = given.starts[1:]
        self._word = given.word
        self.is_untold = True
        self._seconds = given.seconds
        self._over_at = time.monotonic() + given.seconds
        return given.starts[0]

    def __contains__(self, sequence: int) -> bool:
        return any(start.sequence == sequence for start in self._starts)

    @property
    def seconds_to_tell(self) -> float | None:
        """In how many seconds what has ended is to be told while the next runs; None: nothing has."""
        return max(0.0, self._tell_at - time.monotonic()) if self._ended else None

    @property
    def patience(self) -> float | None:
        """For how many seconds the running attempt may go on before what is queued is given back; None: nothing is."""
        return max(0.0, self._over_at - time.monotonic()) if self._starts else None

    def begin_next(self) -> Start | None:
        """The first of what is queued, which begins now; None if the halt word was changed."""
        if not self._is_word_unchanged():
            return None
        self._over_at = time.monotonic() + self._seconds
        return self._starts.pop(0)

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
        told = Told(ended=self._ended, running=running, returned=[])
        self._ended = []
        return told

    def take_told(self, running: int | None) -> Told:
        """All that is to be told now, with what is given back. `running`: the attempt that goes on, and is told by itself."""
        told = Told(ended=self._ended, running=running, returned=[start.sequence for start in self._starts])
        self._ended, self._starts = [], []
        self.is_untold = False
        return told

    def note_in_log(self, returned: list[int]) -> None:
        """What is given back stands in the log before it is told: a supervisor that is killed meanwhile records nothing of it.

        The next one takes what it does not find there for attempts that may still begin, until this worker is gone.
        """
        if not returned:
            return
        try:
            log = LogWriter(f"{self._folder}/{LOG_NAME}")
            try:
                for sequence in returned:
                    log.append(Returned(sequence=sequence))
            finally:
                log.close()
        except OSError:
            return

    def _is_word_unchanged(self) -> bool:
        try:
            return self._opened_word().read() == self._word
        except OSError:
            # Nothing is known of the others.
            return False

    def _opened_word(self) -> HaltWord:
        if self._halt_word is None:
            self._halt_word = HaltWord(f"{os.path.dirname(self._folder)}/{HALT_WORD_NAME}")
        return self._halt_word
