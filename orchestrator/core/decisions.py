"""What the rules tell the supervisor to do. Imperative; carried out in the order given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.core.states import ItemRef, ItemState, Phase

RunVerdict = Literal["completed", "failed", "cancelled", "interrupted", "paused"]


@dataclass(frozen=True, slots=True)
class ListItems:
    """Evaluate the job's `for_each`, record the list durably, answer `ItemsListed` or `ListingFailed`."""

    job: int


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Start this attempt in this slot, or answer `StartDeclined`."""

    item: ItemRef
    attempt: int
    slot: int


@dataclass(frozen=True, slots=True)
class Settle:
    """Record what the item is now. After `AttemptEnded` it is recorded together with that attempt's outcome."""

    item: ItemRef
    state: ItemState
    message: str = ""


@dataclass(frozen=True, slots=True)
class EndAttempt:
    """End the tree of a running item: SIGTERM, its grace (at most `grace_at_most` seconds), SIGKILL."""

    item: ItemRef
    reason: Literal["cancel", "drain"]
    grace_at_most: float | None = None


@dataclass(frozen=True, slots=True)
class CloseJob:
    """A job came to its end (told to people; what is known of its items is recorded already)."""

    job: int
    phase: Phase


@dataclass(frozen=True, slots=True)
class FinishRun:
    """Nothing runs and nothing more will start: take the last checkpoint and stop. `error`: the item that caused it."""

    status: RunVerdict
    error: ItemRef | None


Decision = ListItems | StartAttempt | Settle | EndAttempt | CloseJob | FinishRun
