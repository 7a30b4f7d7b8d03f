"""The slots of one run: their locks, a worker behind each, and the ones that are not to be had just now.

By try only: a slot whose lock somebody else holds, or for which no process can be made (EAGAIN, EMFILE), is set aside and tried
again; nothing is held meanwhile and nothing is lost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.engines.engine import Engine
from orchestrator.errors import StateUnwritableError
from orchestrator.locks.slots import is_slot_free, try_lock_slot
from orchestrator.store.records import WorkerStarted
from orchestrator.store.rundir import RunDir
from workers.spawn import SHORTAGES

LOOK_SECONDS = 0.1
"""How often slots that were set aside are tried again."""


@dataclass(frozen=True, slots=True)
class TakenSlot:
    """A locked slot with a worker. `new_worker`: it was just started, and must be recorded before it gets work."""

    lock_fd: int
    new_worker: WorkerStarted | None


class SlotKeeper:
    """Takes slots, and remembers which to try again. `next_look`: when (monotonic), None if there are none."""

    def __init__(self, run_dir: RunDir, engine: Engine, note: Callable[[str], None]) -> None:
        self.next_look: float | None = None
        self._run_dir = run_dir
        self._engine = engine
        self._note = note
        self._aside: set[int] = set()

    def take(self, slot: int, next_worker: int) -> TakenSlot | None:
        """Lock `slot` and have a worker serve it; None if that is not possible just now. Raises StateUnwritableError."""
        lock_fd = None
        try:
            lock_fd = try_lock_slot(self._run_dir.slot_lock(slot))
            if lock_fd is None:
                self._set_aside(slot)
                return None
            return TakenSlot(lock_fd, self._engine.prepare_slot(slot, next_worker))
        except OSError as error:
            if lock_fd is not None:
                os.close(lock_fd)
            if error.errno not in SHORTAGES:
                raise StateUnwritableError(f"{self._run_dir.path}: {error.strerror}", "mend that, then resume the run") from error
            self._note(f"slot {slot}: {error.strerror}; tried again")
            self._set_aside(slot)
            return None

    def freed(self, now: float) -> list[int]:
        """Slots that were set aside and may be tried again."""
        if self.next_look is None or now < self.next_look:
            return []
        free = [slot for slot in self._aside if is_slot_free(self._run_dir.slot_lock(slot))]
        self._aside.difference_update(free)
        self.next_look = now + LOOK_SECONDS if self._aside else None
        return free

    def _set_aside(self, slot: int) -> None:
        self._aside.add(slot)
        self.next_look = self.next_look or time.monotonic() + LOOK_SECONDS
