"""What a token's record says when its item has ended: a verdict that others share, or that it came to none."""

from __future__ import annotations

import time

import msgspec

from orchestrator.shared.tokens.record import TokenRecord, now_stamps
from orchestrator.store.records import Status
from orchestrator.workers.protocol import AttemptClass, Outcome


def verdict(held: TokenRecord, status: Status, outcome: Outcome | None, replaced_by: str | None) -> TokenRecord:
    """What the record of a token that was held says once its item has ended as `status`."""
    if status in (Status.SUCCEEDED, Status.FAILED) and outcome is not None:
        return done_record(held, outcome, is_success=status is Status.SUCCEEDED)
    at, clock, boot = now_stamps()
    return msgspec.structs.replace(
        held, state="released", why=status.value, replaced_by=replaced_by, at=at, clock=clock, boot=boot
    )


def done_record(record: TokenRecord, outcome: Outcome, *, is_success: bool) -> TokenRecord:
    """The work came to a verdict."""
    at, clock, boot = now_stamps()
    return msgspec.structs.replace(
        record, state="done", outcome=outcome, is_success=is_success, at=at, clock=clock, boot=boot, why="", replaced_by=None
    )


def lost(message: str) -> Outcome:
    """The outcome of work that was lost too often, for all who wait for it."""
    now = time.time()
    return Outcome(attempt_class=AttemptClass.LOST, started_at=now, finished_at=now, duration_seconds=0.0, message=message)
