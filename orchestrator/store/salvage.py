"""What can still be read of a run whose journal is damaged, and how it becomes a run again.

Promise: only groups that are whole are believed, and each once. Nothing is removed: the damaged files stay beside the new
generation, under names that no reader looks at. Until the new checkpoint stands the run is as it was.
It refuses: a damaged checkpoint, for its records have one checksum for all of them, and none of them can be told to be right.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import msgspec

from orchestrator.errors import StateRefusedError
from orchestrator.store.checkpoint import read_head, read_lines
from orchestrator.store.checkpoint_writer import CheckpointWriter
from orchestrator.store.durable_file import unwritable, write_durably
from orchestrator.store.formats import Format, format_of
from orchestrator.store.growing_list import growth_in
from orchestrator.store.item_list import ItemList
from orchestrator.store.job_history import JobHistory
from orchestrator.store.journal import Journal
from orchestrator.store.kept_records import open_checkpoint
from orchestrator.store.lines import JournalHeader
from orchestrator.store.list_records import ListGrew
from orchestrator.store.places import CHECKPOINT, JOURNAL, Sources
from orchestrator.store.records import ItemsListed, RunHeader, Status
from orchestrator.store.refusals import refused
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.store.source_file import SourceFile
from orchestrator.store.whole_groups import Group, whole_groups
from orchestrator.workers.files.syncing import sync_folder


class Salvage(msgspec.Struct, frozen=True):
    """What is whole. `gaps`: the bytes of the journal (start, end) that are in no whole group; `missing`: numbers of lost groups.

    `notes`: what else is lost, in words. `groups`: how many were read.
    """

    history: RunHistory
    groups: int
    gaps: list[tuple[int, int]]
    missing: list[int]
    notes: list[str]


def read_whole(run_dir: RunDir) -> Salvage:
    """All that is whole of the run. Changes nothing. Raises FileNotFoundError (no run), StateRefusedError."""
    # No journal tells what a run is: without a checkpoint nothing can be salvaged.
    checkpoint = open_checkpoint(run_dir.checkpoint)
    try:
        head, start = read_head(checkpoint)
        format_ = format_of(run_dir.checkpoint, head.format)
        lines = list(read_lines(checkpoint, head, start))
    except StateRefusedError as error:
        raise StateRefusedError(
            error.message, f"nothing that the checkpoint tells can be trusted; what items wrote lies in {run_dir.path}/outputs"
        ) from error
    header = lines[0][0] if lines else None
    if not isinstance(header, RunHeader) or header.run_id != head.run:
        raise refused(run_dir.checkpoint, "damaged: it has no header")
    # A journal that is missing is one gap: what the checkpoint tells is all.
    try:
        journal = SourceFile(run_dir.journal(head.generation))
        size = journal.size()
    except FileNotFoundError:
        journal, size = checkpoint, 0
    parts = journal.written(0, size)
    groups = _in_order(group for at, part in parts for group in whole_groups(part, at, head.generation))
    history = RunHistory(header, head.generation, Sources(checkpoint, journal, format_))
    for line, offset, length in lines[1:]:
        history.apply(line, CHECKPOINT, offset, length)
    for group in groups:
        _apply_group(history, journal, group, format_, head.run)
    history.next_sequence = max(history.next_sequence, head.next_sequence)
    history.next_worker = max(history.next_worker, head.next_worker, *_numbers_of_workers(run_dir))
    notes = [] if size else ["the whole journal: what was recorded since the last checkpoint"]
    notes += _complete(run_dir, history)
    return Salvage(history, len(groups), _gaps(groups, size), _missing(groups), notes)


def write_generation(run_dir: RunDir, salvage: Salvage) -> list[str]:
    """Make what was salvaged the run; the names of the damaged files, which are kept. Survives power loss on return.

    The caller holds the run. Raises StateUnwritableError: the run is then as it was, or as it was salvaged.
    """
    old, new = salvage.history.generation, salvage.history.generation + 1
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = []
    try:
        # Kept under names of their own first, and durably: the new generation takes the place of the old one.
        for path, name in ((run_dir.checkpoint, f"checkpoint-{old}"), (run_dir.journal(old), f"journal-{old}")):
            with contextlib.suppress(FileNotFoundError):
                os.link(path, run_dir.path / f"{name}.damaged-{stamp}")
                kept.append(f"{name}.damaged-{stamp}")
        sync_folder(run_dir.path)
    except OSError as error:
        raise unwritable(run_dir.path, error) from error
    # A run that was ended may have something to do again; and nobody knows what its last word rested on.
    salvage.history.ended = None
    for job in salvage.history.jobs.values():
        job.closed = None
    Journal.create(run_dir.journal(new), new, run_dir.run_id).close()
    write_durably(run_dir.checkpoint, CheckpointWriter(salvage.history, new).chunks())
    return kept


def _in_order(found: Iterator[Group]) -> list[Group]:
    """Each group once, as they were written: by number where they have one, else by place."""
    once = {(group.commit.number, group.commit.offset, group.commit.crc): group for group in found}
    groups = list(once.values())
    if all(group.commit.number for group in groups):
        groups.sort(key=lambda group: group.commit.number)
    return groups


def _apply_group(history: RunHistory, journal: SourceFile, group: Group, format_: Format, run_id: str) -> None:
    lines = journal.read(group.start, group.end - group.start).split(b"\n")[:-1]
    offset = group.start
    for raw, line in zip(lines, format_.decode_lines(lines), strict=True):
        if line is None:
            raise refused(history.sources.path(JOURNAL), "has records of an unknown kind: newer?")
        if isinstance(line, JournalHeader):
            if line.run != run_id:
                raise refused(history.sources.path(JOURNAL), f"belongs to run {line.run}")
        else:
            history.apply(line, JOURNAL, offset, len(raw))
        offset += len(raw) + 1


def _complete(run_dir: RunDir, history: RunHistory) -> list[str]:
    """Put in what follows from what is whole; what is lost with a record, in words. Raises StateRefusedError: too much is."""
    revision = history.header.revision
    if os.path.lexists(run_dir.jobs_toml(revision + 1)):
        raise StateRefusedError(
            f"{run_dir.path}: the record of update {revision + 1} is lost, and with it what the items after it mean",
            f"begin a new run; what items wrote lies in {run_dir.path}/outputs",
        )
    known = {**history.header.removed, **history.header.jobs}
    lost = []
    for job_id, past in list(history.jobs.items()):
        if job_id not in known:
            raise refused(run_dir.checkpoint, f"the record of an update that brought job {job_id} is lost")
        told = _told(past)
        if told <= (past.count or 0):
            continue
        # The items have records, and their list has none: it stands durably before they do.
        listed = _listed(run_dir, job_id, history.header) if known[job_id] else ItemsListed(job=job_id, count=1)
        if listed is not None and listed.count >= told:
            past.apply(listed)
            continue
        history.begin_anew({job_id})
        lost.append(f"the list of job {job_id}: all its items run again")
    return lost


def _told(past: JobHistory) -> int:
    """Every item of which a record tells something has an index below this."""
    known = range(past.known - 1, -1, -1)
    return next((index + 1 for index in known if past.attempts(index) or past.status(index) is not Status.PENDING), 0)


def _listed(run_dir: RunDir, job_id: str, header: RunHeader) -> ItemsListed | ListGrew | None:
    """The record of the newest list of the job that stands whole; else of one that grew, as far as it stands."""
    for number in range(header.revision, -1, -1):
        with contextlib.suppress(StateRefusedError):
            return ItemsListed(job=job_id, count=len(ItemList(run_dir.items(job_id, number))), revision=number)
    return growth_in(run_dir.items(job_id, 0), job_id) if header.each else None


def _numbers_of_workers(run_dir: RunDir) -> list[int]:
    """One more than each number of a worker that has a folder: records that are lost may have given it."""
    with contextlib.suppress(OSError):
        return [int(name) + 1 for name in os.listdir(run_dir.path / "workers") if name.isdecimal()]
    return []


def _gaps(groups: list[Group], size: int) -> list[tuple[int, int]]:
    gaps, at = [], 0
    for group in sorted(groups, key=lambda each: each.start):
        if group.start > at:
            gaps.append((at, group.start))
        at = max(at, group.after)
    return [*gaps, (at, size)] if at < size else gaps


def _missing(groups: list[Group]) -> list[int]:
    there = {group.commit.number for group in groups}
    return [number for number in range(1, max(there, default=0)) if number not in there] if 0 not in there else []
