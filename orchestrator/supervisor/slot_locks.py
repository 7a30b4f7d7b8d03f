"""The locks of this run's own slots: taken for the first attempt in a slot, and kept from one attempt to the next.

Promise: the lock of a slot in which something runs is held, whoever is killed: its descriptor travels with each attempt, and the
copy here is only one more. No lock is kept while its slot is idle. One that was taken `LONGEST_KEPT_SECONDS` ago is let go of
when its attempt ends, and tried anew: a run that is nested in this one may have it then. (Of short items up to 256 follow each
other under one lock: `workers.queue`.) So it is after an attempt whose end its
worker did not tell: something of it may live, and hold the lock.
"""

from __future__ import annotations

import os
import time
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit

import msgspec

from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.held import HeldLocks
from orchestrator.system.locks.lock_file import LOOK_SECONDS, note_holder, try_take
from orchestrator.workers.locks import unlock

LONGEST_KEPT_SECONDS = LOOK_SECONDS
"""Who waits for a slot looks at its lock as often: short attempts make it no harder to get than one that lasts so long."""


_OF_ALL_DESCRIPTORS = 4
"""A copy is a descriptor more, of which a run of hundreds of slots has few: only the first quarter of all is spent on copies."""


class _Held(msgspec.Struct):
    """`fd`: of the lock file; `since`: when it was taken (monotonic seconds)."""

    fd: int
    since: float


class SlotLocks:
    """Of one run."""

    def __init__(self, run_dir: RunDir) -> None:
        self._run_dir = run_dir
        # Text: of a `Path` each call of the system asks for it anew.
        self._paths: dict[int, str] = {}
        self._held: dict[int, _Held] = {}
        self._idle: set[int] = set()
        """Of those held: nothing runs in these slots just now."""
        limit, _ = getrlimit(RLIMIT_NOFILE)
        self._highest = limit // _OF_ALL_DESCRIPTORS if limit != RLIM_INFINITY else limit

    def try_take(self, slot: int, note: str) -> int | None:
        """The descriptor of the slot's lock, which stays ours if `keeps` says so; `note`: who has it now. None: somebody has it.

        Raises as `try_take` of `lock_file`.
        """
        path = self._paths.get(slot)
        if path is None:
            path = self._paths[slot] = str(self._run_dir.slot_lock(slot))
        held = self._held.get(slot)
        if held is not None:
            self._idle.discard(slot)
            # Others read there whose attempt it is: a note of the one before would show them a deadlock that there is not.
            try:
                note_holder(held.fd, note, path)
            except BaseException:
                self.give_back(slot)
                raise
            return held.fd
        fd = try_take(path, note, self._run_dir.path)
        if fd is not None and (fd < self._highest or self._highest == RLIM_INFINITY):
            self._held[slot] = _Held(fd, time.monotonic())
        return fd

    def note(self, slot: int, note: str) -> None:
        """The lock is held by this one now, who took it over from who held it before. Raises OSError."""
        if (held := self._held.get(slot)) is not None:
            note_holder(held.fd, note, self._paths[slot])

    def keeps(self, slot: int) -> bool:
        """Whether the descriptor that `try_take` gave stays here; else it is the caller's."""
        return slot in self._held

    def kept(self, slot: int) -> HeldLocks:
        """The lock of the slot, if it stays here."""
        held = self._held.get(slot)
        return HeldLocks((), () if held is None else (held.fd,))

    def give_back(self, slot: int) -> None:
        """Nothing was started in the slot after all: its lock is let go of."""
        if slot in self._held:
            self._let_go(slot)

    def attempt_ended(self, slot: int, *, is_told: bool) -> None:
        """Nothing runs in the slot any more. `is_told`: its worker has said so, which has seen the end of all that it started."""
        held = self._held.get(slot)
        if held is None:
            return
        if not is_told:
            del self._held[slot]
            os.close(held.fd)
        elif time.monotonic() - held.since >= LONGEST_KEPT_SECONDS:
            self._let_go(slot)
        else:
            self._idle.add(slot)

    def let_go_of_idle(self) -> None:
        """Let go of the locks of slots in which nothing was started again."""
        while self._idle:
            self._let_go(self._idle.pop())

    def close(self) -> None:
        """Let go of all. What runs keeps the lock of its slot to its end: the copy here is closed, and not unlocked."""
        self.let_go_of_idle()
        while self._held:
            os.close(self._held.popitem()[1].fd)

    def _let_go(self, slot: int) -> None:
        self._idle.discard(slot)
        unlock(self._held.pop(slot).fd)
