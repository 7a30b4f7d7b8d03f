"""`resume --update`: a run goes on with the jobs file as it is now.

Everything is drafted first, on a second reading of the records, so `draft_update` changes nothing. `commit_update` writes the new
text and the new lists durably under new names, and then one group of the journal says it all: the run has the old file or the
new one, whoever is killed when.

Promise: an index never means two values; an item whose payload is unchanged keeps its outcome. Where what an item reads will run
again its payload is not known yet: it is set back, and asked once more when its turn comes (`Preparer`).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from graphlib import TopologicalSorter
from itertools import chain
from typing import Any

import msgspec

from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.listing import ListingError, list_again, marks_of
from orchestrator.attempts.items.merging import Relisted
from orchestrator.attempts.items.selection import Selector, check_patterns
from orchestrator.attempts.loops import Loops
from orchestrator.attempts.preparer import Preparer
from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.input_values import resolve_inputs
from orchestrator.jobsfile.load import load
from orchestrator.jobsfile.model import ChainSource, FileSource, Job, JobsFile, MatrixSource, templates_in
from orchestrator.reading.item_names import label_of
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_records import item_id
from orchestrator.runs.update_plan import Fate, JobUpdate, UpdatePlan, UpdateRequest
from orchestrator.store.durable_file import unwritable, write_durably
from orchestrator.store.item_list import write_item_list
from orchestrator.store.job_history import JobHistory
from orchestrator.store.load import read_history
from orchestrator.store.places import JOURNAL
from orchestrator.store.records import ItemSettled, ItemsListed, ListOutdated, Record, RunHeader, Selection, Started, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import RunStore
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.syncing import sync_folder


class Edited(msgspec.Struct, frozen=True):
    """The jobs file as it is now, and the inputs that the run has with it. `notes`: what a person should know of them."""

    jobs_file: JobsFile
    inputs: dict[str, Any]
    notes: list[str]


class Draft(msgspec.Struct, frozen=True):
    """What an update will write. `lists`: job id -> the values that its list gets besides. `to_end`: attempts to end before."""

    header: RunHeader
    text: str
    records: list[Record]
    lists: dict[str, list[Any]]
    to_end: list[Started]
    plan: UpdatePlan


def read_edited(run_dir: RunDir, request: UpdateRequest) -> Edited:
    """Read the file that the run was made of once more. Raises UserError, JobsFileError that has every mistake."""
    reader = RunReader(run_dir, read_history(run_dir), alive=False)
    old, selection = reader.history.header, request.selection or reader.history.selection
    if old.each:
        raise UserError(f"run {old.run_id} was made by `orchestrate each`: it has no jobs file that could have changed")
    config = run_dir.config_toml
    jobs_file = load(old.jobs_file, folder=old.folder, user_config=str(config) if config.exists() else None)
    check_patterns(selection.only, [job.id for job in jobs_file.jobs])
    inputs = resolve_inputs(
        jobs_file.inputs,
        request.inputs,
        file=request.inputs_file,
        kept=old.inputs,
        environment=os.environ,
        ask=request.ask_input,
    )
    return Edited(jobs_file, inputs, list(_input_notes(old.inputs, inputs, reader.jobs_file, jobs_file)))


def draft_update(run_dir: RunDir, edited: Edited) -> Draft:
    """What the edited file makes of the run. Raises JobsFileError for lists that cannot be evaluated, StateRefusedError."""
    return _Drafting(run_dir, edited).draft()


def commit_update(store: RunStore, draft: Draft) -> None:
    """Let the run have the new file. Survives power loss when it returns. Raises StateUnwritableError: it has one of the two."""
    run_dir, revision, past = store.run_dir, draft.header.revision, store.history.header
    is_same_text = run_dir.jobs_toml(past.revision).read_bytes() == draft.text.encode()
    if is_same_text and not draft.records and draft.header == msgspec.structs.replace(past, revision=revision):
        return
    try:
        # What an update that was killed left behind: a list that stands would be taken for one that was made later.
        for path in (run_dir.path / "items").glob(f"*-{revision}.jsonl"):
            path.unlink()
        if (run_dir.path / "items").exists():
            sync_folder(run_dir.path / "items")
    except OSError as error:
        raise unwritable(run_dir.path, error) from error
    reader = RunReader(run_dir, store.history, alive=False)
    for job_id, added in draft.lists.items():
        write_item_list(run_dir.items(job_id, revision), chain(reader.values(job_id), added))
    write_durably(run_dir.jobs_toml(revision), draft.text.encode())
    fault_point("update.written")
    store.append([draft.header, *draft.records])
    fault_point("update.recorded")
    store.take_checkpoint()


def _input_notes(kept: Mapping[str, Any], inputs: Mapping[str, Any], before: JobsFile, now: JobsFile) -> Iterator[str]:
    dropped = [name for name in kept if name not in inputs]
    if dropped:
        yield f"no longer declared, and dropped: input {', '.join(dropped)}"
    for name, spec in now.inputs.items():
        past = before.inputs.get(name)
        if past is not None and past.default != spec.default and inputs[name] == kept.get(name) != spec.default:
            yield f"input {name} keeps the value that the run has, not the file's new default (-i {name}=… gives another)"


class _Drafting:
    """One draft. Jobs are looked at after those that they need."""

    def __init__(self, run_dir: RunDir, edited: Edited) -> None:
        history = read_history(run_dir)
        jobs_file, inputs = edited.jobs_file, edited.inputs
        self._old = old = history.header
        self._starts = dict(history.open_starts)
        jobs = {job.id: job.for_each is not None for job in jobs_file.jobs}
        known = {**old.removed, **old.jobs}
        self._header = msgspec.structs.replace(
            old,
            name=jobs_file.name,
            jobs=jobs,
            inputs=inputs,
            revision=old.revision + 1,
            removed={job_id: is_fan_out for job_id, is_fan_out in known.items() if job_id not in jobs},
        )
        self._past = dict(history.jobs)
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
        """Of each job: items of which something may come; None: of the job as a whole, for its list is not known."""
        self._records: list[Record] = []
        self._lists: dict[str, list[Any]] = {}
        self._to_end: list[Started] = []
        self._problems: list[str] = []

    def draft(self) -> Draft:
        by_id = {job.id: job for job in self._jobs_file.jobs}
        for job_id in TopologicalSorter({job.id: job.needs for job in self._jobs_file.jobs}).static_order():
            self._look_at(by_id[job_id])
        updates = [self._updates[job.id] for job in self._jobs_file.jobs]
        updates += [self._removed(job_id) for job_id in self._old.jobs if self._begins_anew(job_id)]
        self._to_end += [start for start in self._starts.values() if self._begins_anew(start.job)]
        if self._problems:
            raise JobsFileError(self._old.jobs_file, self._problems)
        plan = UpdatePlan(self._old.run_id, self._old.jobs_file, updates, self._edited.notes)
        return Draft(self._header, self._jobs_file.text, self._records, self._lists, self._to_end, plan)

    def _begins_anew(self, job_id: str) -> bool:
        """Whether what is recorded of the old file's job counts no more: it is gone, or a fan-out now and was none."""
        return self._header.jobs.get(job_id) is not self._old.jobs[job_id]

    def _removed(self, job_id: str) -> JobUpdate:
        update = JobUpdate(id=job_id, change="removed", is_single=not self._old.jobs[job_id])
        past, is_fan_out = self._past[job_id], self._old.jobs[job_id]
        for index in range(past.count or 0):
            if index not in past.gone:
                update.count("gone", partial(item_id, job_id, index, is_fan_out=is_fan_out))
        return update

    def _look_at(self, job: Job) -> None:
        past = self._history.jobs[job.id]
        is_new = job.id not in self._old.jobs or self._begins_anew(job.id)
        update = self._updates[job.id] = JobUpdate(id=job.id, change="new" if is_new else "none", is_single=job.for_each is None)
        if past.count is None:
            self._unsettled[job.id] = None
            return
        relisted = None
        update.is_listed_later = job.for_each is not None and not self._is_list_known(job)
        if job.for_each is not None and not update.is_listed_later:
            try:
                relisted = list_again(self._reader, self._contexts, job)
            except ListingError as error:
                self._problems.append(f"jobs.{job.id}.for_each: {error}")
                self._unsettled[job.id] = None
                return
        unsettled = self._look_at_items(job, past, update, relisted.gone if relisted is not None else [])
        if update.is_listed_later:
            past.is_outdated = True
            self._records.append(ListOutdated(job=job.id))
            self._unsettled[job.id] = None
            return
        if relisted is not None:
            unsettled |= self._take_list(job, past, update, relisted)
        self._unsettled[job.id] = unsettled
        if not unsettled:
            # What reads `jobs.ID.status` is to see what it saw when the job was done.
            past.closed = "cancelled" if past.counts()[Status.CANCELLED] else "succeeded"

    def _is_list_known(self, job: Job) -> bool:
        """Whether all of which the list is made is what it will be when the job's turn comes."""
        if isinstance(job.for_each, ChainSource):
            return all(self._unsettled[parent] is not None for parent in job.for_each.jobs)
        return all(self._unsettled[need] == set() for need in _reads_of_list(job))

    def _take_list(self, job: Job, past: JobHistory, update: JobUpdate, relisted: Relisted) -> set[int]:
        """Merge the list; items of which something may come."""
        assert past.count is not None
        count = past.count + len(relisted.added)
        if relisted.added:
            self._lists[job.id] = relisted.added
            self._reader.suppose_list(job.id, [*self._reader.values(job.id), *relisted.added])
        if relisted.added or past.is_outdated:
            revision = self._header.revision if relisted.added else past.list_revision
            self._take(ItemsListed(job=job.id, count=count, revision=revision))
        for mark in marks_of(job.id, relisted):
            self._take(mark)
        leaving = ((job.id, index) for index in relisted.gone)
        self._to_end += [self._starts[item] for item in leaving if item in self._starts]
        added = range(count - len(relisted.added), count)
        told: tuple[tuple[Fate, Iterable[int]], ...] = (("new", added), ("gone", relisted.gone), ("checked", relisted.back))
        for fate, indices in told:
            for index in indices:
                update.count(fate, partial(self._name, job.id, index))
        return {*added, *relisted.gone, *relisted.back}

    def _take(self, record: ItemsListed | ItemSettled) -> None:
        self._records.append(record)
        self._history.apply(record, JOURNAL, 0, 0)

    def _look_at_items(self, job: Job, past: JobHistory, update: JobUpdate, leaving: Collection[int]) -> set[int]:
        """Tell the fate of each item that stays in the list; those of which something may come."""
        assert past.count is not None
        templates = [
            template
            for field in msgspec.structs.fields(job)
            if field.name != "for_each"
            for template in templates_in(getattr(job, field.name))
        ]
        # A job that a gate sends back reads what was said there: that is no need, and it is what it was when the job ran.
        reads = {name for template in templates for name in template.jobs if name in job.needs}
        is_certain = all(self._unsettled[name] == set() for name in reads)
        takes_parent = any("parent" in template.names for template in templates)
        parents = job.for_each.jobs if isinstance(job.for_each, ChainSource) else ()
        is_certain = is_certain and not (parents and update.is_listed_later)
        missing = past.gone.union(leaving)
        unsettled = set()
        for index in range(past.count):
            if index in missing:
                continue
            is_known = is_certain and not (takes_parent and any(self._may_change(parent, index) for parent in parents))
            fate = self._fate(job, past, index, is_known=is_known, ends=update.is_listed_later)
            update.count(fate, partial(self._name, job.id, index))
            if fate not in ("kept", "cancelled"):
                unsettled.add(index)
        return unsettled

    def _may_change(self, job_id: str, index: int) -> bool:
        unsettled = self._unsettled[job_id]
        return unsettled is None or index in unsettled

    def _fate(self, job: Job, past: JobHistory, index: int, *, is_known: bool, ends: bool) -> Fate:
        """`is_known`: what the item reads is what it will be when its turn comes. `ends`: no attempt may run on."""
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
                # With --keep-failed it runs again only if it is other work now.
                if is_known and not self._preparer.is_same(job, index, past.last_end(index)):
                    self._set_back(job, index)
            case _:
                # A loop goes on where it stood, and an agent in its session, unless it is another one now.
                last = past.last_end(index)
                goes_on = (is_known and past.rounds_done(index) > 0) or (job.is_agent and last is not None)
                if goes_on and not (is_known and self._preparer.is_same(job, index, last)):
                    self._set_back(job, index)
        return "unfinished"

    def _fate_of_gate(self, job: Job, past: JobHistory, index: int) -> Fate:
        """A choice stands as long as the question does, and nothing runs again on which the choice was made."""
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
        label = label_of(self._reader, job.id, index, self._history.jobs[job.id].record(index))
        self._records.append(ItemSettled(job=job.id, index=index, status=Status.PENDING, label=label))

    def _name(self, job_id: str, index: int) -> str:
        label = label_of(self._reader, job_id, index, self._history.jobs[job_id].record(index))
        return self._reader.item_name(job_id, index) + (f" {label}" if label else "")


def _reads_of_list(job: Job) -> set[str]:
    """The jobs of which its list is made: those that its templates name; where it is read from files, any that it needs."""
    source = job.for_each
    axes = list(source.axes.values()) if isinstance(source, MatrixSource) else [source]
    if any(isinstance(axis, FileSource) for axis in axes):
        return set(job.needs)
    return {name for template in templates_in(source) for name in template.jobs}
