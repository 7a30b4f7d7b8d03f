"""What the rules tell the supervisor to do. Imperative; carried out in the order given."""

from __future__ import annotations

from typing import Literal

import msgspec

from orchestrator.core.states import ItemRef, ItemState, Phase

RunVerdict = Literal["completed", "failed", "cancelled", "interrupted", "paused"]


class ListItems(msgspec.Struct, frozen=True):
    """Evaluate the job's `for_each`, record the list durably, answer `ItemsListed` or `ListingFailed`."""

    job: int


class StartAttempt(msgspec.Struct, frozen=True):
    """Start this attempt in this slot, or answer `StartDeclined`.

    `account`: the one of its job's `accounts` that it is to use; None: its start finds out (`AccountTold`). `is_queued`: behind
    what was just told to start in this slot; it may also be given back (`StartReturned`). `device`: the one of its job's
    `devices` that it has till its end; empty: its job has none.
    """

    item: ItemRef
    attempt: int
    slot: int
    account: str | None = None
    is_queued: bool = False
    device: str = ""


class RecallQueued(msgspec.Struct, frozen=True):
    """Have no queued start begin any more. Each is answered: by `StartReturned`, or by its end if it has begun."""


class AskGate(msgspec.Struct, frozen=True):
    """Put this gate's question to somebody, and answer `GateTold`: now, and once there is a choice. It takes no slot."""

    item: ItemRef


class ReopenItems(msgspec.Struct, frozen=True):
    """Record that these items run again, and answer `ItemsReopened`."""

    items: tuple[ItemRef, ...]


class Settle(msgspec.Struct, frozen=True):
    """Record what the item is now. After `AttemptEnded` it is recorded together with that attempt's outcome."""

    item: ItemRef
    state: ItemState
    message: str = ""


class EndAttempt(msgspec.Struct, frozen=True):
    """End the tree of a running item: SIGTERM, its grace (at most `grace_at_most` seconds), SIGKILL.

    `words`: what halted the run or its job, if that is why.
    """

    item: ItemRef
    reason: Literal["cancel", "drain"]
    grace_at_most: float | None = None
    words: str = ""


class CloseJob(msgspec.Struct, frozen=True):
    """A job came to its end (told to people; what is known of its items is recorded already).

    `reason`: why it was skipped, in words, if it has no items that could say so.
    """

    job: int
    phase: Phase
    reason: str = ""


class FinishRun(msgspec.Struct, frozen=True):
    """Nothing runs and nothing more will start: take the last checkpoint and stop. `error`: the item that caused it.

    `reason`: why it is paused, in words, where that is not a gate's question or somebody's wish.
    """

    status: RunVerdict
    error: ItemRef | None
    is_rejected: bool = False
    """It failed because a gate was rejected."""
    reason: str = ""


Decision = ListItems | StartAttempt | RecallQueued | AskGate | ReopenItems | Settle | EndAttempt | CloseJob | FinishRun
