"""Whether a folder holds records of a run though its checkpoint is gone: then it is that run, damaged, and its id is not free.

Promise: what a kill leaves of a run that never began holds none (a journal with its header alone, empty folders), and neither
does what is left of a run that a prune has begun to remove.
"""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.errors import StateRefusedError
from orchestrator.store.source_file import SourceFile
from orchestrator.workers.files.opening import open_file

REMOVAL_MARK = "removing"
"""The name of a file in a run's folder, by which it is no run any more: a prune makes it first, and removes it last."""

_FIRST_JOURNAL = "journal-1.jsonl"
_MOST_HEADER_BYTES = 1024
"""No header of a journal is longer with its commit line."""


def open_checkpoint(path: Path) -> SourceFile:
    """The checkpoint of a run. Raises FileNotFoundError (there is no run), StateRefusedError (also: the run has lost it)."""
    try:
        return SourceFile(path)
    except FileNotFoundError:
        if not holds_records(path.parent):
            raise
    # Between the two looks the run may have been born: its checkpoint comes before its records.
    try:
        return SourceFile(path)
    except FileNotFoundError as error:
        raise lost_checkpoint(path) from error


def lost_checkpoint(path: Path) -> StateRefusedError:
    """There is a run, and nothing stands at `path`, where its checkpoint should be."""
    return StateRefusedError(
        f"{path}: missing, and the folder holds records of a run",
        f"put it back: without it the run cannot go on, nor be salvaged; what items wrote lies in {path.parent}/outputs",
    )


def holds_records(folder: Path) -> bool:
    """Whether anything below tells of a run that had begun. Costs some calls: to be asked only where there is no checkpoint."""
    if os.path.lexists(folder / REMOVAL_MARK):
        return False
    try:
        names = os.listdir(folder)
    except PermissionError:
        return True  # a folder that was closed to us is no free place; whoever opens a file of it says why it cannot
    except OSError:
        return False
    journals = [folder / name for name in names if name.startswith("journal-")]
    return any(map(_has_records, journals)) or any(_has_entries(folder / name) for name in ("workers", "outputs"))


def _has_records(journal: Path) -> bool:
    """Whether more than its header was written to the journal. Only a run has one of a later generation, or a damaged one."""
    if journal.name != _FIRST_JOURNAL:
        return True
    try:
        with open(open_file(journal), "rb") as file:
            beginning = file.read(_MOST_HEADER_BYTES + 1)
    except OSError:
        return False
    # The header's group is its line and a commit line.
    return len(beginning) > _MOST_HEADER_BYTES or beginning.count(b"\n") > 2


def _has_entries(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
