"""Evaluating a job's `for_each` once, and recording the list durably before the first item starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.context import ItemContexts
from orchestrator.jobsfile.model import ChainSource, Job
from orchestrator.results import RunReader
from orchestrator.store.itemlist import ItemList, write_item_list
from orchestrator.store.outputs import CaptureMismatch


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
