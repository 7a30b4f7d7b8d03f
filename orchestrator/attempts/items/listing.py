"""Listing a job: its `for_each` is evaluated, and the list is written durably before the first item starts.

That happens once. Only an update of the run has a list evaluated again, and merged with the one that stands (`merging`).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from itertools import chain, groupby
from typing import Any

import msgspec

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.merging import MeaningChanged, Relisted, follow_parent, merge_list
from orchestrator.attempts.items.patterns import LATER, Later
from orchestrator.attempts.items.selection import (
    Chosen,
    Labels,
    LabelsUnknown,
    Selector,
    early_label,
    matches_nothing,
)
from orchestrator.errors import UserError
from orchestrator.jobsfile.created_files import CreatedFiles, SameFile
from orchestrator.jobsfile.globs import Matching, matching_paths
from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.model import ChainSource, FileSource, Job, ListSource, MatrixSource, Promised, chain_of
from orchestrator.reading.run_records import Records
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.item_list import ItemList, ListLostError, list_in_parts
from orchestrator.store.records import ItemsChosen, ItemSettled, Status


class ListingError(Exception):
    """A job could not be listed; one line in words. `key`: where the mistake is."""

    def __init__(self, message: str, key: str = "for_each") -> None:
        super().__init__(message)
        self.key = key


class Listing(msgspec.Struct, frozen=True):
    """A list that stands durably in the file of `revision`. `marks`: records of items that an earlier list had, or has again."""

    count: int
    revision: int = 0
    marks: tuple[ItemSettled, ...] = ()


def list_job(
    records: Records, contexts: ItemContexts, job: Job, matching: Matching = matching_paths
) -> Generator[None, None, Listing]:
    """Write the items of `job` durably, a block at a time: a list may be long, and its run has to hear that it is to stop.

    `matching`: what gives the paths of globs. Closed before its end it leaves nothing.

    Raises ListingError, StateUnwritableError, and what `matching` raises: then nothing is written.
    """
    if job.for_each is None:
        return Listing(1)
    past = records.history.jobs[job.id]
    revision = records.history.header.revision
    path = records.run_dir.items(job.id, revision)
    # An update left the list to be evaluated in its job's turn: merge it, so that an index keeps its value.
    if past.is_outdated:
        relisted = list_again(records, contexts, job, matching)
        marks = tuple(marks_of(job.id, relisted))
        old = records.values(job.id)
        if not relisted.added:
            return Listing(len(old), past.list_revision, marks)
        return Listing((yield from list_in_parts(path, chain(old, relisted.added))), revision, marks)
    # The supervisor was killed after the list stood and before that was recorded: items of it may have been seen.
    try:
        return Listing(len(ItemList(path)), revision)
    except ListLostError as lost:
        # Mostly it was never made. But the lines that `each` was given stand nowhere else.
        if records.history.header.each:
            raise ListingError(f"{lost}; nothing of it has run: give its lines to orchestrate each once more") from lost
    from orchestrator.jobsfile.sources import SourceError

    values = _values(records, contexts, job, matching)
    if job.creates is not None:
        # What a gate said is known item by item, when the item starts.
        base = contexts.for_job()
        values = with_files_checked(job, job.creates, values, base, set(base) - ({"jobs"} if job.sent_back_by else set()))
    try:
        return Listing((yield from list_in_parts(path, values)), revision)
    except (SourceError, CaptureMismatch) as error:
        raise ListingError(str(error)) from error
    except SameFile as same:
        raise ListingError(same.in_words(job.id), "creates") from same


def with_files_checked(
    job: Job, creates: Promised, values: Iterable[Any], base: Mapping[str, Any], known: Collection[str]
) -> Iterator[Any]:
    """The values as they come. `known`: the names in `base` that templates may ask for by now.

    Raises SameFile at the second item that would make the same file.
    """
    when = job.when if isinstance(job.when, Template) else None
    files = CreatedFiles(creates, job.cwd, when, job.token, {"item", "index", *known})
    for index, value in enumerate(values):
        files.add(index, {**base, "item": value, "index": index})
        yield value


def list_again(records: Records, contexts: ItemContexts, job: Job, matching: Matching = matching_paths) -> Relisted:
    """What becomes of a list that stands if it is evaluated now. Nothing is written. Raises ListingError."""
    from orchestrator.jobsfile.sources import SourceError

    past = records.history.jobs[job.id]
    try:
        old = records.values(job.id)
        if not isinstance(job.for_each, ChainSource):
            return merge_list(old, past.gone, _values(records, contexts, job, matching))
        parents = job.for_each.jobs
        gone = set[int]().union(*(records.history.jobs[parent].gone for parent in parents))
        return follow_parent(old, past.gone, list(_values(records, contexts, job, matching)), gone)
    except (SourceError, CaptureMismatch) as error:
        raise ListingError(str(error)) from error
    except MeaningChanged as changed:
        name = f"{job.id}:{changed.index}"
        raise ListingError(f"{name} would follow another item than it did; a job of another name begins anew") from None


def list_values(records: Records, contexts: ItemContexts, job: Job) -> list[Any]:
    """What `for_each` gives if it is evaluated now. Raises ListingError."""
    from orchestrator.jobsfile.sources import SourceError

    try:
        return list(_values(records, contexts, job, matching_paths))
    except (SourceError, CaptureMismatch) as error:
        raise ListingError(str(error)) from error


def marks_of(job_id: str, relisted: Relisted) -> Iterator[ItemSettled]:
    """The records of the items that are no longer in the list, and of those that are in it again."""
    for index in relisted.gone:
        yield ItemSettled(job=job_id, index=index, status=Status.SKIPPED, message="no longer in the list", gone=True)
    for index in relisted.back:
        yield ItemSettled(job=job_id, index=index, status=Status.PENDING)


def _values(records: Records, contexts: ItemContexts, job: Job, matching: Matching) -> Iterator[Any]:
    source = job.for_each
    assert source is not None
    if not isinstance(source, ChainSource):
        return _values_of(records, contexts, source, matching)
    counts = {parent: records.count(parent) for parent in source.jobs}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{parent} has {count} items" for parent, count in counts.items())
        raise ListingError(f"the jobs of a chain must have as many items as each other: {told}")
    first = source.jobs[0]
    return (records.value(first, index) for index in range(counts[first]))


def _values_of(
    records: Records, contexts: ItemContexts, source: ListSource | FileSource | MatrixSource, matching: Matching
) -> Iterator[Any]:
    from orchestrator.jobsfile.sources import list_items
    from orchestrator.reading.large_output import items_in_pieces

    # A list that is nothing but a large output is read line by line: as a value it would take many times its bytes.
    path = source.values.path if isinstance(source, ListSource) and isinstance(source.values, Template) else ()
    large = items_in_pieces(records, path[1]) if len(path) == 3 and (path[0], path[2]) == ("jobs", "output") else None
    if large is None:
        yield from list_items(source, contexts.for_job(), records.history.header.folder, matching)
    else:
        yield from large


def choose_items(records: Records, contexts: ItemContexts, selector: Selector, job_id: str) -> Chosen:
    """The items of a listed job that are selected; a job that is left out whole need not be listed."""
    return selector.select_items(job_id, records.count(job_id), _labels(records, contexts))


def idle_pattern(records: Records, contexts: ItemContexts, selector: Selector) -> UserError | None:
    """That a pattern of the selection matches nothing, in words, once all that it could match is listed; None: none is so."""
    for pattern in selector.idle_patterns():
        counts = {job_id: records.count(job_id) for job_id in selector.jobs_named_by(pattern)}
        return matches_nothing(pattern, counts, _labels(records, contexts))
    return None


def label_without_attempt(records: Records, contexts: ItemContexts, job_id: str, index: int) -> str | None:
    """The label of an item of a listed job that was never rendered; None where it has none but its value."""
    if contexts.labelling_jobs.of(records.job(job_id)).label is None:
        return None
    found = _labels(records, contexts)(job_id, index)
    return found if isinstance(found, str) else None


def _labels(records: Records, contexts: ItemContexts) -> Labels:
    from orchestrator.reading.item_names import recorded_label

    listed: dict[str, str] = {}

    def label(of: str, index: int) -> str | Later | None:
        job = records.job(of)
        labelled = contexts.labelling_jobs.of(job)
        try:
            value = _value(records, job, index, listed)
        except ListLostError:
            # It is called what it was called before; of one that never started nobody knows.
            return recorded_label(records, of, index) or recorded_label(records, labelled.id, index)
        found = early_label(labelled, index, value, contexts.for_job())
        if found is not LATER:
            return found
        return recorded_label(records, of, index) or recorded_label(records, labelled.id, index) or LATER

    return label


def chosen_record(job_id: str, chosen: Chosen, reason: str) -> ItemsChosen:
    """The record of the items that are selected of a job."""
    if chosen is None:
        return ItemsChosen(job=job_id)
    return ItemsChosen(job=job_id, ranges=list(_ranges(sorted(chosen))), message=reason)


def _ranges(indices: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbours put together, each as (first, last + 1)."""
    for _, run in groupby(enumerate(indices), key=lambda each: each[1] - each[0]):
        neighbours = [index for _, index in run]
        yield neighbours[0], neighbours[-1] + 1


def _value(records: Records, job: Job, index: int, listed: dict[str, str]) -> Any:
    """The value of an item, also of a chain that is not listed yet: it is that of the item which it follows.

    `listed`: by job the one above it that is listed. It is filled here, for each way up a long chain is gone once.
    """
    passed = []
    while records.history.jobs[job.id].count is None and job.for_each is not None:
        if not chain_of(job):
            raise LabelsUnknown(job.id)
        passed.append(job.id)
        job = records.job(listed.get(job.id) or chain_of(job)[0])
    listed.update(dict.fromkeys(passed, job.id))
    return records.value(job.id, index)
