"""What a resume of a run would do, from its records alone: `resume --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from orchestrator.reading.item_names import label_of
from orchestrator.reading.run_records import Records
from orchestrator.reading.seen_statuses import seen_status
from orchestrator.reading.unread_items import unread_items
from orchestrator.store.records import Status
from orchestrator.system.wording import how_many, title

_TO_RUN = (Status.RUNNING, Status.INTERRUPTED, Status.WAITING, Status.FAILED, Status.PENDING)
_STAY = (Status.SUCCEEDED, Status.SKIPPED, Status.CANCELLED)
_MOST_NAMES = 3


class JobPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One job. `runs`, `stays`: status as people see it -> items that would run, or stay as they are; `names`: the first that
    would run. `is_listed_later`: how many items it has is not known yet. `unread`: what is to be done as its lines were not read
    to their end; else empty."""

    id: str
    runs: dict[str, int]
    stays: dict[str, int]
    names: list[str]
    is_listed_later: bool
    unread: str

    def line(self) -> str:
        """The job in one line."""
        if self.is_listed_later:
            return f"{self.id}: its items are not known yet"
        stays = "".join(f"; {count} {word}" for word, count in self.stays.items())
        if not self.runs:
            return f"{self.id}: nothing would run{stays}"
        count, of = sum(self.runs.values()), ", ".join(f"{number} {word}" for word, number in self.runs.items())
        more = ", …" if count > len(self.names) else ""
        return f"{self.id}: {how_many(count, 'item')} would run ({of}): {', '.join(self.names)}{more}{stays}"


def resume_plan(records: Records, *, keep_failed: bool) -> list[JobPlan]:
    """The jobs in file order. An item that waits for a choice is asked again unless somebody has answered."""
    return [_job(records, job_id, keep_failed=keep_failed) for job_id in records.history.header.jobs]


def plan_json(run_id: str, plan: list[JobPlan]) -> dict[str, Any]:
    """The object of `resume --dry-run --json`."""
    return {"run_id": run_id, "jobs": msgspec.to_builtins(plan)}


def _job(records: Records, job_id: str, *, keep_failed: bool) -> JobPlan:
    past = records.history.jobs[job_id]
    is_later = past.count is None and records.history.header.jobs[job_id]
    to_run = [each for each in _TO_RUN if each is not Status.FAILED or not keep_failed]
    # A job of one item is not listed before its turn.
    counts = past.counts() if past.count is not None else {past.status(0): 1}
    names = (
        title(records.item_name(job_id, index), label_of(records, job_id, index, past.record(index)))
        for index in range(0 if is_later else records.count(job_id))
        if past.status(index) in to_run
    )
    return JobPlan(
        id=job_id,
        runs=_seen(records, counts, to_run),
        stays=_seen(records, counts, [*_STAY, *([Status.FAILED] if keep_failed else [])]),
        names=[] if is_later else list(islice(names, _MOST_NAMES)),
        is_listed_later=is_later,
        unread="" if past.growing is None else unread_items(records, job_id),
    )


def _seen(records: Records, counts: dict[Status, int], statuses: list[Status]) -> dict[str, int]:
    seen: dict[str, int] = {}
    for status in statuses:
        if counts.get(status):
            word = seen_status(records, status)
            seen[word] = seen.get(word, 0) + counts[status]
    return seen


def plan_lines(plan: list[JobPlan]) -> Iterator[str]:
    """A line a job, and one more of a list that was cut short."""
    for job in plan:
        yield job.line()
        if job.unread:
            yield f"{job.id}: {job.unread}"
