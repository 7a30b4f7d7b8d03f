"""In which state people see a run, its jobs and its items. An interruption is not recorded, it is found out here."""

from __future__ import annotations

from orchestrator.reading.run_records import Records
from orchestrator.store.records import Status


def run_status(records: Records) -> str:
    """The run's state in the words of the contract: running, or as it ended, or interrupted if it never said how."""
    if records.is_alive:
        return "running"
    return records.history.ended.status if records.history.ended is not None else "interrupted"


def job_status(records: Records, job_id: str) -> str:
    """The job's state: pending, running, waiting, paused, succeeded, failed, skipped, cancelled, interrupted."""
    # What was recorded of the whole job counts first.
    past = records.history.jobs[job_id]
    if past.closed is not None:
        return past.closed
    if past.listing_failed is not None:
        return "failed"
    if past.count is None:
        return "pending"
    # The job is listed and not closed: somebody works at it, or did when the run was interrupted.
    if records.is_alive:
        return "running"
    if past.counts()[Status.FAILED]:
        return "failed"
    counts = job_counts(records, job_id)
    if "waiting" in counts:
        return "waiting"
    if "interrupted" in counts:
        return "interrupted"
    # Nothing of the job itself was broken off: it stands where the end of the run has left it.
    match run_status(records):
        case "paused" | "interrupted" as status:
            return status
        case _:
            return "pending"


def job_counts(records: Records, job_id: str, waiting: int = 0) -> dict[str, int]:
    """How many items are seen in which state (only states that occur).

    `waiting`: how many wait, as their supervisor says. An item that waits for a pool or a rate is recorded as pending.
    """
    past = records.history.jobs[job_id]
    # A job that could not be listed has no items, and yet something failed: it counts as one.
    if past.listing_failed is not None and past.count is None:
        return {Status.FAILED.value: 1}
    if past.count is None:
        return {} if records.history.header.jobs[job_id] else {past.status(0).value: 1}
    # Of the items that wait, those at a gate wait without a supervisor, too; all others are interrupted then.
    counts: dict[str, int] = {}
    asking = sum(past.status(index) is Status.WAITING for index in past.gates if past.is_asking(index))
    for status, number in past.counts().items():
        seen = asking if status is Status.WAITING else 0
        for word, part in ((status.value, seen), (seen_status(records, status), number - seen)):
            if part:
                counts[word] = counts.get(word, 0) + part
    # Those that wait unrecorded are moved from the pending ones, and never more than there are.
    unrecorded = min(counts.get("pending", 0), waiting - counts.get("waiting", 0))
    if unrecorded > 0:
        counts["waiting"] = counts.get("waiting", 0) + unrecorded
        counts["pending"] -= unrecorded
    return {word: number for word, number in counts.items() if number}


def seen_status(records: Records, status: Status, *, is_asking: bool = False) -> str:
    """The recorded status of an item as people see it.

    Without a supervisor an item that runs, or waits to be tried again, is interrupted. One that waits for a choice still waits.
    """
    if status not in (Status.RUNNING, Status.WAITING) or records.is_alive:
        return status.value
    is_paused = records.history.ended is not None and records.history.ended.status == "paused"
    # All other waits end with the session.
    waits = status is Status.WAITING and (is_asking or is_paused)
    return (Status.WAITING if waits else Status.INTERRUPTED).value
