"""Evaluating a job's `for_each` once, and recording the list durably before the first item starts; which of it is selected."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from orchestrator.context import ItemContexts
from orchestrator.jobsfile.model import ChainSource, Job, chain_of
from orchestrator.results import RunReader
from orchestrator.selection import LATER, Chosen, LabelsUnknown, Later, Selector, early_label
from orchestrator.store.itemlist import ItemList, write_item_list
from orchestrator.store.outputs import CaptureMismatch
from orchestrator.store.records import ItemsChosen


class ListingError(Exception):
    """`for_each` could not be evaluated; one line in words."""


def list_job(reader: RunReader, contexts: ItemContexts, job: Job) -> int:
    """Record the items of `job` durably and return how many they are. Raises ListingError, StateUnwritableError.

    A list that stands already (the supervisor was killed before it could record that) is taken as it is.
    """
    if job.for_each is None:
        return 1
    path = reader.run_dir.items(job.id)
    if path.exists():
        return len(ItemList(path))
    from orchestrator.jobsfile.sources import SourceError

    try:
        return write_item_list(path, _values(reader, contexts, job))
    except (SourceError, CaptureMismatch) as error:
        raise ListingError(str(error)) from error


def _values(reader: RunReader, contexts: ItemContexts, job: Job) -> Iterator[Any]:
    source = job.for_each
    assert source is not None
    if not isinstance(source, ChainSource):
        from orchestrator.jobsfile.sources import list_items

        return list_items(source, contexts.for_job(), reader.history.header.folder)
    counts = {parent: reader.count(parent) for parent in source.jobs}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{parent} has {count} items" for parent, count in counts.items())
        raise ListingError(f"the jobs of a chain must have as many items as each other: {told}")
    first = source.jobs[0]
    return (reader.value(first, index) for index in range(counts[first]))


def choose_items(reader: RunReader, contexts: ItemContexts, selector: Selector, job_id: str) -> Chosen:
    """The items of a listed job that are selected; a job that is left out need not be listed."""

    def label(of: str, index: int) -> str | Later | None:
        job = reader.job(of)
        found = early_label(job, index, _value(reader, job, index), contexts.for_job())
        return reader.recorded_label(of, index) or LATER if found is LATER else found

    return selector.choose(job_id, reader.count(job_id), label)


def chosen_record(job_id: str, chosen: Chosen, reason: str) -> ItemsChosen:
    """What is recorded of it."""
    if chosen is None:
        return ItemsChosen(job=job_id)
    return ItemsChosen(job=job_id, ranges=list(_ranges(sorted(chosen))), message=reason)


def _ranges(indices: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbours put together, each as (first, last + 1)."""
    for _, run in groupby(enumerate(indices), key=lambda each: each[1] - each[0]):
        neighbours = [index for _, index in run]
        yield neighbours[0], neighbours[-1] + 1


def _value(reader: RunReader, job: Job, index: int) -> Any:
    """The value of an item, also of a chain that is not listed yet: it is that of the item which it follows."""
    while reader.history.jobs[job.id].count is None and job.for_each is not None:
        if not chain_of(job):
            raise LabelsUnknown(job.id)
        job = reader.job(chain_of(job)[0])
    return reader.value(job.id, index)
