"""What an engine is: where attempts run. The supervisor speaks only this; local workers, inline and Dask fill it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from orchestrator.store.records import WorkerStarted
from orchestrator.workers.protocol import End, Outcome, Start


class OutcomeArrived(msgspec.Struct, frozen=True):
    """The attempt in `slot` ended: its tree is gone and its locks are free."""

    slot: int
    sequence: int
    outcome: Outcome


class WorkerDied(msgspec.Struct, frozen=True):
    """The worker of `slot` is gone. If an attempt ran there, its tree must be ended before the slot is used again."""

    slot: int
    worker: int
    description: str


EngineEvent = OutcomeArrived | WorkerDied


class Engine(Protocol):
    """Runs attempts in slots, one at a time in each. No call blocks for as long as an attempt runs."""

    def prepare_slot(self, slot: int, next_worker: int) -> WorkerStarted | None:
        """Make sure that a worker serves `slot`; its record if it was just started (to be written before it gets work)."""

    def has_worker(self, slot: int) -> bool:
        """Whether `prepare_slot` needs no new worker for `slot`."""

    def worker_of(self, slot: int) -> int:
        """Number of the worker that serves `slot`."""

    def start(self, slot: int, start: Start, lock_fds: Sequence[int]) -> None:
        """Hand over one attempt with its locks. The descriptors stay the caller's to close. A dead worker is told by `poll`."""

    def end(self, slot: int, end: End) -> None:
        """Have a running attempt ended. Nothing happens if it has ended already."""

    def filenos(self) -> Sequence[int]:
        """Descriptors that become readable when `poll` has something to tell."""

    def poll(self, fileno: int) -> list[EngineEvent]:
        """What `fileno` has to tell."""

    def close(self) -> None:
        """Let the workers go: each finishes what it runs, leaves the outcome on disk, and exits."""
