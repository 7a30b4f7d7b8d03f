"""Reading a run: its checkpoint, then its journal, folded into a history. Takes no lock and changes nothing.

A reader beside a writer sees the run as it was at some moment: when the generation moves while it reads, it reads again.
"""

from __future__ import annotations

import os

from orchestrator.errors import StateRefusedError, UserError
from orchestrator.store.checkpoint import read_blocks, read_head
from orchestrator.store.formats import format_of
from orchestrator.store.journal import JournalRead
from orchestrator.store.kept_records import open_checkpoint
from orchestrator.store.places import CHECKPOINT, JOURNAL, Sources
from orchestrator.store.records import RunHeader
from orchestrator.store.refusals import cannot_load, refused
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.store.source_file import SourceFile


class LoadedRun:
    """A history, and what its holder must know to go on: writing, or reading what is appended.

    `checkpoint` and `journal` are the two files that it was read from.
    """

    def __init__(self, history: RunHistory, checkpoint: SourceFile, journal: JournalRead) -> None:
        self.history = history
        self.checkpoint = checkpoint
        self.journal = journal

    @property
    def checkpoint_bytes(self) -> int:
        """The size of the checkpoint."""
        return self.checkpoint.size()


def read_history(run_dir: RunDir) -> RunHistory:
    """What is recorded of the run now. Raises UserError (no such run), StateRefusedError (damaged, newer)."""
    return read_run(run_dir).history


def read_run(run_dir: RunDir) -> LoadedRun:
    """`read_history`, and the files that it was read from. Raises UserError (no such run), StateRefusedError."""
    while True:
        before = None
        try:
            before = _moment(run_dir)
            return load_run(run_dir)
        except (FileNotFoundError, StateRefusedError) as error:
            # The writer took a checkpoint, or cut a torn tail, while we read. If nothing moved, it is what it seems.
            if before is None or _moment(run_dir) == before:
                raise cannot_load(error, run_dir.run_id) from error


def _moment(run_dir: RunDir) -> tuple[int, ...]:
    """Differs whenever a writer did something in between."""
    try:
        source = open_checkpoint(run_dir.checkpoint)
    except FileNotFoundError as error:
        raise UserError(f"no run {run_dir.run_id!r} in {run_dir.path.parent}", "orchestrate list shows the runs") from error
    head, _ = read_head(source)
    try:
        journal = os.lstat(run_dir.journal(head.generation))
    except OSError:
        return (head.generation,)
    return head.generation, journal.st_size, journal.st_mtime_ns


def load_run(run_dir: RunDir) -> LoadedRun:
    """One reading of checkpoint and journal. Raises FileNotFoundError, StateRefusedError."""
    # The journal is opened at once after the head that names it: a writer that takes a checkpoint meanwhile removes it.
    checkpoint = open_checkpoint(run_dir.checkpoint)
    head, start = read_head(checkpoint)
    if head.run != run_dir.run_id:
        # Tokens and marks name a run by its id: what stands in another folder would be taken for it, or it for that.
        raise StateRefusedError(
            f"{run_dir.path}: holds run {head.run}: the folder was renamed, or copied",
            f"call it {head.run} again, or remove it if it is a copy",
        )
    format_ = format_of(run_dir.checkpoint, head.format)
    journal_file = SourceFile(run_dir.journal(head.generation))
    blocks = read_blocks(checkpoint, head, start)
    beginning = next(blocks, None)
    first = beginning.lines[0] if beginning is not None else None
    if beginning is None or not isinstance(first, RunHeader) or first.run_id != head.run:
        raise refused(run_dir.checkpoint, "damaged: it has no header")
    history = RunHistory(first, head.generation, Sources(checkpoint, journal_file, format_))
    # The fold: all that the checkpoint tells, then all that was appended since.
    history.apply_all([*beginning.lines[1:]], CHECKPOINT, beginning.offsets[1:], beginning.lengths[1:])
    for block in blocks:
        history.apply_all(block.lines, CHECKPOINT, block.offsets, block.lengths)
    journal = JournalRead(journal_file, head.generation, head.run, format_)
    for line, offset, length in journal:
        history.apply(line, JOURNAL, offset, length)
    # Numbers are never given twice: those of records that no checkpoint keeps are told by its head.
    history.next_sequence = max(history.next_sequence, head.next_sequence)
    history.next_worker = max(history.next_worker, head.next_worker)
    return LoadedRun(history, checkpoint, journal)
