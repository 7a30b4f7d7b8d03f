"""Carrying out `ListItems`: a job's items are listed and selected, recorded, and told to the core.

Promise: the list is durable before `ItemsListed` is recorded, and that is recorded before an item of it starts. A walk through a
large tree, and a long list, are made in parts: between them the loop hears signals and requests.
"""

from __future__ import annotations

import time
from collections.abc import Generator

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.listing import Listing, ListingError, choose_items, chosen_record, list_job
from orchestrator.attempts.items.selection import Selector
from orchestrator.core.events import ItemsListed, ListingFailed, ListingPutOff
from orchestrator.core.states import Stop
from orchestrator.jobsfile.globs import NotYet, Walks
from orchestrator.jobsfile.model import Job, globs_of
from orchestrator.store import records
from orchestrator.supervisor.restored_jobs import RestoredJobs
from orchestrator.supervisor.run import Run
from orchestrator.system.fence import passes_fence
from orchestrator.workers.faultpoints import fault_point

_PART_SECONDS = 0.2
"""How long a walk through folders, or the writing of a list, keeps the loop from hearing anything else."""


class ItemLists:
    """The lists of one run. `restored`: what the core shall know of a job that was listed before an update."""

    def __init__(self, run: Run, contexts: ItemContexts, selector: Selector, restored: RestoredJobs) -> None:
        self._run = run
        self._contexts = contexts
        self._selector = selector
        self._restored = restored
        self._walks = Walks(_PART_SECONDS)
        self._unfinished: list[int] = []
        self._being_made: dict[int, Generator[None, None, Listing]] = {}
        """Of the unfinished those that are written; the others have to walk first, and begin anew then."""

    @property
    def is_busy(self) -> bool:
        """Whether a list is not finished."""
        return bool(self._unfinished)

    def go_on(self) -> None:
        """Go on with the lists that are not finished; a run that is to end makes none. Raises StateUnwritableError."""
        orders, self._unfinished = self._unfinished, []
        is_over = self._run.core.stop is not Stop.NO or self._run.core.is_cancelled or self._run.core.is_timed_out
        if is_over:
            self._walks.forget()
            for each in self._being_made.values():
                each.close()
            self._being_made.clear()
        for order in orders:
            if is_over:
                self._run.happened(ListingPutOff(order))
            else:
                self.list_items(order)

    def list_items(self, order: int) -> None:
        """List the items of a job, or begin to. One that cannot be listed is told as such. Raises StateUnwritableError."""
        self._list_items(order)
        if order not in self._unfinished:
            self._walks.forget_found()

    def _list_items(self, order: int) -> None:
        run, job = self._run, self._run.jobs[order]
        try:
            listing = self._go_on_with(order, job)
        except NotYet:
            self._unfinished.append(order)
            return
        except ListingError as error:
            self._failed(order, job, f"{error.key}: {error}")
            return
        except Exception as error:
            if passes_fence(error):
                raise
            self._failed(order, job, f"for_each: {run.tell.fenced(f'{job.id}: its items could not be listed', error)}")
            return
        if listing is None:
            self._unfinished.append(order)
            return
        fault_point("supervisor.listed")
        was_listed = run.history.jobs[job.id].is_outdated
        run.recorder.add(records.ItemsListed(job=job.id, count=listing.count, revision=listing.revision))
        for mark in listing.marks:
            run.recorder.add(mark)
        chosen = self._choose_items(job) if self._selector.words else None
        selected = listing.count if chosen is None else sum(map(len, chosen))
        run.tell.listed(job.id, listing.count, selected, self._selector.words, globs_of(job))
        restored = None
        if was_listed:
            # What the items of the old list came to is read from the records, the marks of the merged list among them.
            run.recorder.commit()
            indices = None if chosen is None else frozenset(index for each in chosen for index in each)
            restored = self._restored.of_job(job.id, indices)
        run.happened(ItemsListed(order, listing.count, chosen, restored))

    def _go_on_with(self, order: int, job: Job) -> Listing | None:
        """Make the list of a job, or a part of it: then None. Raises what `list_job` does."""
        making = self._being_made.pop(order, None)
        if making is None:
            # `for_each` may read what jobs of this very turn came to.
            self._run.recorder.catch_up()
            making = list_job(self._run.reader, self._contexts, job, self._walks.matching_paths)
        until = time.monotonic() + _PART_SECONDS
        while True:
            try:
                next(making)
            except StopIteration as end:
                listing: Listing = end.value
                return listing
            if time.monotonic() >= until:
                self._being_made[order] = making
                return None

    def _failed(self, order: int, job: Job, message: str) -> None:
        self._run.recorder.add(records.ListingFailed(job=job.id, message=message))
        self._run.tell.closed(job.id, "failed", message)
        self._run.happened(ListingFailed(order))

    def _choose_items(self, job: Job) -> tuple[range, ...] | None:
        """Record which items are selected; None: all of them."""
        # Labels may tell of the list that was just recorded.
        self._run.recorder.catch_up()
        chosen = choose_items(self._run.reader, self._contexts, self._selector, job.id)
        record = chosen_record(job.id, chosen, self._selector.reason)
        self._run.recorder.add(record)
        return None if record.ranges is None else tuple(range(start, end) for start, end in record.ranges)
