"""The rate of a pool: one log of starts for all runs, HOME/pools/NAME/starts.

Promise: in any span of a rate's `seconds` there are never more than its `starts`, whichever runs they are of. Runs that give
the pool different rates share the log: a start is bound by the rate of its own run, and counts for all.

The file is a header and a ring of start times.
Invariant: start number n stands at place n % capacity. The count is written after the time, so a kill in between leaves a start
that is not counted and was not granted.
The log survives SIGKILL; power loss may lose starts. A damaged file is begun anew: a limit that is missed once is better than
work that never starts.
"""

from __future__ import annotations

import os
import struct
import time
from array import array
from pathlib import Path

import msgspec

from orchestrator.jobsfile.model import Pool
from orchestrator.store.durable_file import temporary_path, unwritable, write_all
from orchestrator.store.home import pool_folder
from orchestrator.system.locks.lock_file import try_lock_in_state
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.opening import open_file
from orchestrator.workers.processes.identity import boot_id
from orchestrator.workers.processes.spawn import SHORTAGES

BUSY_SECONDS = 0.01
"""When to try again if another process writes the log just now (it takes microseconds); twice as late each time."""

LONGEST_BUSY_SECONDS = 1.0
"""One that was stopped in the middle may keep the lock for hours."""

LONGEST_LAG_SECONDS = 5.0
"""How long after its grant a start may happen, at most, as far as a rate takes that into account."""

_MAGIC = b"starts 1"
_FIXED = struct.Struct("=8s40sQ")  # magic, boot id, capacity
_MOVING = struct.Struct("=Qq")  # count, wall clock minus boot clock
_TIMES_AT = _FIXED.size + _MOVING.size
_TIME = struct.Struct("=q")
_LEAST_CAPACITY = 1024
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, and never jumps; all processes of one boot share it."""


def boot_nanoseconds() -> int:
    """Nanoseconds since boot."""
    return time.clock_gettime_ns(_CLOCK)


class _Ring(msgspec.Struct, frozen=True):
    """An open log: `count` starts so far, of which it knows the last `capacity`."""

    fd: int
    capacity: int
    count: int
    is_of_this_boot: bool
    wall_offset: int

    def time_of(self, number: int) -> int:
        """When start `number` was, in nanoseconds since boot."""
        return int(_TIME.unpack(os.pread(self.fd, _TIME.size, self._place_of(number)))[0])

    @property
    def last_time(self) -> int:
        """When the last start was; 0 if there was none."""
        return self.time_of(self.count - 1) if self.count else 0

    def append(self, then: int) -> None:
        """Note one more start."""
        os.pwrite(self.fd, _TIME.pack(then), self._place_of(self.count))
        fault_point("rate.noted")
        os.pwrite(self.fd, _MOVING.pack(self.count + 1, time.time_ns() - boot_nanoseconds()), _FIXED.size)

    def _place_of(self, number: int) -> int:
        return _TIMES_AT + number % self.capacity * _TIME.size


class PoolRate:
    """The rate of a pool, for the starts of one run."""

    def __init__(self, home: Path, pool: Pool) -> None:
        assert pool.rate is not None, "a pool without a rate has no log of starts"
        self._folder = pool_folder(home, pool.name)
        self._path = self._folder / "starts"
        self._starts = pool.rate.starts
        self._span = round(pool.rate.seconds * 1e9)
        self._busy_seconds = BUSY_SECONDS

    def try_grant_start(self, lag_seconds: float = 0.0) -> float | None:
        """None: a start is granted, and noted. Else the seconds until it is worth trying again.

        `lag_seconds` (up to `LONGEST_LAG_SECONDS`): how much later the agent may start, because its worker has to start first.
        Without it five slow starts, and the five quick ones that follow a span later, would fall into one span.
        Raises StateUnwritableError, and OSError for a shortage of the machine.
        """
        lock_fd = try_lock_in_state(self._folder / "starts.lock")
        if lock_fd is None:
            wait, self._busy_seconds = self._busy_seconds, min(2 * self._busy_seconds, LONGEST_BUSY_SECONDS)
            return wait
        self._busy_seconds = BUSY_SECONDS
        try:
            return self._try_grant(round(min(lag_seconds, LONGEST_LAG_SECONDS) * 1e9))
        except OSError as error:
            if error.errno in SHORTAGES:
                raise
            raise unwritable(self._path, error) from error
        finally:
            os.close(lock_fd)

    def _try_grant(self, lag: int) -> float | None:
        now = boot_nanoseconds()
        ring = self._open(now)
        try:
            if ring.count >= self._starts:
                wait = ring.time_of(ring.count - self._starts) + self._span - now
                if wait > 0:
                    return wait / 1e9
            # Times never go back in the ring: so the one at `count - starts` answers for all before it.
            ring.append(max(now + lag, ring.last_time))
            return None
        finally:
            os.close(ring.fd)

    def _open(self, now: int) -> _Ring:
        """The log, with room for this rate, and with times of this boot's clock. Raises OSError."""
        ring = self._read()
        if ring is None:
            return self._begin(max(_LEAST_CAPACITY, self._starts), 0, [])
        is_ours = ring.is_of_this_boot and ring.last_time <= now + round(LONGEST_LAG_SECONDS * 1e9)
        if is_ours and ring.capacity >= self._starts:
            return ring
        # The ring is of another boot, or too small: it is written anew with the starts that it knows.
        try:
            known = [ring.time_of(number) for number in range(max(0, ring.count - ring.capacity), ring.count)]
        finally:
            os.close(ring.fd)
        if not is_ours:
            # Two boots have only the wall clock in common. It may have been set: no start may lie in the future.
            shift = ring.wall_offset - (time.time_ns() - now)
            known = [min(then + shift, now) for then in known]
        # Starts that a smaller ring has forgotten were no later than the oldest one that it knows: count them as that late.
        capacity = max(ring.capacity, self._starts)
        forgotten = min(ring.count, capacity) - len(known)
        return self._begin(capacity, ring.count, known[:1] * forgotten + known)

    def _read(self) -> _Ring | None:
        """The log as it is; None if there is none, or a damaged one. Raises OSError."""
        try:
            fd = open_file(self._path, os.O_RDWR)
        except FileNotFoundError:
            return None
        header = os.pread(fd, _TIMES_AT, 0)
        if len(header) == _TIMES_AT:
            magic, boot, capacity = _FIXED.unpack_from(header)
            count, wall_offset = _MOVING.unpack_from(header, _FIXED.size)
            if magic == _MAGIC and capacity > 0 and os.fstat(fd).st_size == _TIMES_AT + capacity * _TIME.size:
                return _Ring(fd, capacity, count, boot.rstrip(b"\0") == boot_id().encode(), wall_offset)
        os.close(fd)
        return None

    def _begin(self, capacity: int, count: int, times: list[int]) -> _Ring:
        """Write the log anew, with `times` as the last of `count` starts, and open it. Raises OSError."""
        ring = array("q", bytes(capacity * _TIME.size))
        for number, then in enumerate(times, count - len(times)):
            ring[number % capacity] = then
        # Renamed when it is complete: a kill in between leaves the old log.
        wall_offset = time.time_ns() - boot_nanoseconds()
        header = _FIXED.pack(_MAGIC, boot_id().encode(), capacity) + _MOVING.pack(count, wall_offset)
        temporary = temporary_path(self._path)
        fd = open_file(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            write_all(fd, header + ring.tobytes())
            fault_point("rate.log_written")
            os.rename(temporary, self._path)
        except BaseException:
            os.close(fd)
            raise
        return _Ring(fd, capacity, count, True, wall_offset)
