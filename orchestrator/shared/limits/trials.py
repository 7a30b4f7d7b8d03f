"""Trials: which attempt may use an account whose usage limit was reached. None until the reset, then one that tries, then all.

The right to try is a lock, HOME/limits/ACCOUNT.probe, that travels with the attempt as the slot of a pool does: a killed attempt
frees it. An attempt that still works after `LONGEST_TRIAL_SECONDS` was not refused. Then the limit is over, and the others need
not wait for the end of an hour's work.
Promise: of all runs of this user no two attempts try at once. (A trial that has ended may be followed by another before its
result is written.) Nothing is held while an item waits.
It refuses to handle: how long an account is parked (`park`).
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

import msgspec

from orchestrator.shared.limits.park import Park
from orchestrator.shared.limits.parks import Parks, park_words, until_words
from orchestrator.store.home import limits_folder
from orchestrator.system.locks.lock_file import Stamp, is_free, note_of_holder, stamp_of, try_take

LONGEST_TRIAL_SECONDS = 120.0
"""A usage limit is told with the first request. A client that retries by itself is ended long before this."""

_A_MOMENT_SECONDS = 1e-3


class Parked(msgspec.Struct, frozen=True):
    """The limit still holds, for `seconds` as far as is known."""

    park: Park
    seconds: float

    @property
    def words(self) -> str:
        """One line for people."""
        return park_words(self.park)


class Tried(msgspec.Struct, frozen=True):
    """The reset is past, and another attempt tries just now."""

    park: Park

    @property
    def words(self) -> str:
        """One line for people."""
        return f"another attempt finds out whether the usage limit of {self.park.account} is over"


class Trial(msgspec.Struct, frozen=True):
    """This attempt tries. The descriptor of the lock is the caller's, to hand over and to close."""

    lock_fd: int


class Trials:
    """The accounts as one run may use them. `marks`: of the attempts that the run is in; it is part of what they try."""

    def __init__(self, home: Path, parks: Parks, marks: Collection[str] = ()) -> None:
        self._folder = limits_folder(home)
        self._parks = parks
        self._marks = frozenset(marks)

    def find_missing(self, account: str) -> Parked | Tried | None:
        """The reason why an attempt may not use the account; None if there is none, or if it may be the one that tries."""
        if (parked := self._parked(account)) is not None:
            return parked
        park = self._parks.find_park(account)
        if park is None or not self._is_tried_by_others(account):
            return None
        # A trial that has worked for so long was not refused: the limit is over for all.
        if self._is_long_tried(account):
            self._parks.drop_park(park)
            return None
        return Tried(park)

    def try_use_account(self, account: str, note: str) -> Trial | Parked | Tried | None:
        """As `find_missing`; if the reset is past, take the right to try. `note`: as of `pools.slots`.

        Raises StateUnwritableError, and OSError for a shortage of the machine.
        """
        if self._parks.find_park(account) is None:
            return None
        if (missing := self.find_missing(account)) is not None:
            return missing
        lock_fd = try_take(self._lock(account), note)
        if lock_fd is None:
            # Another attempt tries: unless this run is part of it, wait. Without a park by now nothing is missing.
            park, holder = self._parks.find_park(account), self.holder_note(account)
            is_part = holder is not None and self._is_ours(holder)
            return None if park is None or is_part else Tried(park)
        with ExitStack() as undo:
            undo.callback(os.close, lock_fd)
            # Look again under the lock: the trial before this may have found the account parked anew, or free.
            parked = self._parked(account)
            if parked is None and self._parks.find_park(account) is not None:
                undo.pop_all()
                return Trial(lock_fd)
            return parked

    def stamp(self, account: str) -> tuple[object, Stamp]:
        """Changes when what is known of the account changes, or a trial ends."""
        return self._parks.stamp(account), (stamp_of(self._lock(account)),)

    def seconds_left(self, account: str) -> float:
        """Until the account may be used, or tried; next to nothing if another attempt tries just now, 0 if it may be used."""
        match self.find_missing(account):
            case None:
                return 0.0
            case Parked(_, seconds):
                return seconds
            case Tried():
                return _A_MOMENT_SECONDS

    def until_words(self, account: str) -> str | None:
        """Until when the account is parked, and who says so; None if it is not parked."""
        parked = self._parked(account)
        return None if parked is None else until_words(parked.park)

    def is_past(self, account: str) -> bool:
        """Whether the account is not parked (any more)."""
        return self._parked(account) is None

    def is_free(self, account: str) -> bool:
        """Whether the account may be used or tried, or is parked anew: a trial is not waited for. Sees what a kill has freed."""
        if self._parks.find_park(account) is None or not self.is_past(account) or self._is_long_tried(account):
            return True
        return is_free(self._lock(account))

    def holder_note(self, account: str) -> str | None:
        """The note of the attempt that tries just now; None if none does."""
        return note_of_holder(self._lock(account)) if self._lock(account).exists() else None

    def _parked(self, account: str) -> Parked | None:
        park = self._parks.find_park(account)
        left = 0.0 if park is None else self._parks.seconds_left(park)
        return Parked(park, left) if park is not None and left > 0 else None

    def _is_tried_by_others(self, account: str) -> bool:
        note = self.holder_note(account)
        return note is not None and not self._is_ours(note)

    def _is_long_tried(self, account: str) -> bool:
        """Whether the last trial began long ago, if it still goes on; the lock file is touched when it is taken and let go."""
        touched = stamp_of(self._lock(account))
        return touched is not None and self._parks.wall_now() - touched / 1e9 > LONGEST_TRIAL_SECONDS

    def _is_ours(self, note: str) -> bool:
        return note.partition(" ")[2] in self._marks

    def _lock(self, account: str) -> Path:
        return self._folder / f"{account}.probe"
