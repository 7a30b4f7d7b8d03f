"""A workspace is made: a worktree, a copy, or an empty folder, from nothing or from what a killed attempt has left.

Each kind records what is about to be made before it makes anything.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import assert_never

from ..faultpoints import fault_point
from ..files.beneath import real_beneath, real_root
from ..files.copying import copy_folder, copy_matches, remove_folder
from ..files.syncing import make_folder
from ..protocol import WorkspaceTask
from .branch_names import is_named_by_us
from .changes import snapshot_of
from .git import GitFailed, git
from .record import WorkspaceRecord, read_record, snapshots_of, write_record
from .ties import pinned_workspace
from .worktrees import add_worktree


class Maker:
    """Makes one workspace. `env`: for git; `notes` get what a person should know."""

    def __init__(self, task: WorkspaceTask, env: Mapping[str, str], notes: list[str]) -> None:
        self._task = task
        self._env = env
        self._notes = notes

    def make(self, record: WorkspaceRecord | None) -> WorkspaceRecord:
        """A new workspace; once more if somebody killed git, which says nothing of the item. Raises GitFailed, OSError.

        `record`: of one that was begun before, or that was removed.
        """
        try:
            return self._make(record)
        except GitFailed as failed:
            if not failed.was_killed:
                raise
        return self._make(read_record(self._task.path))

    def _make(self, record: WorkspaceRecord | None) -> WorkspaceRecord:
        task = self._task
        # RUN/workspaces/JOB/INDEX
        jobs_folder = os.path.dirname(task.path)
        make_folder(jobs_folder, os.path.dirname(os.path.dirname(jobs_folder)))
        # Each kind calls `_begin` before it makes anything: the record comes first.
        match task.kind:
            case "worktree":
                # An item that was tried before goes on from its branch, which its record names.
                record = record or WorkspaceRecord(kind="worktree", source=task.source, branch=task.branch)
                record.settings_path = task.settings_path
                wanted = record.branch
                add_worktree(task.path, record, task.base, self._env, self._begin)
                if record.branch != wanted and not is_named_by_us(wanted):
                    self._notes.append(
                        f"its branch is {record.branch}: beside the branches that are there git cannot have {wanted}"
                    )
                record.included = self._include()
            case "copy":
                record = WorkspaceRecord(kind="copy", source=task.source)
                self._begin(record)
                self._copy(record)
            case "temp":
                record = WorkspaceRecord(kind="temp", source=task.source)
                self._begin(record)
                os.mkdir(task.path, 0o700)
            case "shared":
                raise AssertionError("an item that works in the user's folder has no workspace to make")
            case unknown:
                assert_never(unknown)
        # The commit may have a link where the folder is to be.
        os.makedirs(real_beneath(task.cwd, real_root(task.path)), exist_ok=True)
        return record

    def _begin(self, record: WorkspaceRecord) -> None:
        """Record what is about to be made, and clear away what a killed attempt left of it."""
        record.is_ready = False
        write_record(self._task.path, record)
        fault_point("worker.workspace.recorded")
        remove_folder(self._task.path)

    def _include(self) -> list[str]:
        """Copy what git does not know; the paths of the copies, relative to the workspace."""
        task = self._task
        if not task.include:
            return []
        inside = os.path.relpath(task.include_from, task.source)
        target = os.path.normpath(os.path.join(task.path, inside))
        copied = copy_matches(task.include, task.include_from, target, real_root(task.path))
        return [os.path.normpath(os.path.join(inside, name)) for name in copied]

    def _copy(self, record: WorkspaceRecord) -> None:
        task = self._task
        remove_folder(snapshots_of(task.path))
        copy_folder(task.source, task.path, task.left_out)
        fault_point("worker.workspace.copied")
        try:
            # Not in the copy: the snapshots are found by their path alone.
            git(os.path.dirname(task.path), "init", "--quiet", "--bare", snapshots_of(task.path))
            place, _ = pinned_workspace(task.path, record, self._env)
            record.base, _ = snapshot_of(place, "", task.litter)
        except GitFailed as failed:
            if failed.exit_code is not None:
                raise
            # Without git there is no patch, and a copy can do without.
            record.base = ""
