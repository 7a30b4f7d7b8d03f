"""Of which items `status` tells people one by one: those that failed, that succeeded with a note, that ask something."""

from __future__ import annotations

from itertools import islice

import msgspec

from orchestrator.errors import UserError
from orchestrator.jobsfile.model import AgentAction, JobsFile, WorkflowAction
from orchestrator.reading.failure_tails import FailureTails
from orchestrator.reading.item_names import label_of
from orchestrator.reading.open_questions import open_questions
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_records import Records
from orchestrator.store.outcomes import outcome_in_words
from orchestrator.store.records import AttemptEnded, Status
from orchestrator.system.fence import fenced_words, log_fenced
from orchestrator.views.end_report import NotedItem
from orchestrator.views.failures import MOST_FAILURES, Failure, FailureGroup, FailureGroups
from orchestrator.views.happenings import OpenQuestion

_MOST_READ = 100
"""Failures that are looked at: how they are alike is told of these."""


class Told(msgspec.Struct, frozen=True):
    """What `status` tells people of a run that nobody supervises, beside its summary and what others do just now.

    It is kept with the run: a change of it is another `FORMAT` of `store.kept_summary`.
    """

    failures: list[FailureGroup]
    noted: list[NotedItem]
    questions: list[OpenQuestion]
    is_each: bool
    """The run has no jobs file of the user's."""
    has_agents: bool
    """Limits of accounts may keep its items from starting."""


def told_of(reader: RunReader, jobs_file: JobsFile) -> Told | None:
    """None: it cannot be read just now, or changes without a record of this run, for it has child runs."""
    if any(isinstance(job.action, WorkflowAction) for job in jobs_file.jobs):
        return None
    try:
        return Told(
            failures=failures_of(reader, jobs_file),
            noted=noted_items(reader),
            questions=list(open_questions(reader)),
            is_each=reader.history.header.each,
            has_agents=any(isinstance(job.action, AgentAction) for job in jobs_file.jobs),
        )
    except UserError:
        return None


def failures_of(reader: RunReader, jobs_file: JobsFile) -> list[FailureGroup]:
    """Of the first items that failed, in order of the jobs in the file and of the items, those that are alike together."""
    tails = FailureTails(reader.run_dir, jobs_file)
    found: list[Failure] = []
    for order, job_id in enumerate(reader.history.header.jobs):
        past = reader.history.jobs[job_id]
        if past.listing_failed is not None:
            found.append(Failure((order, 0), job_id, None, past.listing_failed, 0))
        failed = islice(past.indices(Status.FAILED), max(_MOST_READ - len(found), 0))
        found += [_failure_of(reader, tails, order, job_id, index) for index in failed]
        if len(found) >= _MOST_READ:
            break
    return FailureGroups(found).in_order()


def _failure_of(reader: RunReader, tails: FailureTails, order: int, job_id: str, index: int) -> Failure:
    past, name = reader.history.jobs[job_id], reader.item_name(job_id, index)
    attempt_class, tail = None, []
    try:
        record = past.record(index)
        if isinstance(record, AttemptEnded):
            attempt_class, message = record.outcome.attempt_class.value, outcome_in_words(record.outcome)
            tail = tails.of(record)
        else:
            message = "" if record is None else record.message
        label = label_of(reader, job_id, index, record)
    except UserError:
        raise
    except Exception as error:
        label, message = None, f"it cannot be shown: {fenced_words(error)}"
        log_fenced(reader.run_dir.log, f"{name}: it could not be shown", error)
    return Failure((order, index), name, label, message, past.attempts(index), attempt_class, tail)


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
