"""In which state people see a run, its jobs and its items: an interruption is found out here, it is not recorded."""

from __future__ import annotations

from orchestrator.reading.run_records import Records
from orchestrator.store.records import Status


def run_status(records: Records) -> str:
    """The run's state in the words of the contract; `interrupted` is found out, not stored."""
    if records.is_alive:
        return "running"
    return records.history.ended.status if records.history.ended is not None else "interrupted"


def job_status(records: Records, job_id: str) -> str:
    """The job's state: pending, running, waiting, succeeded, failed, skipped, cancelled, interrupted."""
    past = records.history.jobs[job_id]
    if past.closed is not None:
        return past.closed
    if past.listing_failed is not None:
        return "failed"
    if past.count is None:
        return "pending"
    if records.is_alive:
        return "running"
    if past.counts()[Status.FAILED]:
        return "failed"
    return "waiting" if "waiting" in job_counts(records, job_id) else "interrupted"


def job_counts(records: Records, job_id: str, waiting: int = 0) -> dict[str, int]:
    """How many items stand in which state (only states that occur).

    `waiting`: so many wait at least. That an item waits for a pool or a rate is not recorded: it stands there as pending.
    """
    past = records.history.jobs[job_id]
    if past.count is None:
        return {} if records.history.header.jobs[job_id] else {past.status(0).value: 1}
    counts: dict[str, int] = {}
    asking = sum(past.status(index) is Status.WAITING for index in past.gates if past.is_asking(index))
    for status, number in past.counts().items():
        seen = asking if status is Status.WAITING else 0
        for word, part in ((status.value, seen), (seen_status(records, status), number - seen)):
            if part:
                counts[word] = counts.get(word, 0) + part
    unrecorded = min(counts.get("pending", 0), waiting - counts.get("waiting", 0))
    if unrecorded > 0:
        counts["waiting"] = counts.get("waiting", 0) + unrecorded
        counts["pending"] -= unrecorded
    return {word: number for word, number in counts.items() if number}


def seen_status(records: Records, status: Status, *, is_asking: bool = False) -> str:
    """A start or a backoff without a living supervisor is an interruption. Who waits for a choice needs no supervisor."""
    if status not in (Status.RUNNING, Status.WAITING) or records.is_alive:
        return status.value
    is_paused = records.history.ended is not None and records.history.ended.status == "paused"
    waits = status is Status.WAITING and (is_asking or is_paused)  # all other waits end with the session
    return (Status.WAITING if waits else Status.INTERRUPTED).value
