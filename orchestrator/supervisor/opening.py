"""The beginning of a session: what the records of a run say, turned into the state that the core begins with.

Promise: whatever is recorded here (what is selected now, outputs that a power cut has damaged) stands in the journal before the
core sees the state, and recording it once more changes nothing. It writes straight to the store: the loop and its recorder begin
after it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import partial

import msgspec

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.listing import choose_items, chosen_record
from orchestrator.attempts.items.selection import Chosen, Selector
from orchestrator.core.initial_state import open_run
from orchestrator.core.scheduling import split_slots
from orchestrator.core.states import RestoredJob, RunState
from orchestrator.jobsfile.model import JobsFile
from orchestrator.reading.money.budgets import bounds_of
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.captures import CaptureMismatch, verify_capture
from orchestrator.store.outputs import answer_capture
from orchestrator.store.records import ItemsChosen, ItemSettled, Record, Started, Status
from orchestrator.store.run_store import RunStore
from orchestrator.supervisor.account_limits import accounts_of
from orchestrator.supervisor.job_rules import rules_of
from orchestrator.supervisor.options import SessionOptions
from orchestrator.supervisor.restored_jobs import RestoredJobs, assign_slots
from orchestrator.workers.processes.identity import boot_id


class Opened(msgspec.Struct, frozen=True):
    """What a session begins with. `restored`: by order, the jobs that are listed already. `resumed`: each attempt that an earlier
    supervisor started and whose end is not recorded, with the slot that it holds from now on.

    `relisted`: what the core shall know of a job that is listed once more.
    """

    state: RunState
    selector: Selector
    restored: dict[int, RestoredJob]
    resumed: list[tuple[Started, int]]
    relisted: RestoredJobs


def open_session(store: RunStore, reader: RunReader, jobs_file: JobsFile, options: SessionOptions, slots: int) -> Opened:
    """Read what is recorded of the run; record what this session sees otherwise. Raises StateUnwritableError."""
    history = store.history
    # Attempts that outlive their supervisor keep their slots, so these are given away first.
    starts = history.starts_without_end
    slots_of = assign_slots(starts.values(), max(slots, 1), partial(_is_over, store))
    selector = Selector(history.selection, jobs_file.jobs)
    _settle_growing(store)
    chosen = _choose_again(store, reader, selector, jobs_file)
    choice = {"keep_failed": options.keep_failed, "rerun_stale": options.rerun_stale}
    restored = _restored(store, jobs_file, RestoredJobs(history, slots_of, **choice), chosen)
    lanes: set[str] = {job.lane for job in jobs_file.jobs if not job.is_gate}
    state = open_run(
        rules_of(
            jobs_file.jobs,
            keep_going=options.run.keep_going,
            left_out=selector.left_out,
            budgets=history.budgets_set,
            accounts={} if history.header.options.replay else accounts_of(jobs_file, os.environ),
        ),
        slots=max(slots, 1),
        fast_slots=split_slots(slots, jobs_file.run.fast_slots, lanes),
        now=time.monotonic(),
        drain_timeout=jobs_file.run.drain_timeout,
        timeout=jobs_file.run.timeout,
        budget=bounds_of(jobs_file.run, "", history.budgets_set),
        is_attended=options.attendant is not None,
        restored=restored,
    )
    resumed = [(start, slots_of[key]) for key, start in starts.items()]
    # A job that is listed once more has no attempt that runs: an update has ended those first.
    return Opened(state, selector, restored, resumed, RestoredJobs(history, {}, **choice))


def _settle_growing(store: RunStore) -> None:
    """A list that grew under another supervisor grows no more."""
    for past in store.history.jobs.values():
        if past.growing is not None:
            from orchestrator.store.growing_list import settle

            if (listed := settle(store.run_dir, past.growing, past.list_revision)) is not None:
                store.append([listed])


def _is_over(store: RunStore, start: Started) -> bool:
    from orchestrator.engines.onlookers import is_over  # for what was queued alone

    return is_over(store.run_dir, start)


def _choose_again(store: RunStore, reader: RunReader, selector: Selector, jobs_file: JobsFile) -> dict[str, Chosen]:
    """What is selected of each job that is listed, or left out, recorded where it is something else than before."""
    contexts = ItemContexts(reader, store.history.header.inputs)
    chosen: dict[str, Chosen] = {}
    changed: list[Record] = []
    for job in jobs_file.jobs:
        past = store.history.jobs[job.id]
        # Of a job that is not listed yet nothing can be selected; what an earlier session recorded of it is taken back.
        if past.count is None and job.id not in selector.left_out:
            if past.chosen is not None:
                changed.append(chosen_record(job.id, None, ""))
            continue
        # Without its list no label can be compared: what was chosen of it stays, until an update has made the list anew.
        if selector.words and past.chosen is not None and reader.lost_list(job.id) is not None:
            chosen[job.id] = frozenset(filter(past.is_selected, range(past.count or 0)))
            continue
        chosen[job.id] = choose_items(reader, contexts, selector, job.id)
        record = chosen_record(job.id, chosen[job.id], selector.reason)
        if record != (past.chosen or ItemsChosen(job=job.id)):
            changed.append(record)
        # Items that a stopped session left open, and that nobody wants any more, shall not look as if they were to go on.
        for status in (Status.INTERRUPTED, Status.WAITING) if chosen[job.id] is not None else ():
            changed += [
                ItemSettled(job=job.id, index=index, status=Status.SKIPPED, message=selector.reason)
                for index in past.indices(status)
                if index not in (chosen[job.id] or ())
            ]
    if changed:
        store.append(changed)
    return chosen


def _restored(store: RunStore, jobs_file: JobsFile, jobs: RestoredJobs, chosen: Mapping[str, Chosen]) -> dict[int, RestoredJob]:
    """The jobs that are listed, by order; not those whose list is outdated."""
    history = store.history
    # Only what ended the last boot can have taken an output that was durable from us.
    was_booted = history.supervisor is not None and history.supervisor.boot_id != boot_id()
    restored = {}
    for order, job in enumerate(jobs_file.jobs):
        past = history.jobs[job.id]
        if past.count is None:
            continue
        damaged = _damaged(store, job.id) if was_booted else {}
        if damaged:
            store.append(
                [
                    ItemSettled(job=job.id, index=index, status=Status.INTERRUPTED, message=message)
                    for index, message in damaged.items()
                ]
            )
        if not past.is_outdated:
            restored[order] = jobs.of_job(job.id, chosen[job.id])
    return restored


def _damaged(store: RunStore, job_id: str) -> dict[int, str]:
    """Succeeded items whose large output did not survive what ended the last boot: index -> what is wrong."""
    past = store.history.jobs[job_id]
    damaged = {}
    for index in past.indices(Status.SUCCEEDED):
        ended = past.last_end(index)
        if ended is None:
            continue
        try:
            verify_capture(ended.outcome.stdout, store.run_dir)
            verify_capture(ended.outcome.stderr, store.run_dir)
            verify_capture(answer_capture(ended.outcome), store.run_dir)
        except CaptureMismatch as mismatch:
            damaged[index] = str(mismatch)
    return damaged
