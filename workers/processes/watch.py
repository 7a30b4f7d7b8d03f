"""Watch one agent until nothing of its tree lives, and end it when its time or somebody says so.

One loop, one place to wait (the `Control`), every deadline in it. States of the tree:

    running --timeout, stall, stop, memory, onlooker, End--> ending (SIGTERM sent) --grace--> killing (SIGKILL in rounds) --> gone
    running --main process exits, others live--> ending --> ...
    running --main process exits, nothing else lives--> gone
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence, Set
from contextlib import suppress
from typing import TYPE_CHECKING

from ..protocol import End, EndReason, Start
from . import tree
from .memory_use import FIRST_PAUSE_SECONDS, MemoryPauses, used_by_attempt
from .reaping import Reaped, reaper
from .spawn import SHORTAGES
from .stream_looks import StreamLooks
from .surroundings import Bounds, Host, Onlooker, Stream

if TYPE_CHECKING:
    import psutil

_SAME_MOMENT_SECONDS = 0.1
"""How long after a process died of SIGTERM the worker's own SIGTERM still counts as the same one. A sweep over many processes
signals one after the other."""

_FIRST_KILL_PAUSE_SECONDS = 0.01
_LONGEST_KILL_PAUSE_SECONDS = 1.0
_ORPHAN_CHECK_SECONDS = 0.05
_MEMORY_CHECK_SHARE = 0.05
_STOPPED_SECONDS = 10.0
"""For so long the main process must have been stopped (SIGSTOP) before it is continued, and the second time ended: a stop of a
moment is somebody's who knows what it is for. What it starts may be stopped for as long as it likes: its limits hold."""
_FIRST_WAIT_SECONDS = 0.02
"""Most commands of a long list have ended by then: they pay for no look at their streams."""
_FOREVER = float("inf")


class Watch:
    """One agent, from its spawn to the end of its tree. After `run`, the attributes say how it went.

    `ended_by` is why we ended the main process, if we did, and `asked_end` why its tree was to end at all: they differ if it
    had exited, or told its end, before.
    """

    # What each begins with stands in the class: most commands of a long list end before any of it changes.
    status: int | None = None
    ended_by: EndReason | None = None
    asked_end: EndReason | None = None
    cpu_seconds = 0.0
    max_rss = 0
    used_bytes = 0
    leftovers: Set[int] = frozenset()
    # How far it has come, and the next round of kills.
    _died_at = 0.0
    _stopped_at: float | None = None
    _is_continued = False
    _memory_pauses: MemoryPauses | None = None
    _memory_at = _FOREVER
    _has_seen_leftovers = False
    _kill_at = _FOREVER
    _kill_pause = _FIRST_KILL_PAUSE_SECONDS
    _first: tuple[bool, Sequence[End]] | None = None

    def __init__(
        self,
        pid: int,
        start: Start,
        host: Host,
        streams: Sequence[Stream],
        bounds: Bounds,
        onlooker: Onlooker | None,
    ) -> None:
        self._pid = pid
        self._start = start
        self._host = host
        self._bounds = bounds
        self._onlooker = onlooker
        self._streams = streams
        if (most := start.limits.memory_bytes) is not None:
            self._memory_pauses = MemoryPauses(most, host.count_workers)
            self._memory_at = time.monotonic() + FIRST_PAUSE_SECONDS

    def take_up(self, reaped: Sequence[Reaped], ends: Sequence[End]) -> None:
        """Have `run` begin behind a first wait, in which these children have ended, and these ends were asked for."""
        for child in reaped:
            self._take_in(child)
        self._first = self._reap_after_wait(ends)

    def run(self) -> int:
        """Wait until the tree is gone; returns the wait status of the main process."""
        limits, bounds = self._start.limits, self._bounds
        is_gone, ends = self._first or self._wait_and_reap(first_wait_seconds(bounds, self._onlooker))
        looks: StreamLooks | None = None
        while True:
            for end in ends:
                if end.sequence == self._start.sequence:
                    self._end(end.reason, end.grace_seconds)
            if is_gone:
                assert self.status is not None
                return self.status
            # Each check may begin an end, and the first reason counts: so each asks anew whether one has begun.
            now = time.monotonic()
            if now >= bounds.timeout_at and not self._is_ending:
                self._end(EndReason.TIMEOUT, limits.grace_seconds)
            looks = looks or StreamLooks(self._streams, limits.max_output_bytes, bounds, self._onlooker, self._host.control)
            if (reason := looks.look(now, is_ending=self._is_ending)) is not None:
                self._end(reason, limits.grace_seconds)
            self._heed_stop(now)
            if self._memory_pauses is not None and not self._is_ending:
                self._heed_memory(now, self._memory_pauses, has_written=looks.wrote_at == now)
            if now >= self._kill_at:
                self._kill(now)
            is_gone, ends = self._wait_and_reap(max(self._next_deadline(looks) - time.monotonic(), 0.0))

    def _next_deadline(self, looks: StreamLooks) -> float:
        # A tree that is being ended waits for its grace alone: nothing else could end it more.
        due_at = self._kill_at if self._is_ending else min(self._bounds.timeout_at, self._memory_at, self._stop_due_at)
        deadline = min(looks.due_at(is_ending=self._is_ending), due_at)
        if self.status is not None and not (self._host.is_subreaper and not self._host.strangers):
            # No SIGCHLD tells of the end of a process that is no child of ours: look for it.
            deadline = min(deadline, time.monotonic() + _ORPHAN_CHECK_SECONDS)
        return deadline

    @property
    def _is_ending(self) -> bool:
        return self._kill_at != _FOREVER

    def _wait_and_reap(self, seconds: float) -> tuple[bool, Sequence[End]]:
        """Whether the tree is gone, and the ends that were asked for."""
        return self._reap_after_wait(self._host.control.wait(seconds))

    def _reap_after_wait(self, ends: Sequence[End]) -> tuple[bool, Sequence[End]]:
        # Reap before ends are heeded: a process that exited by itself was not ended by us.
        is_gone = self._reap()
        if is_gone and self.status and not ends and self._may_have_died_with_us():
            ends = self._host.control.wait(_SAME_MOMENT_SECONDS)
        return is_gone, ends

    def _may_have_died_with_us(self) -> bool:
        """Whether the process was ended by SIGTERM in this very moment, and not by us.

        Whatever ends all processes of a machine, or of an item that this run is nested in, signals the worker too. Then the
        process died of that, and did not fail.
        """
        if self.status is None or self.ended_by is not None or not os.WIFSIGNALED(self.status):
            return False
        return os.WTERMSIG(self.status) == signal.SIGTERM and time.monotonic() - self._died_at <= _SAME_MOMENT_SECONDS

    def _reap(self) -> bool:
        """Take in every child that has ended; True when the main process and all others are gone."""
        take_in = reaper().reap
        while True:
            child = take_in()
            if child.pid < 0:
                if self.status is None:
                    raise RuntimeError(f"the agent {self._pid} was reaped by somebody else")
                # That there is no child proves that nothing is left. Without a subreaper orphans are not ours: look for them.
                return self._host.is_subreaper or not self._end_leftovers(has_children=False)
            if child.pid == 0:
                return self.status is not None and not self._end_leftovers(has_children=not self._host.strangers)
            self._take_in(child)

    def _take_in(self, child: Reaped) -> None:
        """A child has changed."""
        pid, status, cpu_seconds, max_rss = child
        # 0 is the status of most: exited by itself, with 0.
        if status and (os.WIFSTOPPED(status) or os.WIFCONTINUED(status)):
            if pid == self._pid:
                self._stopped_at = time.monotonic() if os.WIFSTOPPED(status) else None
            return
        self.cpu_seconds += cpu_seconds
        if max_rss > self.max_rss:
            self.max_rss = max_rss
        if pid == self._pid:
            self.status = status
            if status:
                self._died_at = time.monotonic()

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
        self.leftovers = self.leftovers | {process.pid for process in living}
        if not self._is_ending:
            tree.send(living, signal.SIGTERM)
            self._kill_at = time.monotonic() + self._start.limits.grace_seconds
        return True

    def _living(self) -> list[psutil.Process]:
        return tree.living_tree(self._start.mark, self._pid, self._host.strangers, is_subreaper=self._host.is_subreaper)

    def _end(self, reason: EndReason, grace_seconds: float) -> None:
        """Begin to end the tree; of a tree that is being ended already, shorten the grace."""
        if reason is EndReason.DRAIN and self._may_have_died_with_us():
            self.ended_by = reason
        if self.status is None and self.ended_by is None:
            # Ask before the signal goes out: what the agent tells after it may come of the signal.
            is_done = self._onlooker is not None and self._onlooker.has_told_its_end()
            self.ended_by = EndReason.LINGERING if is_done else reason
        self.asked_end = self.asked_end or reason
        if not self._is_ending:
            tree.send(self._living(), signal.SIGTERM)
        self._kill_at = min(self._kill_at, time.monotonic() + grace_seconds)

    @property
    def _stop_due_at(self) -> float:
        return _FOREVER if self._stopped_at is None else self._stopped_at + _STOPPED_SECONDS

    def _heed_stop(self, now: float) -> None:
        """Continue a main process that is stopped, once; then end it: by itself it would do neither."""
        if now < self._stop_due_at or self._is_ending:
            return
        self._stopped_at = None
        if self._is_continued:
            self._end(EndReason.STOPPED, self._start.limits.grace_seconds)
            return
        self._is_continued = True
        with suppress(PermissionError):  # it changed its user (sudo): ours to wait for, not to signal
            os.kill(self._pid, signal.SIGCONT)

    def _heed_memory(self, now: float, pauses: MemoryPauses, *, has_written: bool) -> None:
        """Look at the memory if that is due: soon where something was written just now, for then something is being done."""
        if has_written:
            pauses.end_rest()
            self._memory_at = min(self._memory_at, now + FIRST_PAUSE_SECONDS)
        if now >= self._memory_at:
            self._memory_at = now + self._check_memory(pauses)

    def _check_memory(self, pauses: MemoryPauses) -> float:
        """End a tree that uses more than it may. The seconds until the next look: later where many processes make a look dear."""
        began = time.monotonic()
        try:
            self.used_bytes = used_by_attempt(self._start.mark, self._pid, self._host)
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            return FIRST_PAUSE_SECONDS
        assert self._start.limits.memory_bytes is not None
        if self.used_bytes > self._start.limits.memory_bytes:
            self._end(EndReason.MEMORY, self._start.limits.grace_seconds)
        return max(pauses.pause_after(self.used_bytes), (time.monotonic() - began) / _MEMORY_CHECK_SHARE)

    def _kill(self, now: float) -> None:
        """One round: a tree that forks faster than it is killed needs several."""
        living = self._living()
        tree.send(living, signal.SIGKILL)
        killed = tree.kill_children_on_sight(self._host.strangers) | {process.pid for process in living}
        if len(killed) > len(living):
            # It forks faster than it is scanned: no time to lose.
            self._kill_pause = _FIRST_KILL_PAUSE_SECONDS
        if self.status is not None:
            self.leftovers = self.leftovers | killed
        self._kill_at = now + self._kill_pause
        self._kill_pause = min(self._kill_pause * 2, _LONGEST_KILL_PAUSE_SECONDS)


def first_wait_seconds(bounds: Bounds, onlooker: Onlooker | None = None) -> float:
    """How long the first wait for a process lasts that was just started."""
    seconds = _FIRST_WAIT_SECONDS if onlooker is None else 0.0
    return seconds if bounds.timeout_at == _FOREVER else max(min(seconds, bounds.timeout_at - time.monotonic()), 0.0)
