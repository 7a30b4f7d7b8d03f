"""Watch one agent until nothing of its tree lives, and end it when its time or somebody says so.

One loop, one place to wait (the `Control`), every deadline in it. States of the tree:

    running --timeout, stall, memory, onlooker, End--> ending (SIGTERM sent) --grace--> killing (SIGKILL in rounds) --> gone
    running --main process exits, others live--> ending --> ...
    running --main process exits, nothing else lives--> gone
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..protocol import End, EndReason, Start
from . import tree
from .spawn import SHORTAGES

if TYPE_CHECKING:
    import psutil

_FIRST_KILL_PAUSE_SECONDS = 0.01
_LONGEST_KILL_PAUSE_SECONDS = 1.0
_SIZE_CHECK_SECONDS = (0.1, 1.0)
_EXPECTED_BYTES_PER_SECOND = 1 << 30
_ORPHAN_CHECK_SECONDS = 0.05
_MEMORY_CHECK_SECONDS = 0.2
_MEMORY_CHECK_SHARE = 0.05
_STALL_CHECK_SHARE = 0.05
_STALL_CHECK_SECONDS = (0.05, 5.0)
_FOREVER = float("inf")


class Control(Protocol):
    """Where a running attempt waits."""

    def wait(self, timeout_seconds: float | None) -> Sequence[End]:
        """Return once a child changed its state (SIGCHLD, also one that came before the call), a request came, or time is up.

        Returning early for no reason is harmless.
        """

    def is_supervisor_gone(self) -> bool:
        """Whether nobody is left who would let go of the locks that an attempt keeps."""


class Stream(Protocol):
    """Where the agent writes to."""

    def written(self) -> int:
        """How many bytes came so far; never less than before."""

    def cut_to(self, limit: int) -> int:
        """Drop what was written beyond `limit` bytes; returns how many bytes may still come."""


class Onlooker(Protocol):
    """Who reads what the agent writes, while it runs."""

    def look(self) -> EndReason | None:
        """Read what has come; why the agent is to be ended now, if it is."""

    def pause_seconds(self) -> float:
        """When to look again."""

    def has_told_its_end(self) -> bool:
        """Whether the agent had done its work by now, as far as it told: nothing that ends it now takes that back."""


class Watch:
    """One agent, from its spawn to the end of its tree. After `run`, the attributes say how it went.

    `ended_by` is why we ended the main process, if we did, and `asked_end` why its tree was to end at all: they differ if it
    had exited, or told its end, before. `timeout_at` is a time of the monotonic clock.
    """

    def __init__(
        self,
        pid: int,
        start: Start,
        control: Control,
        streams: Sequence[Stream],
        strangers: frozenset[int],
        is_subreaper: bool,
        *,
        timeout_at: float = _FOREVER,
        stall_seconds: float | None = None,
        onlooker: Onlooker | None = None,
    ) -> None:
        self.status: int | None = None
        self.ended_by: EndReason | None = None
        self.asked_end: EndReason | None = None
        self.cpu_seconds = 0.0
        self.max_rss = 0
        self.used_bytes = 0
        self.leftovers: set[int] = set()
        self._pid = pid
        self._start = start
        self._control = control
        self._streams = streams
        self._strangers = strangers
        self._is_subreaper = is_subreaper
        self._timeout_at = timeout_at
        self._stall_seconds = stall_seconds
        self._onlooker = onlooker
        self._written = 0
        self._wrote_at = 0.0
        self._has_seen_leftovers = False
        self._kill_at = _FOREVER
        self._kill_pause = _FIRST_KILL_PAUSE_SECONDS

    def run(self) -> int:
        """Wait until the tree is gone; returns the wait status of the main process."""
        start = self._start
        now = self._wrote_at = time.monotonic()
        size_at = now + self._size_pause(start.limits.max_output_bytes)
        memory_at = _FOREVER if start.limits.memory_bytes is None else now + _MEMORY_CHECK_SECONDS
        stall_at = _FOREVER if self._stall_seconds is None else now + self._stall_pause(self._stall_seconds)
        look_at = _FOREVER if self._onlooker is None else now
        while True:
            deadline = min(size_at, self._kill_at if self._is_ending else min(self._timeout_at, memory_at, stall_at, look_at))
            if self.status is not None and not (self._is_subreaper and not self._strangers):
                # No SIGCHLD will tell of the end of what is no child of ours.
                deadline = min(deadline, time.monotonic() + _ORPHAN_CHECK_SECONDS)
            ends = self._control.wait(max(deadline - time.monotonic(), 0.0))
            is_gone = self._reap()  # first: who has exited by himself was not ended by us
            for end in ends:
                if end.sequence == start.sequence:
                    self._end(end.reason, end.grace_seconds)
            if is_gone:
                assert self.status is not None
                return self.status
            now = time.monotonic()
            if now >= self._timeout_at and not self._is_ending:
                self._end(EndReason.TIMEOUT, start.limits.grace_seconds)
            if now >= look_at and not self._is_ending:
                look_at = self._look()
            if now >= stall_at and not self._is_ending:
                stall_at = now + self._check_stall(now)
            if now >= memory_at and not self._is_ending:
                memory_at = now + self._check_memory()
            if now >= self._kill_at:
                self._kill(now)
            if now >= size_at:
                size_at = now + self._size_pause(min(stream.cut_to(start.limits.max_output_bytes) for stream in self._streams))

    @property
    def _is_ending(self) -> bool:
        return self._kill_at != _FOREVER

    @staticmethod
    def _size_pause(room_bytes: int) -> float:
        """Seconds until a stream could have outgrown its limit at the speed of a fast disk; rarely where the limit is far."""
        shortest, longest = _SIZE_CHECK_SECONDS
        return min(max(room_bytes / _EXPECTED_BYTES_PER_SECOND, shortest), longest)

    def _reap(self) -> bool:
        """Take in every child that has ended; True when the main process and all others are gone."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                if self.status is None:
                    raise RuntimeError(f"the agent {self._pid} was reaped by somebody else") from None
                # ECHILD proves that nothing is left. Without a subreaper orphans are no children of ours: look for them.
                return self._is_subreaper or not self._end_leftovers(has_children=False)
            if pid == 0:
                return self.status is not None and not self._end_leftovers(has_children=not self._strangers)
            self.cpu_seconds += usage.ru_utime + usage.ru_stime
            self.max_rss = max(self.max_rss, usage.ru_maxrss)
            if pid == self._pid:
                self.status = status

    def _end_leftovers(self, *, has_children: bool) -> bool:
        """The main process is gone: begin to end what it left behind. Whether anything of it lives.

        `has_children`: something lives for certain, even if a scan misses it because it forks and exits all the time.
        """
        if has_children and self._has_seen_leftovers:
            return True
        living = self._living()
        if not living and not has_children:
            return False
        self._has_seen_leftovers = True
        self.leftovers.update(process.pid for process in living)
        if not self._is_ending:
            tree.send(living, signal.SIGTERM)
            self._kill_at = time.monotonic() + self._start.limits.grace_seconds
        return True

    def _living(self) -> list[psutil.Process]:
        return tree.living_tree(self._start.mark, self._pid, self._strangers, is_subreaper=self._is_subreaper)

    def _end(self, reason: EndReason, grace_seconds: float) -> None:
        if self.status is None and self.ended_by is None:
            # Asked before the signal goes out: what it tells after that may come of the signal.
            is_done = self._onlooker is not None and self._onlooker.has_told_its_end()
            self.ended_by = EndReason.LINGERING if is_done else reason
        self.asked_end = self.asked_end or reason
        if not self._is_ending:
            tree.send(self._living(), signal.SIGTERM)
        self._kill_at = min(self._kill_at, time.monotonic() + grace_seconds)

    def _look(self) -> float:
        """Have what came read; the time of the next look."""
        assert self._onlooker is not None
        if (reason := self._onlooker.look()) is not None:
            self._end(reason, self._start.limits.grace_seconds)
        return time.monotonic() + self._onlooker.pause_seconds()

    @staticmethod
    def _stall_pause(stall_seconds: float) -> float:
        shortest, longest = _STALL_CHECK_SECONDS
        return min(max(stall_seconds * _STALL_CHECK_SHARE, shortest), longest)

    def _check_stall(self, now: float) -> float:
        """End an agent that has written nothing for too long. The seconds until the next look; it may be ended that much late."""
        assert self._stall_seconds is not None
        written = sum(stream.written() for stream in self._streams)
        if written != self._written:
            self._written, self._wrote_at = written, now
        elif now - self._wrote_at >= self._stall_seconds:
            self._end(EndReason.STALLED, self._start.limits.grace_seconds)
        return self._stall_pause(self._stall_seconds)

    def _check_memory(self) -> float:
        """End a tree that uses more than it may. The seconds until the next look: later where many processes make a look dear."""
        import psutil  # noqa: F401  (takes 25 ms, once: no part of what a look costs)

        began = time.monotonic()
        try:
            self.used_bytes = tree.used_bytes(self._living())
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            return _MEMORY_CHECK_SECONDS
        assert self._start.limits.memory_bytes is not None
        if self.used_bytes > self._start.limits.memory_bytes:
            self._end(EndReason.MEMORY, self._start.limits.grace_seconds)
        return max(_MEMORY_CHECK_SECONDS, (time.monotonic() - began) / _MEMORY_CHECK_SHARE)

    def _kill(self, now: float) -> None:
        """One round: a tree that forks faster than it is killed needs several."""
        living = self._living()
        tree.send(living, signal.SIGKILL)
        killed = tree.kill_children_on_sight(self._strangers) | {process.pid for process in living}
        if len(killed) > len(living):
            # It forks faster than it is scanned: no time to lose.
            self._kill_pause = _FIRST_KILL_PAUSE_SECONDS
        if self.status is not None:
            self.leftovers |= killed
        self._kill_at = now + self._kill_pause
        self._kill_pause = min(self._kill_pause * 2, _LONGEST_KILL_PAUSE_SECONDS)
