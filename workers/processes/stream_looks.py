"""When what an agent writes is looked at: that it keeps to its size, that it goes on, and what it tells.

Promise: while something comes, the streams are looked at so often that a fast disk brings little beyond `max_output`. Of an agent
that writes nothing the next write tells (`surroundings.Control.wake_at_write`): until then it costs no look but at its deadlines.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..protocol import EndReason
from .surroundings import Bounds, Control, Onlooker, Stream

_SIZE_CHECK_SECONDS = (0.1, 1.0)
_EXPECTED_BYTES_PER_SECOND = 1 << 30
_STALL_CHECK_SHARE = 0.05
_STALL_CHECK_SECONDS = (0.05, 5.0)
_QUIET_AFTER_SECONDS = 1.0
"""After so long without a write the kernel is asked to tell of the next: of one that writes all the time that would be dearer."""
_QUIET_LOOK_SECONDS = 300.0
"""From one look at the streams of a quiet agent to the next, whatever the kernel tells."""
_FOREVER = float("inf")


class StreamLooks:
    """At the streams of one agent, from its start. `wrote_at`: of the look that found something new last (monotonic seconds)."""

    def __init__(
        self, streams: Sequence[Stream], most_bytes: int, bounds: Bounds, onlooker: Onlooker | None, control: Control
    ) -> None:
        self._streams = streams
        self._most_bytes = most_bytes
        self._stall_seconds = bounds.stall_seconds
        self._onlooker = onlooker
        self._control = control
        self._written = 0
        self._is_quiet = False
        """Whether the streams are looked at when the kernel tells of a write, and not by the clock."""
        now = self.wrote_at = time.monotonic()
        self._size_at = now + _size_pause(most_bytes)
        self._stall_at = self._next_stall_check(now)
        self._read_at = _FOREVER if onlooker is None else now

    def due_at(self, *, is_ending: bool) -> float:
        """When `look` is due (monotonic seconds), if no signal comes before. To be asked right before each wait."""
        if self._is_quiet:
            # Whatever woke it may have used up the signal. What came before that is told by no signal.
            self._control.wake_at_write()
            if self._bytes_now() != self._written:
                return 0.0
        return self._size_at if is_ending else min(self._size_at, self._stall_at, self._read_at)

    def look(self, now: float, *, is_ending: bool) -> EndReason | None:
        """Do what is due; why the agent is to be ended now, if it is. `is_ending`: it is being ended already."""
        if self._is_quiet and self._has_grown(now):
            self._is_quiet = False
            self._size_at = now
            self._stall_at = self._next_stall_check(now)
            self._read_at = _FOREVER if self._onlooker is None else now
        reason = None
        if now >= self._read_at and not is_ending:
            reason = self._have_read()
        if now >= self._stall_at and not is_ending and reason is None:
            reason = self._check_stall(now)
        # Also of a tree that is being ended: it may write until it is gone, and the disk is everybody's.
        if now >= self._size_at:
            self._size_at = now + _size_pause(min(stream.cut_to(self._most_bytes) for stream in self._streams))
            if not self._has_grown(now) and now - self.wrote_at >= _QUIET_AFTER_SECONDS and not is_ending:
                self._go_quiet(now)
        return reason

    def _bytes_now(self) -> int:
        return sum(stream.written() for stream in self._streams)

    def _has_grown(self, now: float) -> bool:
        written = self._bytes_now()
        if written == self._written:
            return False
        self._written, self.wrote_at = written, now
        return True

    def _go_quiet(self, now: float) -> None:
        """Look at the next write, and not by the clock, if only a write can bring something new."""
        read_at = _FOREVER if self._onlooker is None else self._onlooker.due_at()
        if read_at <= now or not all(stream.is_settled() for stream in self._streams) or not self._control.wake_at_write():
            return
        self._is_quiet = True
        self._size_at = now + _QUIET_LOOK_SECONDS
        self._read_at = read_at
        self._stall_at = self._next_stall_check(now)

    def _have_read(self) -> EndReason | None:
        """Have the onlooker read what came."""
        assert self._onlooker is not None
        reason = self._onlooker.look_at_streams()
        now, due_at = time.monotonic(), self._onlooker.due_at()
        self._is_quiet = self._is_quiet and due_at > now
        self._read_at = due_at if self._is_quiet else now + self._onlooker.pause_seconds()
        return reason

    def _check_stall(self, now: float) -> EndReason | None:
        """End an agent that has written nothing for too long. It may be ended as late as one check is from the next."""
        assert self._stall_seconds is not None
        is_stalled = not self._has_grown(now) and now >= self.wrote_at + self._stall_seconds
        self._stall_at = self._next_stall_check(now)
        return EndReason.STALLED if is_stalled else None

    def _next_stall_check(self, now: float) -> float:
        if self._stall_seconds is None:
            return _FOREVER
        if self._is_quiet:
            return self.wrote_at + self._stall_seconds
        shortest, longest = _STALL_CHECK_SECONDS
        return now + min(max(self._stall_seconds * _STALL_CHECK_SHARE, shortest), longest)


def _size_pause(room_bytes: int) -> float:
    """Seconds until a stream could have outgrown its limit at the speed of a fast disk; rarely where the limit is far."""
    shortest, longest = _SIZE_CHECK_SECONDS
    return min(max(room_bytes / _EXPECTED_BYTES_PER_SECOND, shortest), longest)
