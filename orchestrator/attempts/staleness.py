"""Stale items: they have succeeded, and would render to something else now. They keep their outcome and are marked.

What an item renders to changes only through jobs that its job needs, because a run keeps its own jobs file, inputs and item
lists. So a session looks only at jobs that need a job of which it ran items.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from orchestrator.attempts.preparer import Preparer
from orchestrator.jobsfile.model import Job
from orchestrator.store.records import ItemSettled, Status
from orchestrator.store.run_history import RunHistory


def newly_stale(history: RunHistory, jobs: Sequence[Job], preparer: Preparer, ran: Collection[str]) -> Iterator[ItemSettled]:
    """The records that mark stale items which are not marked yet. `ran`: ids of the jobs of which this session ran items."""
    for job in jobs:
        past = history.jobs[job.id]
        # Inputs change only by what ran anew before it; an answer that somebody gave is never stale.
        if job.is_gate or not any(need in ran for need in job.needs):
            continue
        for index in past.indices(Status.SUCCEEDED):
            ended = past.last_end(index)
            if ended is None or past.is_stale(index):
                continue
            if preparer.is_other(job, index, ended):
                yield ItemSettled(
                    job=job.id,
                    index=index,
                    status=Status.SUCCEEDED,
                    message="its inputs have changed since it ran",
                    label=ended.label,
                    stale=True,
                )


def stale_count(history: RunHistory) -> int:
    """How many items of a run are marked as stale."""
    jobs = [history.jobs[job_id] for job_id in history.header.jobs]
    return sum(past.is_stale(index) for past in jobs for index in past.indices(Status.SUCCEEDED))
