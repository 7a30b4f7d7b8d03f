"""An update of a job whose recorded list cannot be read: the list is evaluated again, and the items are found in it again.

Promise: no outcome is taken for another value's. The values of a chain are those of the jobs beside it. Else an item is known by
its payload and its label; one that is not found again keeps its index, and its value, which nobody knows, is null.
It refuses to handle: whether an item that is found again keeps its outcome (`update_draft`).
"""

from __future__ import annotations

from typing import Any

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.listing import list_again, list_values
from orchestrator.attempts.items.merging import Relisted, Work, place_anew
from orchestrator.attempts.preparer import Preparer
from orchestrator.jobsfile.model import Job, chain_of
from orchestrator.reading.item_names import label_of
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.item_list import ListLostError
from orchestrator.store.records import ItemsListed


def relist_lost(reader: RunReader, contexts: ItemContexts, preparer: Preparer, job: Job) -> Relisted:
    """What becomes of the job's list, and a list for `reader` to read in the place of the lost one. Raises ListingError."""
    past = reader.history.jobs[job.id]
    count = past.count or 0
    beside = _values_beside(reader, job, count)
    if beside is not None:
        _suppose(reader, job, beside)
        return list_again(reader, contexts, job)
    new = list_values(reader, contexts, job)
    begun = {index: work for index in range(count) if (work := _recorded_work(reader, job, index)) is not None}
    # What each value does now is asked as of the number that it has in the new list.
    _suppose(reader, job, new)
    places = place_anew(begun, count, [Work(*preparer.work_of(job, number)) for number in range(len(new))])
    values: list[Any] = [None] * max([count, *(index + 1 for index in places)])
    for value, index in zip(new, places, strict=True):
        values[index] = value
    _suppose(reader, job, values[:count])
    found = set(places)
    gone = [index for index in range(count) if index not in found and index not in past.gone]
    return Relisted(values[count:], gone, sorted(found & past.gone))


def _values_beside(reader: RunReader, job: Job, count: int) -> list[Any] | None:
    """The values of a job of the same chain, whose items have the same values by the same indices; None: none is whole."""
    followers = [other.id for other in reader.jobs_file.jobs if job.id in chain_of(other)]
    for other in (*chain_of(job)[:1], *followers):
        past = reader.history.jobs[other]
        try:
            if past.count is not None and past.count >= count:
                return list(reader.values(other))[:count]
        except ListLostError:
            continue
    return None


def _recorded_work(reader: RunReader, job: Job, index: int) -> Work | None:
    """By what an item is known that has begun; None: it has not."""
    past = reader.history.jobs[job.id]
    last = reader.history.open_starts.get((job.id, index)) or past.unended.get(index) or past.last_end(index)
    label = label_of(reader, job.id, index, past.record(index))
    if last is None and label is None:
        return None
    return Work(last.payload or None if last is not None else None, label)


def _suppose(reader: RunReader, job: Job, values: list[Any]) -> None:
    """Have the reader see this list, as the update will write it; the records tell of as many items as before."""
    past = reader.history.jobs[job.id]
    past.apply(ItemsListed(job=job.id, count=past.count or 0, revision=reader.history.header.revision))
    reader.suppose_list(job.id, values)
