"""Borrowing: a nested item runs on the slots of an attempt that waits for its run, or on a free slot of the outermost run.

Each attempt above lends all that it holds (its run's slot and its pool slots) to one nested item at a time: the item that holds
the `borrow.lock` in the folder of the attempt's worker. A slot of the outermost run is taken only when one is free.

Promise: working items never outnumber the slots that are held. An item without a slot of its own borrows from an attempt above,
so a run that is nested ever so deep goes on with one slot. Everything is taken by try; nothing is kept on failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from orchestrator.shared.nesting.ancestors import Nesting
from orchestrator.store.durable_file import unwritable, write_whole
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import is_locked
from orchestrator.system.locks.lock_file import Stamp, is_free, note_of_holder, stamp_of, try_take
from orchestrator.system.locks.numbered import NumberedLocks
from orchestrator.workers.files.opening import StrangeFileError, read_file
from orchestrator.workers.files.syncing import make_folder
from orchestrator.workers.protocol import BORROW_LOCK_NAME


class Borrowed(msgspec.Struct, frozen=True):
    """Room for one item. `lock_fds` travel with its attempt; a slot of each of `pools` came with it, and is lent on in turn."""

    lock_fds: list[int]
    pools: frozenset[str]


def tell_slot_count(run_dir: RunDir, slots: int) -> None:
    """Say how many slots the run has, to the runs that are nested in it. Raises StateUnwritableError."""
    path = run_dir.slot_count
    # Somebody may have removed the folder, as those of the workers and outputs, which are made again, too.
    try:
        make_folder(str(path.parent), str(run_dir.path))
    except OSError as error:
        raise unwritable(path, error) from error
    write_whole(path, str(slots).encode())


def change_slot_count(run_dir: RunDir, slots: int) -> None:
    """As `tell_slot_count`, while items of the run may hold slots. Raises StateUnwritableError.

    Where the folder was removed their lock files went with it: told anew, their slots would be lent a second time.
    """
    if os.path.lexists(run_dir.slot_count):
        tell_slot_count(run_dir, slots)


def tell_slot_count_again(run_dir: RunDir, slots: int, held: Iterable[int]) -> None:
    """As `tell_slot_count`, of a run that goes on, while attempts that an earlier supervisor has left hold the slots `held`.

    If the lock file of one of them is gone, or another, who holds which slot is out of sight: this supervisor lends none.
    """
    if all(is_locked(run_dir.slot_lock(slot)) for slot in held):
        tell_slot_count(run_dir, slots)
        return
    try:
        run_dir.slot_count.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(run_dir.slot_count, error) from error


class Capacity:
    """The room for items of one nested run. `home`: of this run; an attempt of another home lends no pool."""

    def __init__(self, nesting: Nesting, home: Path) -> None:
        home = home.resolve()
        # Borrow lock -> the pools that come with it, nearest attempt first.
        self._lent = {
            lender.worker / BORROW_LOCK_NAME: lender.pools if lender.home.resolve() == home else frozenset[str]()
            for lender in nesting.lenders
        }
        self._root_slots = NumberedLocks(nesting.root / "slots", nesting.root)
        self._count_file = RunDir(nesting.root).slot_count

    def try_borrow(self, pool: str | None, note: str) -> Borrowed | None:
        """Room for one item that wants `pool`; None if there is none just now. `note` (`RUN/ITEM MARK`) names the item to others.

        Raises StateUnwritableError, and OSError for a shortage of the machine.
        """
        # First where the wanted pool comes with it, then where the fewest pools do: the others are left to items that want them.
        for path, pools in sorted(self._lent.items(), key=lambda lent: (pool not in lent[1], len(lent[1]))):
            fd = try_take(path, note, path.parent)
            if fd is not None:
                return Borrowed([fd], pools)
        fd = self._root_slots.try_take(self._slot_count(), note)
        return None if fd is None else Borrowed([fd], frozenset())

    def is_any_free(self) -> bool:
        """Whether there is room just now. Sees also what a kill has freed."""
        return any(is_free(path, path.parent) for path in self._lent) or self._root_slots.is_any_free(self._slot_count())

    def stamp(self) -> tuple[Stamp, Stamp]:
        """Changes when room is let go. Take the stamp before a try, or a release in between is missed."""
        return tuple(map(stamp_of, self._lent)), self._root_slots.stamp(self._slot_count())

    def notes(self) -> list[str | None]:
        """For each slot that would do the note of its holder; None if it is free."""
        return _notes(self._lent) + self._root_slots.notes(self._slot_count())

    def is_pool_free(self, pool: str) -> bool:
        """As `is_any_free`, of room that comes with a slot of `pool`: an item that waits for the pool may take either."""
        return any(map(is_free, self._with(pool)))

    def pool_stamp(self, pool: str) -> Stamp:
        """As `stamp`, of room that comes with a slot of `pool`."""
        return tuple(map(stamp_of, self._with(pool)))

    def pool_notes(self, pool: str) -> list[str | None]:
        """As `notes`, of room that comes with a slot of `pool`."""
        return _notes(self._with(pool))

    def _with(self, pool: str) -> list[Path]:
        return [path for path, pools in self._lent.items() if pool in pools]

    def _slot_count(self) -> int:
        try:
            return int(read_file(self._count_file))
        except (FileNotFoundError, StrangeFileError, ValueError):
            # The outermost run was removed (`prune` after a kill), or this is no count: what the attempts above hold is all.
            return 0


def _notes(paths: Iterable[Path]) -> list[str | None]:
    return [note_of_holder(path) for path in paths]
