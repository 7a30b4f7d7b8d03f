"""Removing a workspace, and what of its record and branch goes with it."""

from __future__ import annotations

import os
from contextlib import suppress

from ..files.copying import remove_folder
from .record import read_record, record_path, snapshots_of, write_record
from .worktrees import remove_from_repository


def remove_workspace(path: str, *, is_over: bool = True) -> None:
    """Remove a workspace. Its branch stays if it has commits of its own. Raises GitFailed, OSError.

    Its record goes with it, but not if the branch stays and the item may run again (not `is_over`), which then goes on from that.
    """
    record, has_branch = read_record(path), False
    if record is not None:
        record.is_ready, record.keep_until = False, None
        write_record(path, record)
    remove_folder(path)
    if record is not None and record.kind == "worktree" and os.path.isdir(record.source):
        has_branch = remove_from_repository(path, record, is_over=is_over)
    remove_folder(snapshots_of(path))
    if is_over or not has_branch:
        with suppress(FileNotFoundError):
            os.unlink(record_path(path))
