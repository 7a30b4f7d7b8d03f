"""The slots of a pool: HOME/pools/NAME/K.lock, shared by all runs of this user.

Promise: the attempts that hold a slot of the pool are never more than the largest `slots` that any run gives it.
It refuses to handle: lock files that are removed while they are held. Such a lock is out of sight until its holder ends: the
supervisor has handed its descriptor on, and the worker knows locks by number only.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.jobsfile.model import Pool
from orchestrator.store.home import pool_folder
from orchestrator.system.locks.lock_file import Stamp
from orchestrator.system.locks.numbered import NumberedLocks


class PoolSlots:
    """The slots of a pool, as one run may take them."""

    def __init__(self, home: Path, pool: Pool) -> None:
        assert pool.slots is not None, "a pool without slots is bound by its rate only"
        self._locks = NumberedLocks(pool_folder(home, pool.name))
        self._count = pool.slots

    def try_take_slot(self, note: str) -> int | None:
        """A slot's lock descriptor; None if all are held. `note` (`RUN/ITEM MARK`) names the holder to others.

        Raises StateUnwritableError, and OSError for a shortage of the machine.
        """
        return self._locks.try_take(self._count, note)

    def notes(self) -> list[str | None]:
        """For each slot the note of its holder; None if it is free."""
        return self._locks.notes(self._count)

    def holders(self) -> list[str]:
        """The notes of the slots that are held."""
        return [note for note in self.notes() if note is not None]

    def stamp(self) -> Stamp:
        """Changes when a slot is let go. Take the stamp before a try, or a release in between is missed."""
        return self._locks.stamp(self._count)

    def is_any_free(self) -> bool:
        """Whether a slot could be had just now. Sees also what a kill has freed."""
        return self._locks.is_any_free(self._count)
