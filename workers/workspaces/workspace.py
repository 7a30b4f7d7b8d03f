"""The workspace of an item: made beside the agent before it starts, what was done in it kept once it has succeeded.

Promise: two items never work in one folder unless one goes on from the other; an attempt that is tried again finds its workspace
as it was left. Nothing that an agent did is lost by what stands here: only a workspace without any change is removed, or one
whose changes are on its branch and in its patch. Killed at any instruction, the next attempt of the item either goes on in the
workspace or makes it anew, on the same branch and from the same commit.

Invariant: the record beside the workspace is written before anything else of it exists, and names its branch. What a record or
an outcome says is there survives power loss: the files and git's own are synced before it is written.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable

import msgspec

from ..attempt_end import AttemptEnd
from ..faultpoints import fault_point
from ..files.beneath import real_root
from ..files.copying import bytes_on_disk, keep_files
from ..files.opening import StrangeFileError
from ..files.placing import TamperedError, make_place
from ..files.room import NO_ROOM
from ..files.syncing import GoneFolderError, sync_trees
from ..processes.identity import boot_id
from ..processes.spawn import SHORTAGES, CannotStart
from ..protocol import EMPTY_CAPTURE, MARK_VARIABLE, AttemptClass, WorkspaceReport, WorkspaceTask
from ..wording import first_in_words
from .changes import failure_in_words, keep_patch, snapshot_of
from .git import GitFailed
from .making import Maker
from .pinned import Pinned
from .record import WorkspaceRecord, read_record, write_record
from .removal import remove_workspace
from .restarts import mend_after_restart
from .ties import pinned_workspace
from .worktrees import commit_all, ignored_files, mend_worktree

_OF_THE_MACHINE = (*NO_ROOM, errno.EROFS, errno.EIO, *SHORTAGES)
"""What is no fault of the item's: it would befall any other just now."""


class Workspace:
    """One workspace, for one attempt. `enter` before the agent starts, `finish` after its end."""

    def __init__(self, task: WorkspaceTask, mark: str) -> None:
        self._task = task
        self._env = {MARK_VARIABLE: mark}
        self._record: WorkspaceRecord | None = None
        self._place: Pinned | None = None
        self._notes: list[str] = []
        self.has_changed = True
        """Whether anything of the item's own was changed in it, as far as that can be known; after `finish`."""

    def enter(self, set_up: Callable[[str], AttemptEnd]) -> AttemptEnd:
        """Go on in the workspace, or make it; `set_up(script)` runs the setup. An end other than OK: there is no workspace.

        Raises CannotStart (trying again is useless), OSError.
        """
        task = self._task
        if task.kind == "shared":
            return AttemptEnd(AttemptClass.OK)
        # Go on in a workspace that is ready, else make it; whatever a killed attempt left of it is cleared away first.
        try:
            record = read_record(task.path)
            if record is not None and record.is_ready and os.path.isdir(task.path):
                self._go_on(record)
                self._merge_new_base(record)
                return AttemptEnd(AttemptClass.OK)
            self._record = Maker(task, self._env, self._notes).make(record)
        except GitFailed as failed:
            raise CannotStart(f"workspace: {failed}") from failed
        except OSError as error:
            if isinstance(error, GoneFolderError) or error.errno in _OF_THE_MACHINE:
                raise
            raise CannotStart(f"workspace: {_in_words(error)}") from error
        # A setup that fails leaves the workspace not ready: the next attempt makes it anew.
        if task.setup is not None:
            end = set_up(task.setup)
            if end.attempt_class is not AttemptClass.OK:
                return end._replace(message=f"setup: {end.message}")
        try:
            self._call_ready(self._record)
            self._merge_new_base(self._record)
        except GitFailed as failed:
            raise CannotStart(f"workspace: {failed}") from failed
        return AttemptEnd(AttemptClass.OK)

    def finish(self, end: AttemptEnd, live_patch: str, max_artifact_bytes: int) -> tuple[AttemptEnd, WorkspaceReport | None]:
        """After a success: commit, keep patch and artifacts, and remove what is of no use. Else all stays for the next attempt.

        `live_patch` (absolute) is where the patch is written first. What cannot be kept makes a success a failure.
        """
        task, record = self._task, self._record
        if record is None and task.kind != "shared":
            return end, None
        # Artifacts first: commit and patch may remove the workspace that they lie in.
        if end.attempt_class is AttemptClass.OK:
            try:
                if task.artifacts:
                    make_place(live_patch, task.artifacts_folder)
                root = None if task.kind == "shared" else real_root(task.path)
                artifacts, notes = keep_files(task.artifacts, task.cwd, task.artifacts_folder, max_artifact_bytes, root)
                report = self._keep_after_all(live_patch, record, notes)
            except GitFailed as failed:
                words = str(failed)
                if record is not None and self._place is not None:
                    words = failure_in_words(failed, self._place, task.since or record.base)
                end = end.but(AttemptClass.COMMAND_FAILED, f"its changes could not be kept: {words}")
            except OSError as error:
                end = end.but(_class_of(error), f"its changes could not be kept: {_in_words(error)}")
            else:
                note = "; ".join([*self._notes, *notes])
                return end, msgspec.structs.replace(
                    report, artifacts=artifacts, artifacts_folder=task.artifacts_folder, note=note
                )
        # After a failure the workspace stays: the report says where the next attempt, or a person, finds it.
        if record is None:
            return end, None
        base, branch = task.since or record.base or None, record.branch or None
        return end, WorkspaceReport(kind=record.kind, path=task.path, base=base, branch=branch, note="; ".join(self._notes))

    def _call_ready(self, record: WorkspaceRecord) -> None:
        """Record that the workspace is whole, once all of it survives power loss. Raises GitFailed, OSError."""
        task = self._task
        # Files that a power loss left empty would be committed so; and git keeps some of a worktree in its repository.
        folders = [task.path] if task.kind != "temp" or task.setup is not None else []
        if record.kind == "worktree":
            folders.append(record.common_dir)
        sync_trees(folders)
        record.is_ready, record.boot_id = True, boot_id()
        write_record(task.path, record)

    def _go_on(self, record: WorkspaceRecord) -> None:
        path = self._task.path
        self._record = record
        if record.keep_until is not None:
            # Nobody may remove the workspace under the agent because its time is over.
            record.keep_until = None
            write_record(path, record)
        place = self._pin(record)
        if place is not None and record.kind == "worktree":
            mend_worktree(place, record)
        if record.boot_id not in ("", boot_id()):
            if place is not None:
                self._notes += mend_after_restart(place, record, self._task.since or record.base)
            record.boot_id = boot_id()
            write_record(path, record)

    def _merge_new_base(self, record: WorkspaceRecord) -> None:
        """Have the branch on the new base that was asked for, unless it is. Raises GitFailed, OSError."""
        task = self._task
        if task.onto is None or record.kind != "worktree" or (place := self._pin(record)) is None:
            return
        # Few items are asked for so.
        from .new_base import merge_onto

        try:
            merge_onto(place, record, task)
        except GitFailed as failed:
            if not failed.was_killed:
                raise
            # Somebody killed git, which says nothing of the item.
            mend_worktree(place, record)
            merge_onto(place, record, task)

    def _pin(self, record: WorkspaceRecord) -> Pinned | None:
        """Where git works for the workspace just now; None: nothing of git's is there. Raises GitFailed, OSError."""
        self._place = None
        if record.kind != "temp" and record.base:
            self._place, changed = pinned_workspace(self._task.path, record, self._env)
            self._notes += [words for words in changed if words not in self._notes]
        return self._place

    # Keeping.

    def _keep_after_all(self, live_patch: str, record: WorkspaceRecord | None, notes: list[str]) -> WorkspaceReport:
        """What the work came to; once more if somebody killed git: that says nothing of the work, which is paid for."""
        known = list(notes)
        try:
            return self._keep(live_patch, record, notes)
        except GitFailed as failed:
            if not failed.was_killed:
                raise
        if record is not None and record.kind == "worktree" and self._place is not None:
            mend_worktree(self._place, record)
        notes[:] = known
        return self._keep(live_patch, record, notes)

    def _keep(self, live_patch: str, record: WorkspaceRecord | None, notes: list[str]) -> WorkspaceReport:
        task = self._task
        if record is None:
            return WorkspaceReport(kind="shared")
        # The two states that the patch lies between, and the branch that has the second.
        base, now, branch = record.base, record.base, record.branch
        inner: list[str] = []
        place = self._pin(record)
        if place is not None and record.kind == "worktree":
            now, branch, note, inner = commit_all(place, record, task.message, task.litter)
            notes += [note] if note else []
            if task.onto is not None:
                # Its agent has resolved what conflicted.
                from .new_base import take_new_base

                take_new_base(place, record, task)
            base = task.since or record.base
        elif place is not None:
            now, inner = snapshot_of(place, record.base, task.litter)
        # Work in an inner repository is in no patch: it keeps the workspace from being removed.
        notes += [f"{name} is a repository of its own: what was done in it stays in the workspace alone" for name in inner]
        has_changed = bool(os.listdir(task.path)) if record.kind == "temp" else now != record.base or not now or bool(inner)
        self.has_changed = has_changed and (now != base or not now or bool(inner))
        patch = keep_patch(task, live_patch, (base, now), place) if place is not None else EMPTY_CAPTURE
        fault_point("worker.workspace.kept")
        keep_seconds = None if inner else task.keep_seconds
        is_kept = task.is_followed or (has_changed and keep_seconds != 0)
        # What the outcome tells of, commits of the agent too: it must survive power loss.
        folders = [task.path] if is_kept else []
        if record.kind == "worktree" and has_changed:
            folders.append(record.common_dir)
        sync_trees(folders)
        # It goes with the workspace, and somebody may have meant it as the work. What a setup fetches is not.
        goes = record.kind == "worktree" and not (is_kept or has_changed or task.setup)
        if place is not None and goes and (ignored := ignored_files(place, record)):
            notes.append(f"nothing was changed but what git ignores, which is not kept: {first_in_words(ignored)}")
        # Only now, with patch and commit kept, may the workspace go.
        try:
            path = self._leave(record, keep_seconds, is_kept=is_kept)
        except (GitFailed, OSError) as error:
            # Files of another user, say: nothing is wrong with the work, which is kept.
            path = task.path
            notes.append(f"{path} cannot be removed: {_in_words(error) if isinstance(error, OSError) else error}")
        return WorkspaceReport(
            kind=record.kind,
            path=path,
            base=base or None,
            branch=(branch or None) if has_changed or path is not None else None,
            commit=now if record.kind == "worktree" and now != base else None,
            patch=patch,
            bytes_on_disk=None if path is None else bytes_on_disk(path),
        )

    def _leave(self, record: WorkspaceRecord, keep_seconds: float | None, *, is_kept: bool) -> str | None:
        """Remove the workspace, or have it stay; where it is then."""
        task = self._task
        if not is_kept:
            remove_workspace(task.path, is_over=False)
            return None
        if keep_seconds is not None and not task.is_followed:
            record.keep_until = time.time() + keep_seconds
            write_record(task.path, record)
        return task.path


def _class_of(error: OSError) -> AttemptClass:
    """Of a success that could not be kept: the state's trouble, what the attempt did to the files of its worker, or its work."""
    if isinstance(error, TamperedError):
        return AttemptClass.PROTOCOL_ERROR
    is_of_the_state = isinstance(error, StrangeFileError) or error.errno in _OF_THE_MACHINE
    return AttemptClass.STATE_ERROR if is_of_the_state else AttemptClass.COMMAND_FAILED


def _in_words(error: OSError) -> str:
    return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
