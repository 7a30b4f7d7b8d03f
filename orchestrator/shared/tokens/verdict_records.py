"""The records that end the work of a token: a verdict, which others share, or a release without one."""

from __future__ import annotations

import time

import msgspec

from orchestrator.shared.tokens.record import TokenRecord, now_stamps
from orchestrator.store.records import Status
from orchestrator.workers.protocol import AttemptClass, Outcome


def ended_record(held: TokenRecord, status: Status, outcome: Outcome | None, replaced_by: str | None) -> TokenRecord:
    """What `held` becomes once its item has ended as `status`: only a success or a failure is a verdict."""
    if status in (Status.SUCCEEDED, Status.FAILED) and outcome is not None:
        return done_record(held, outcome, is_success=status is Status.SUCCEEDED)
    at, clock, boot = now_stamps()
    return msgspec.structs.replace(
        held, state="released", why=status.value, replaced_by=replaced_by, at=at, clock=clock, boot=boot
    )


def done_record(record: TokenRecord, outcome: Outcome, *, is_success: bool) -> TokenRecord:
    """What `record` becomes with a verdict."""
    at, clock, boot = now_stamps()
    return msgspec.structs.replace(
        record, state="done", outcome=outcome, is_success=is_success, at=at, clock=clock, boot=boot, why="", replaced_by=None
    )


def lost_outcome(message: str) -> Outcome:
    """The outcome of work that was lost too often: all items that wait for it share it."""
    now = time.time()
    return Outcome(attempt_class=AttemptClass.LOST, started_at=now, finished_at=now, duration_seconds=0.0, message=message)
