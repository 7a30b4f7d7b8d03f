"""What an edited jobs file makes of each item of a run, drafted on a second reading of the records: nothing is changed.

Promise: an index never means two values. An item whose payload is unchanged keeps its outcome. Where something that an item reads
will run again, the item's payload is not known yet: it is set back, and compared once more when its turn comes (`Preparer`).
It refuses to handle: writing any of this (`update`); words for people (`update_plan`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import partial
from graphlib import TopologicalSorter
from typing import Any
from zlib import crc32

import msgspec

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.listing import ListingError, list_again, marks_of
from orchestrator.attempts.items.merging import Relisted
from orchestrator.attempts.items.selection import Selector
from orchestrator.attempts.loops import Loops
from orchestrator.attempts.preparer import Preparer
from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.kept_files import KeptFiles
from orchestrator.jobsfile.model import ChainSource, FileSource, Job, MatrixSource, templates_in
from orchestrator.reading.item_names import label_of
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_records import item_id
from orchestrator.runs.edited_file import EditedFile
from orchestrator.runs.lost_lists import relist_lost
from orchestrator.runs.update_plan import Fate, JobUpdate, UpdatePlan
from orchestrator.store.job_history import JobHistory
from orchestrator.store.kept_files import encode_kept
from orchestrator.store.load import read_history
from orchestrator.store.places import JOURNAL
from orchestrator.store.records import ItemSettled, ItemsListed, ListOutdated, Record, RunHeader, Started, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.settings_records import Selection


class Draft(msgspec.Struct, frozen=True):
    """What an update will write. `kept`: what the file needs besides itself. `lists`: job id -> the values of its new list.
    `to_end`: attempts to end before.
    """

    header: RunHeader
    text: str
    kept: KeptFiles | None
    records: list[Record]
    lists: dict[str, list[Any]]
    to_end: list[Started]
    plan: UpdatePlan


def draft_update(run_dir: RunDir, edited: EditedFile) -> Draft:
    """What the edited file makes of the run. Raises JobsFileError for lists that cannot be evaluated, StateRefusedError."""
    return _Drafter(run_dir, edited).draft()


class _Drafter:
    """Makes one draft, on a reading of the records of its own. Jobs come after those that they need."""

    def __init__(self, run_dir: RunDir, edited: EditedFile) -> None:
        history = read_history(run_dir)
        jobs_file, inputs = edited.jobs_file, edited.inputs
        self._old = old = history.header
        self._starts = history.starts_without_end
        jobs = {job.id: job.for_each is not None for job in jobs_file.jobs}
        known = {**old.removed, **old.jobs}
        self._header = msgspec.structs.replace(
            old,
            name=jobs_file.name,
            jobs=jobs,
            inputs=inputs,
            revision=old.revision + 1,
            jobs_crc=crc32(jobs_file.text.encode()),
            config_crc=crc32(edited.config) if edited.config is not None else old.config_crc,
            kept_crc=crc32(encode_kept(jobs_file.kept)) if jobs_file.kept is not None else None,
            removed={job_id: is_fan_out for job_id, is_fan_out in known.items() if job_id not in jobs},
        )
        self._past = dict(history.jobs)
        # Applied to this reading alone: what reads it sees the run as it would be.
        history.apply(self._header, JOURNAL, 0, 0)
        self._history = history
        self._edited = edited
        self._jobs_file = jobs_file
        self._reader = RunReader(run_dir, history, alive=False)
        self._reader.jobs_file = jobs_file
        self._contexts = ItemContexts(self._reader, inputs)
        everything = Selector(Selection(), jobs_file.jobs)
        self._preparer = Preparer(self._reader, self._contexts, Loops(self._reader, self._contexts), jobs_file, everything)
        self._updates: dict[str, JobUpdate] = {}
        self._unsettled: dict[str, set[int] | None] = {}
        """Job id -> the items that may still come to something else; None: its list is not known, so the job as a whole."""
        self._records: list[Record] = []
        self._lists: dict[str, list[Any]] = {}
        self._to_end: list[Started] = []
        # Its outputs lie where those of the other are, where a file system takes both names for one.
        same_name = {job_id.casefold(): job_id for job_id in known}
        others = {job_id: same_name.get(job_id.casefold(), job_id) for job_id in jobs}
        self._problems = [
            f"jobs.{job_id}: differs in case alone from {other}, a job that the run has had"
            for job_id, other in others.items()
            if other != job_id
        ]
        self._notes: list[str] = []

    def draft(self) -> Draft:
        """The draft. Raises JobsFileError."""
        by_id = {job.id: job for job in self._jobs_file.jobs}
        for job_id in TopologicalSorter({job.id: job.needs for job in self._jobs_file.jobs}).static_order():
            self._draft_job(by_id[job_id])
        # Jobs of the old file that the new one has not, and attempts of theirs that run.
        updates = [self._updates[job.id] for job in self._jobs_file.jobs]
        updates += [self._removed(job_id) for job_id in self._old.jobs if self._begins_anew(job_id)]
        self._to_end += [start for start in self._starts.values() if self._begins_anew(start.job)]
        if self._problems:
            raise JobsFileError(self._old.jobs_file, self._problems)
        plan = UpdatePlan(self._old.run_id, self._old.jobs_file, updates, [*self._edited.notes, *self._notes])
        return Draft(self._header, self._jobs_file.text, self._jobs_file.kept, self._records, self._lists, self._to_end, plan)

    def _begins_anew(self, job_id: str) -> bool:
        """Whether the records of an old job count no more: it is gone, or is a fan-out now and was none, or the reverse."""
        return self._header.jobs.get(job_id) is not self._old.jobs[job_id]

    def _removed(self, job_id: str) -> JobUpdate:
        update = JobUpdate(id=job_id, change="removed", is_single=not self._old.jobs[job_id])
        past, is_fan_out = self._past[job_id], self._old.jobs[job_id]
        for index in range(past.count or 0):
            if index not in past.gone:
                update.count_item("gone", partial(item_id, job_id, index, is_fan_out=is_fan_out))
        return update

    def _draft_job(self, job: Job) -> None:
        """Draft what becomes of a job, once that is done for all that it needs."""
        past = self._history.jobs[job.id]
        is_new = job.id not in self._old.jobs or self._begins_anew(job.id)
        update = self._updates[job.id] = JobUpdate(id=job.id, change="new" if is_new else "none", is_single=job.for_each is None)
        # Not listed yet: its list will be evaluated in its turn, as in any session.
        if past.count is None:
            self._unsettled[job.id] = None
            return
        # Evaluate the list again, if all that it reads is known to be what it will read then.
        relisted, lost = None, self._reader.lost_list(job.id)
        update.is_listed_later = job.for_each is not None and not self._is_list_known(job)
        if lost is not None:
            how = "by an update after what it reads has run" if update.is_listed_later else "now, its items known by what they do"
            self._notes.append(f"{job.id}: {lost.message}; it is made anew {how}")
        if job.for_each is not None and not update.is_listed_later:
            try:
                relisted = (
                    list_again(self._reader, self._contexts, job)
                    if lost is None
                    else relist_lost(self._reader, self._contexts, self._preparer, job)
                )
            except ListingError as error:
                # Go on with the other jobs: all mistakes are told at once.
                self._problems.append(f"jobs.{job.id}.for_each: {error}")
                self._unsettled[job.id] = None
                return
        is_readable = lost is None or relisted is not None
        unsettled = self._draft_items(job, past, update, relisted.gone if relisted is not None else [], is_readable=is_readable)
        if update.is_listed_later:
            past.is_outdated = True
            self._records.append(ListOutdated(job=job.id))
            self._unsettled[job.id] = None
            return
        if relisted is not None:
            # One that was not read to its end is whole now.
            is_anew = lost is not None or past.growing is not None
            unsettled |= self._merge_list(job, past, update, relisted, is_anew=is_anew)
        self._unsettled[job.id] = unsettled
        # Nothing of the job will change. Close it, so that items which read `jobs.ID.status` are compared with what they saw.
        if not unsettled:
            past.closed = "cancelled" if past.counts()[Status.CANCELLED] else "succeeded"

    def _is_list_known(self, job: Job) -> bool:
        """Whether all that the list is made of is what it will be when the job's turn comes."""
        if isinstance(job.for_each, ChainSource):
            return all(self._unsettled[parent] is not None for parent in job.for_each.jobs)
        return all(self._unsettled[need] == set() for need in _reads_of_list(job))

    def _merge_list(self, job: Job, past: JobHistory, update: JobUpdate, relisted: Relisted, *, is_anew: bool) -> set[int]:
        """Draft the new list (`is_anew`: the old one is lost, or was cut); returns the items that may come to something else."""
        assert past.count is not None
        count = past.count + len(relisted.added)
        # Values that are new stand behind those that are known, so that an index never means two values.
        if relisted.added or is_anew:
            self._lists[job.id] = [*self._reader.values(job.id), *relisted.added]
            self._reader.suppose_list(job.id, self._lists[job.id])
        if relisted.added or is_anew or past.is_outdated:
            revision = self._header.revision if relisted.added or is_anew else past.list_revision
            self._add_record(ItemsListed(job=job.id, count=count, revision=revision))
        for mark in marks_of(job.id, relisted):
            self._add_record(mark)
        # Attempts at values that are gone have no use.
        leaving = ((job.id, index) for index in relisted.gone)
        self._to_end += [self._starts[item] for item in leaving if item in self._starts]
        added = range(count - len(relisted.added), count)
        told: tuple[tuple[Fate, Iterable[int]], ...] = (("new", added), ("gone", relisted.gone), ("checked", relisted.back))
        for fate, indices in told:
            for index in indices:
                update.count_item(fate, partial(self._name, job.id, index))
        return {*added, *relisted.gone, *relisted.back}

    def _add_record(self, record: ItemsListed | ItemSettled) -> None:
        """Have a record written with the update, and see it in what is drafted after it."""
        self._records.append(record)
        self._history.apply(record, JOURNAL, 0, 0)

    def _draft_items(
        self, job: Job, past: JobHistory, update: JobUpdate, leaving: Collection[int], *, is_readable: bool
    ) -> set[int]:
        """Draft the fate of each item that stays in the list; returns the items that may come to something else.

        `is_readable`: their values are known.
        """
        assert past.count is not None
        # Whether the items read what they will read in their turn: then their payload is known now.
        templates = [
            template
            for field in msgspec.structs.fields(job)
            if field.name != "for_each"
            for template in templates_in(getattr(job, field.name))
        ]
        # A job that a gate sends back reads the gate's answer without needing it: that is as it was when the job ran.
        reads = {name for template in templates for name in template.jobs if name in job.needs}
        is_certain = is_readable and all(self._unsettled[name] == set() for name in reads)
        takes_parent = any("parent" in template.names for template in templates)
        parents = job.for_each.jobs if isinstance(job.for_each, ChainSource) else ()
        is_certain = is_certain and not (parents and update.is_listed_later)
        missing = past.gone.union(leaving)
        unsettled = set()
        for index in range(past.count):
            if index in missing:
                continue
            # In a chain an item reads its parent's item alone.
            is_known = is_certain and not (takes_parent and any(self._may_change(parent, index) for parent in parents))
            fate = self._fate_of_item(job, past, index, is_known=is_known, ends=update.is_listed_later)
            update.count_item(fate, partial(self._name, job.id, index))
            if fate not in ("kept", "cancelled"):
                unsettled.add(index)
        return unsettled

    def _may_change(self, job_id: str, index: int) -> bool:
        unsettled = self._unsettled[job_id]
        return unsettled is None or index in unsettled

    def _fate_of_item(self, job: Job, past: JobHistory, index: int, *, is_known: bool, ends: bool) -> Fate:
        """What becomes of an item, recorded. `is_known`: its payload is known now. `ends`: no attempt may run on."""
        if job.is_gate:
            return self._fate_of_gate(job, past, index)
        match past.status(index):
            case Status.SUCCEEDED:
                if is_known and self._preparer.is_same(job, index, past.last_end(index)):
                    return "kept"
                self._set_back(job, index)
                return "rerun" if is_known else "checked"
            case Status.RUNNING:
                start = self._starts[job.id, index]
                if not ends and self._preparer.payload_of(job, index) == start.payload:
                    return "running"
                self._to_end.append(start)
                return "rerun"
            case Status.CANCELLED:
                return "cancelled"
            case Status.PENDING if past.is_set_back(index):
                return "checked"
            case Status.FAILED:
                # As in any resume. With --keep-failed it stays failed, unless it is other work now.
                if is_known and not self._preparer.is_same(job, index, past.last_end(index)):
                    self._set_back(job, index)
            case _:
                # A loop goes on where it stood, and an agent in its session, but only if it is the same work.
                last = past.last_end(index)
                goes_on = (is_known and past.rounds_done(index) > 0) or (job.is_agent and last is not None)
                if goes_on and not (is_known and self._preparer.is_same(job, index, last)):
                    self._set_back(job, index)
        return "unfinished"

    def _fate_of_gate(self, job: Job, past: JobHistory, index: int) -> Fate:
        """What becomes of a gate: its choice stands while the question does, and nothing that it was made on runs again."""
        asked = past.gates[index].question if index in past.gates else None
        parents = job.for_each.jobs if isinstance(job.for_each, ChainSource) else ()
        whole = (self._unsettled[need] for need in job.needs if need not in parents)
        is_same = all(unsettled == set() for unsettled in whole)
        is_same = is_same and not any(self._may_change(parent, index) for parent in parents)
        if is_same and asked is not None:
            question = self._preparer.question_of(job, index)
            is_same = question is not None and (question.text, question.show_file) == (asked.question, asked.show_file)
            is_same = is_same and asked.options == list(job.options)
        status = past.status(index)
        if asked is None or is_same:
            return "kept" if status is Status.SUCCEEDED else "cancelled" if status is Status.CANCELLED else "unfinished"
        self._set_back(job, index)
        return "rerun"

    def _set_back(self, job: Job, index: int) -> None:
        """Have the item pending again."""
        label = label_of(self._reader, job.id, index, self._history.jobs[job.id].record(index))
        self._records.append(ItemSettled(job=job.id, index=index, status=Status.PENDING, label=label))

    def _name(self, job_id: str, index: int) -> str:
        """What people call an item, with its label."""
        label = label_of(self._reader, job_id, index, self._history.jobs[job_id].record(index))
        return self._reader.item_name(job_id, index) + (f" {label}" if label else "")


def _reads_of_list(job: Job) -> set[str]:
    """The jobs that its list is made of: those that its templates name. Files may be made by any job that it needs."""
    source = job.for_each
    axes = list(source.axes.values()) if isinstance(source, MatrixSource) else [source]
    if any(isinstance(axis, FileSource) for axis in axes):
        return set(job.needs)
    return {name for template in templates_in(source) for name in template.jobs}
