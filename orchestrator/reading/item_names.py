"""How people name the items of a run: labels, and the references of the command line (`JOB:INDEX`, `JOB:LABEL`, a glob,
a label alone)."""

from __future__ import annotations

import fnmatch
from itertools import islice

from orchestrator.errors import UserError
from orchestrator.jobsfile.language.quantities import read_digits
from orchestrator.jobsfile.language.suggestions import did_you_mean
from orchestrator.jobsfile.language.values import on_one_line
from orchestrator.reading.run_records import Records
from orchestrator.store.item_list import ListLostError
from orchestrator.store.records import AttemptEnded, ItemSettled
from orchestrator.workers.wording import first_in_words

_MOST_NAMES = 1000
"""Items of a job whose names are compared with one that no item has."""


def label_of(records: Records, job_id: str, index: int, record: AttemptEnded | ItemSettled | None = None) -> str | None:
    """What people call the item, as it was recorded; else its value if that is short. `record`: the last word on the item."""
    past = records.history.jobs[job_id]
    # What was recorded last is what people saw last.
    if record is not None and record.label is not None:
        return record.label
    start = records.history.open_starts.get((job_id, index))
    if start is not None and start.label is not None:
        return start.label
    gate = past.gates.get(index)
    if gate is not None and gate.question is not None and gate.question.label is not None:
        return gate.question.label
    # The last word may have been said without it: a stop ends an item that waits for its next attempt, or for its turn once more.
    unended = past.unended.get(index)
    if unended is not None and unended.label is not None:
        return unended.label
    ended = past.last_end(index)
    if ended is not None and ended.label is not None:
        return ended.label
    # Nothing was ever rendered of it: its value tells it from the others.
    try:
        value = records.value(job_id, index)
    except ListLostError:
        return None
    return str(value) if isinstance(value, str | int | float) and len(str(value)) <= 80 else None


def recorded_label(records: Records, job_id: str, index: int) -> str | None:
    """What the item was called when it was started, or settled without a start; None if neither has happened."""
    record, start = records.history.jobs[job_id].record(index), records.history.open_starts.get((job_id, index))
    return next((each.label for each in (record, start) if each is not None and each.label is not None), None)


def find_round(records: Records, reference: str) -> tuple[list[tuple[str, int]], int | None]:
    """The items that `reference` names, and the round if it ends in `#ROUND`. Raises UserError."""
    base, mark, number = reference.rpartition("#")
    round_number = read_digits(number)
    if not mark or round_number is None:
        return find_items(records, reference), None
    try:
        # A label may end in `#` and digits, too.
        return find_items(records, reference), None
    except UserError:
        return find_items(records, base), round_number


def find_items(records: Records, reference: str) -> list[tuple[str, int]]:
    """The items that `reference` names: `JOB`, `JOB:INDEX`, `JOB:LABEL`, a glob over these, or a label that one item has.

    Raises UserError that says what there is instead.
    """
    # Whoever names a label by its own text, as a shell completes a file's name, means what is shown of it.
    reference = on_one_line(reference)
    job_id, colon, rest = reference.partition(":")
    # The cheap and exact meanings first: a label that looks like a glob is still found as the label that it is.
    if job_id in records.history.header.jobs:
        count = records.count(job_id)
        if not colon:
            return [(job_id, index) for index in range(count)]
        index = read_digits(rest)
        if index is not None and index < count:
            return [(job_id, index)]
        found = [(job_id, index) for index in range(count) if _shown_label(records, job_id, index) == rest]
        if found:
            return found
    # A glob is tried on the name and on the label of each item.
    found, called_so = [], []
    for each in records.history.header.jobs:
        for index in range(records.count(each)):
            label = _shown_label(records, each, index)
            names = records.item_name(each, index), f"{each}:{label}"
            if any(fnmatch.fnmatchcase(name, reference) for name in names):
                found.append((each, index))
            if label == reference:
                called_so.append((each, index))
    if not found and len(called_so) > 1:
        told = first_in_words([records.item_name(*each) for each in called_so])
        raise UserError(f"{reference!r} is the label of {len(called_so)} items: {told}", "name one of these")
    if not found and not called_so:
        raise UserError(
            f"run {records.run_dir.run_id} has no item {reference!r}{_nearest(records, job_id, reference)}",
            f"{_items_in_words(records, job_id)}; an item is JOB:INDEX, JOB:LABEL, or a label that one item has",
        )
    return found or called_so


def _nearest(records: Records, job_id: str, reference: str) -> str:
    """The name that was probably meant: an item's of the job if there is such a job; else a job's, or a label alone."""
    jobs = records.history.header.jobs
    labels = (
        (each, index, _shown_label(records, each, index))
        for each in ([job_id] if job_id in jobs else jobs)
        for index in range(min(records.count(each), _MOST_NAMES))
    )
    if job_id in jobs:
        return did_you_mean(reference, (f"{each}:{index if label is None else label}" for each, index, label in labels))
    return did_you_mean(job_id, jobs) or did_you_mean(
        reference, {label for _, _, label in islice(labels, _MOST_NAMES) if label is not None}
    )


def _items_in_words(records: Records, job_id: str) -> str:
    """Which items the job has, if there is such a job; else which jobs the run has."""
    if job_id not in records.history.header.jobs:
        return f"its jobs are: {', '.join(records.history.header.jobs)}"
    match records.count(job_id):
        case 0:
            return f"{job_id} has no items"
        case 1:
            return f"{job_id} has one item, {records.item_name(job_id, 0)}"
        case count:
            return f"{job_id} has {count} items, {job_id}:0 to {job_id}:{count - 1}"


def _shown_label(records: Records, job_id: str, index: int) -> str | None:
    return label_of(records, job_id, index, records.history.jobs[job_id].record(index))
