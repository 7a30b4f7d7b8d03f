"""What the commands that show a run share: how it is opened, and the parts of `status` that views put into words."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from orchestrator.cli.noting import tell_note
from orchestrator.errors import UserError
from orchestrator.reading.item_names import label_of
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.seen_statuses import run_status
from orchestrator.store.outcomes import outcome_in_words
from orchestrator.store.records import AttemptEnded, Status
from orchestrator.system.fence import fenced_words, log_fenced
from orchestrator.views.end_report import MOST_FAILURES, ChildRun, Failure, NotedItem, RunningItem

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation
    from orchestrator.reading.run_records import Records
    from orchestrator.store.run_dir import RunDir


def open_run(invocation: Invocation, reference: str | None) -> RunReader:
    """A reader of the run that `reference` names (None: the newest). Raises UserError."""
    return RunReader.read(invocation.find(reference))


def open_run_to_show(invocation: Invocation, reference: str | None) -> RunReader:
    """As `open_run`; where the run's copy of the jobs file is lost, a note says so, and the records stand in for it."""
    reader = RunReader.read(invocation.find(reference), tell_note)
    _ = reader.jobs_file  # told before anything is shown, whether or not it takes the file
    return reader


def running_items(reader: RunReader, now: float) -> list[RunningItem]:
    """The attempts that have started and not ended, the oldest first."""
    starts = sorted(reader.history.open_starts.values(), key=lambda start: start.at)
    return [
        RunningItem(reader.item_name(start.job, start.index), start.label, start.attempt, max(now - start.at, 0.0))
        for start in starts
    ]


def child_runs(reader: RunReader) -> list[ChildRun]:
    """The first child runs that have not completed, in order of the jobs and items."""
    from orchestrator.jobsfile.model import WorkflowAction

    history = reader.history
    found: list[ChildRun] = []
    for job_id, past in history.jobs.items():
        if not isinstance(reader.job(job_id).action, WorkflowAction):
            continue
        for index in range(past.known):
            if past.status(index) in (Status.PENDING, Status.SUCCEEDED, Status.SKIPPED) or len(found) > MOST_FAILURES:
                continue
            last = history.open_starts.get((job_id, index)) or past.unended.get(index) or past.last_end(index)
            run_dir = reader.run_dir.beside(last.child) if last is not None and last.child else None
            if run_dir is not None and run_dir.exists:
                found.append(ChildRun(reader.item_name(job_id, index), run_dir.run_id, _status_of_child(run_dir)))
    return found


def _status_of_child(run_dir: RunDir) -> str:
    """In a word; a child run whose records are damaged is no reason not to show this one."""
    try:
        return run_status(RunReader.read(run_dir))
    except UserError as error:
        return f"unreadable ({error.message})"


def failures_of(reader: RunReader) -> list[Failure]:
    """The first items that failed, in order of the jobs in the file and of the items."""
    found: list[Failure] = []
    for order, job_id in enumerate(reader.history.header.jobs):
        past = reader.history.jobs[job_id]
        if past.listing_failed is not None:
            found.append(Failure((order, 0), job_id, None, past.listing_failed, 0))
        failed = islice(past.indices(Status.FAILED), MOST_FAILURES - len(found))
        found += [_failure_of(reader, order, job_id, index) for index in failed]
        if len(found) >= MOST_FAILURES:
            break
    return found[:MOST_FAILURES]


def _failure_of(reader: RunReader, order: int, job_id: str, index: int) -> Failure:
    past, name = reader.history.jobs[job_id], reader.item_name(job_id, index)
    attempt_class = None
    try:
        record = past.record(index)
        if isinstance(record, AttemptEnded):
            attempt_class, message = record.outcome.attempt_class.value, outcome_in_words(record.outcome)
        else:
            message = "" if record is None else record.message
        label = label_of(reader, job_id, index, record)
    except UserError:
        raise
    except Exception as error:
        label, message = None, f"it cannot be shown: {fenced_words(error)}"
        log_fenced(reader.run_dir.log, f"{name}: it could not be shown", error)
    return Failure((order, index), name, label, message, past.attempts(index), attempt_class)


def noted_items(records: Records) -> list[NotedItem]:
    """The first items that succeeded and of which a person should know more: little was done, or something was denied.

    Only their ends are read: a million others may have succeeded.
    """
    history = records.history
    found = ((job_id, index) for job_id in history.header.jobs for index in history.jobs[job_id].noted_successes())
    return [_noted_item(records, *item) for item in islice(found, MOST_FAILURES + 1)]


def _noted_item(records: Records, job_id: str, index: int) -> NotedItem:
    ended = records.history.jobs[job_id].last_end(index)
    assert ended is not None, "its note was in its end"
    label = label_of(records, job_id, index, ended)
    return NotedItem(records.item_name(job_id, index), label, outcome_in_words(ended.outcome))
