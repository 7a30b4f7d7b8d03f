"""What a run came to, as one object: `run --json`, `status --json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.reading.money.ledger import ledger_of
from orchestrator.reading.run_records import Records
from orchestrator.reading.seen_statuses import job_counts, job_status, run_status
from orchestrator.store.settings_records import Selection


def run_summary(records: Records, waiting: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The object of `run --json` and `status --json`. `waiting`: how many items of a job wait, as its supervisor says.

    It is kept with the run: a change of it is another `FORMAT` of `store.kept_summary`.
    """
    header, ledger = records.history.header, ledger_of(records.history)
    # Of a run that is being cancelled its end is recorded before it has ended.
    ended = None if records.is_alive else records.history.ended
    # The run's counts are the sums of its jobs'.
    counts = {each: job_counts(records, each, (waiting or {}).get(each, 0)) for each in header.jobs}
    total: dict[str, int] = {}
    for of_job in counts.values():
        for word, number in of_job.items():
            total[word] = total.get(word, 0) + number
    # Only a run that has ended, and failed, has an error.
    error = None
    if ended is not None and ended.error_message is not None:
        error = {"item": ended.error_item, "message": ended.error_message}
    return {
        "run_id": header.run_id,
        "name": header.name,
        "status": run_status(records),
        "jobs_file": header.jobs_file,
        "started_at": header.created_at,
        "finished_at": ended.at if ended is not None else None,
        "counts": total,
        "cost_usd": ledger.cost_usd,
        "unknown_costs": ledger.unknown,
        "ledger": None if ledger.is_empty else ledger.as_json(),
        "error": error,
        "reason": (ended.reason or None) if ended is not None else None,
        "selection": _selection(records),
        "parent": header.parent,
        "jobs": [{"id": each, "status": job_status(records, each), "counts": counts[each]} for each in header.jobs],
    }


def _selection(records: Records) -> dict[str, Any] | None:
    """How many of all listed `items` are `selected`, and of how many jobs none is (`jobs_left_out`); None: all are."""
    selection = records.history.selection
    if selection == Selection():
        return None
    jobs = records.history.jobs.values()
    items = sum(records.count(job.id) for job in jobs)
    return {
        "only": list(selection.only),
        "limit": selection.limit,
        "items": items,
        "selected": items - sum(records.count(job.id) if job.has_none_chosen else job.unselected for job in jobs),
        "jobs_left_out": sum(job.has_none_chosen for job in jobs),
    }
