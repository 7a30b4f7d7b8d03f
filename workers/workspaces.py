"""The workspace of an item: made beside the agent before it starts, what was done in it kept once it has succeeded.

Promise: two items never work in one folder unless one goes on from the other; an attempt that is tried again finds its workspace
as it was left. Nothing that an agent did is lost by what stands here: only a workspace without any change is removed, or one
whose changes are on its branch and in its patch. Killed at any instruction, the next attempt of the item either goes on in the
workspace or makes it anew, on the same branch and from the same commit.

Invariant: the record beside the workspace (`PATH.json`) is written before anything else of it exists, and names its branch.

Submodules are left as git leaves them in a new worktree: empty. `setup` may fetch them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import msgspec

from workers.capture import CaptureFile
from workers.copying import bytes_on_disk, copy_folder, copy_matches, keep_files, remove_folder
from workers.faultpoints import fault_point
from workers.git import GitFailed, asked, commit_of, git, identity, locked
from workers.protocol import EMPTY_CAPTURE, MARK_VARIABLE, AttemptClass, Capture, WorkspaceReport, WorkspaceTask
from workers.spawn import CannotStart
from workers.syncing import sync_data
from workers.verdict import Verdict

_UNBOUNDED = 1 << 62
DIFF = (
    *("diff", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short"),
    *("--src-prefix=a/", "--dst-prefix=b/"),
)
"""A patch that `git apply` takes whatever the user's configuration says."""


class WorkspaceRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What stands in `PATH.json`. `source` as in the task; `base` is a commit (worktree), a tree (copy), or empty.

    `is_ready`: made whole and set up. `is_ours`: the branch was made by us, so what is on it is this item's work.
    """

    kind: Literal["worktree", "copy", "temp"]
    source: str
    base: str = ""
    branch: str = ""
    is_ready: bool = False
    is_ours: bool = False
    included: list[str] = []


class Workspace:
    """One workspace, for one attempt. `enter` before the agent starts, `finish` after its end."""

    def __init__(self, task: WorkspaceTask, mark: str) -> None:
        self._task = task
        self._env = {MARK_VARIABLE: mark}
        self._record: WorkspaceRecord | None = None

    def enter(self, set_up: Callable[[str], Verdict]) -> Verdict:
        """Go on in the workspace, or make it; `set_up(script)` runs the setup. A verdict other than OK: there is none to work in.

        Raises CannotStart (trying again is useless), OSError.
        """
        task = self._task
        if task.kind == "shared":
            return Verdict(AttemptClass.OK)
        try:
            record = read_record(task.path)
            if record is not None and record.is_ready and os.path.isdir(task.path):
                self._record = record
                self._remove_stale_locks()
                return Verdict(AttemptClass.OK)
            self._record = self._make(record)
        except GitFailed as failed:
            raise CannotStart(f"workspace: {failed}") from failed
        if task.setup is not None:
            verdict = set_up(task.setup)
            if verdict.attempt_class is not AttemptClass.OK:
                return verdict._replace(message=f"setup: {verdict.message}")
        self._record.is_ready = True
        _write_record(task.path, self._record)
        return Verdict(AttemptClass.OK)

    def finish(self, verdict: Verdict, live_patch: str, max_artifact_bytes: int) -> tuple[Verdict, WorkspaceReport | None]:
        """After a success: commit, keep patch and artifacts, and remove what is of no use. Else all stays for the next attempt.

        `live_patch` (absolute) is where the patch is written first. What cannot be kept makes a success a failure.
        """
        task, record = self._task, self._record
        if record is None and task.kind != "shared":
            return verdict, None
        if verdict.attempt_class is not AttemptClass.OK:
            return verdict, self._report() if record is not None else None
        try:
            return verdict, self._keep(live_patch, max_artifact_bytes)
        except GitFailed as failed:
            return verdict.but(AttemptClass.COMMAND_FAILED, f"its changes could not be kept: {failed}"), self._report()
        except OSError as error:
            words = f"its changes could not be kept: {error.strerror or error}"
            return verdict.but(AttemptClass.STATE_ERROR, words), self._report()

    # Making.

    def _make(self, record: WorkspaceRecord | None) -> WorkspaceRecord:
        task = self._task
        os.makedirs(os.path.dirname(task.path), mode=0o700, exist_ok=True)
        match task.kind:
            case "worktree":
                record = self._add_worktree(record)
            case "copy":
                record = self._copy()
            case _:
                record = self._begin(WorkspaceRecord(kind="temp", source=task.source))
                os.mkdir(task.path, 0o700)
        os.makedirs(task.cwd, exist_ok=True)
        return record

    def _begin(self, record: WorkspaceRecord) -> WorkspaceRecord:
        """Record what is about to be made, and clear away what a killed attempt left of it."""
        _write_record(self._task.path, record)
        fault_point("worker.workspace.recorded")
        remove_folder(self._task.path)
        return record

    def _add_worktree(self, record: WorkspaceRecord | None) -> WorkspaceRecord:
        task = self._task
        with locked(task.source) as lock:
            if record is None:
                record = WorkspaceRecord(kind="worktree", source=task.source, base=self._resolved(), branch=task.branch)
                tip = self._tip(record, is_known=False)
            else:
                tip = self._tip(record, is_known=True)
            record.is_ready = False
            self._begin(record)
            _forget_worktree(task.source, task.path)
            new = () if tip is not None else ("--no-track", "-b", record.branch)
            where = record.branch if tip is not None else record.base
            # Files come later, without the lock: that takes long where there are many.
            git(task.source, "worktree", "add", "--quiet", "--no-checkout", *new, task.path, where, env=self._env, lock=lock)
        fault_point("worker.workspace.added")
        record.is_ours = True
        _write_record(task.path, record)
        git(task.path, "reset", "--hard", "--quiet", env=self._env)
        record.included = self._include()
        return record

    def _resolved(self) -> str:
        task = self._task
        found = commit_of(task.source, task.base)
        if found is None:
            if task.base == "HEAD":
                raise GitFailed(f"{task.source} has no commit yet, and a worktree starts from one")
            raise GitFailed(f"base: {task.source} has no commit {task.base!r}")
        return found

    def _tip(self, record: WorkspaceRecord, *, is_known: bool) -> str | None:
        """The commit that the branch is at, if it is there and ours. Raises GitFailed for a branch that is somebody else's.

        `is_known`: an earlier attempt recorded it.
        """
        source, branch = self._task.source, record.branch
        if asked(source, "check-ref-format", f"refs/heads/{branch}") is None or branch.startswith("-"):
            raise GitFailed(f"branch: {branch!r} cannot be the name of a branch")
        tip = commit_of(source, f"refs/heads/{branch}")
        # Killed between the record and the branch, or right behind it, we do not know whether we made it: then it is at its base.
        if tip is not None and not record.is_ours and not (is_known and tip == record.base):
            raise GitFailed(f"branch: {branch} is there already, and not this item's; `branch` gives it another name")
        return tip

    def _include(self) -> list[str]:
        """Copy what git does not know; the paths of the copies, relative to the workspace."""
        task = self._task
        if not task.include:
            return []
        inside = os.path.relpath(task.include_from, task.source)
        target = os.path.normpath(os.path.join(task.path, inside))
        copied = copy_matches(task.include, task.include_from, target)
        return [os.path.normpath(os.path.join(inside, name)) for name in copied]

    def _copy(self) -> WorkspaceRecord:
        task = self._task
        record = self._begin(WorkspaceRecord(kind="copy", source=task.source))
        remove_folder(snapshots_of(task.path))
        copy_folder(task.source, task.path, task.left_out)
        fault_point("worker.workspace.copied")
        try:
            git(task.path, "init", "--quiet", "--bare", snapshots_of(task.path), env=self._env)
            record.base = self._snapshot()
        except GitFailed as failed:
            if failed.exit_code is not None:
                raise
            # Without git there is no patch, and a copy needs none.
            record.base = ""
        return record

    # Keeping.

    def _keep(self, live_patch: str, max_artifact_bytes: int) -> WorkspaceReport:
        task, record = self._task, self._record
        artifacts, notes = keep_files(task.artifacts, task.cwd, task.artifacts_folder, max_artifact_bytes)
        if record is None:
            return WorkspaceReport(kind="shared", artifacts=artifacts, note="; ".join(notes))
        base, commit, branch, patch = record.base, None, record.branch, EMPTY_CAPTURE
        has_changed = True
        if record.kind == "worktree":
            base = task.since or record.base
            head, branch, note = self._commit(record)
            notes += note
            commit = head if head != base else None
            patch = self._patch(live_patch, base, head)
            has_changed = head != record.base
        elif record.kind == "copy":
            if record.base:
                now = self._snapshot()
                has_changed = now != record.base
                patch = self._patch(live_patch, record.base, now)
        else:
            has_changed = bool(os.listdir(task.path))
        fault_point("worker.workspace.kept")
        path: str | None = task.path
        if not task.is_followed and (task.keep_seconds == 0 or not has_changed):
            remove_workspace(task.path)
            path = None
        return WorkspaceReport(
            kind=record.kind,
            path=path,
            base=base or None,
            branch=(branch or None) if has_changed or path is not None else None,
            commit=commit,
            patch=patch,
            artifacts=artifacts,
            bytes_on_disk=None if path is None else bytes_on_disk(path),
            note="; ".join(notes),
        )

    def _commit(self, record: WorkspaceRecord) -> tuple[str, str, list[str]]:
        """Put everything on the branch: the commit it is at then, the branch, and what a person should know."""
        path, notes = self._task.path, list[str]()
        self._remove_stale_locks()
        if not os.path.exists(f"{path}/.git"):
            raise GitFailed("the workspace is no git worktree any more: its .git is gone")
        git(path, "add", "--all", env=self._env)
        if record.included:
            # Staged and taken out again: an exclusion of what git ignores is an error to `git add`.
            names = [f":(top,literal){name}" for name in record.included]
            git(path, "rm", "--cached", "-r", "--quiet", "--force", "--ignore-unmatch", "--", *names, env=self._env)
        if asked(path, "diff", "--cached", "--quiet", env=self._env) is None:
            fault_point("worker.workspace.committing")
            git(
                path,
                "commit",
                "--quiet",
                "--no-verify",
                "--file=-",
                env=self._env | identity(path),
                given=self._task.message.encode(),
            )
        fault_point("worker.workspace.committed")
        head = git(path, "rev-parse", "HEAD")
        ours = f"refs/heads/{record.branch}"
        current = asked(path, "symbolic-ref", "--quiet", "HEAD")
        if current == ours:
            return head, record.branch, notes
        # The agent went to another branch: ours follows it there, unless something on ours would be lost.
        tip = commit_of(path, ours)
        if tip is None or asked(path, "merge-base", "--is-ancestor", tip, head) is not None:
            git(path, "update-ref", ours, head, env=self._env)
            return head, record.branch, notes
        name = current.removeprefix("refs/heads/") if current is not None else ""
        notes.append(f"its work is on {name or 'no branch'}, and {record.branch} has other commits")
        return head, name, notes

    def _patch(self, live_path: str, base: str, now: str) -> Capture:
        if base == now:
            return EMPTY_CAPTURE
        file = CaptureFile(live_path)
        try:
            git(self._task.path, *DIFF, base, now, "--", env=self._env | self._places(), stdout=file.open())
            return file.take(self._task.patch_path, _UNBOUNDED, is_sole_writer=True)
        finally:
            file.forget()

    def _snapshot(self) -> str:
        """The tree of all that is in a copy and not ignored."""
        env = self._env | self._places()
        git(self._task.path, "add", "--all", env=env)
        return git(self._task.path, "write-tree", env=env)

    def _places(self) -> dict[str, str]:
        """Where git finds the snapshots of a copy, which has no `.git` in it."""
        if self._task.kind != "copy":
            return {}
        return {"GIT_DIR": snapshots_of(self._task.path), "GIT_WORK_TREE": self._task.path}

    def _remove_stale_locks(self) -> None:
        """What a git that was killed left: nobody else works here, and every process of the attempt before has ended."""
        if self._record is None or self._record.kind != "worktree":
            return
        names = ("index.lock", "HEAD.lock", f"refs/heads/{self._record.branch}.lock")
        with suppress(GitFailed):  # then what needs git here will tell
            for path in git(
                self._task.path, "rev-parse", *(word for name in names for word in ("--git-path", name))
            ).splitlines():
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._task.path, path))

    def _report(self) -> WorkspaceReport:
        task, record = self._task, self._record
        assert record is not None
        return WorkspaceReport(
            kind=record.kind, path=task.path, base=task.since or record.base or None, branch=record.branch or None
        )


def snapshots_of(path: str) -> str:
    """The repository beside a copy, by which its changes are found."""
    return f"{path}.git"


def record_path(path: str) -> str:
    """Where the record of the workspace `path` stands."""
    return f"{path}.json"


def read_record(path: str) -> WorkspaceRecord | None:
    """What is recorded of the workspace `path`; None: nothing that is whole."""
    try:
        with open(record_path(path), "rb") as file:
            return msgspec.json.decode(file.read(), type=WorkspaceRecord)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def remove_workspace(path: str) -> None:
    """Remove a workspace and its record. Its branch stays if it has commits of its own. Raises GitFailed, OSError."""
    record = read_record(path)
    remove_folder(path)
    if record is not None and record.kind == "worktree" and os.path.isdir(record.source):
        with locked(record.source):
            _forget_worktree(record.source, path)
            branch = f"refs/heads/{record.branch}"
            if record.is_ours and commit_of(record.source, branch) == record.base:
                with suppress(GitFailed):  # somebody has it checked out elsewhere
                    git(record.source, "branch", "--quiet", "-D", "--", record.branch)
    remove_folder(snapshots_of(path))
    with suppress(FileNotFoundError):
        os.unlink(record_path(path))


def _forget_worktree(source: str, path: str) -> None:
    """Have the repository know nothing of a worktree at `path`, whose folder is gone. The caller holds the lock."""
    listed = git(source, "worktree", "list", "--porcelain")
    if f"worktree {os.path.realpath(path)}" in listed.split("\n"):
        git(source, "worktree", "remove", "--force", "--force", path)


def _write_record(path: str, record: WorkspaceRecord) -> None:
    """Replaced whole; survives power loss, but perhaps as it was before."""
    temporary = f"{record_path(path)}.new"
    with open(temporary, "wb", buffering=0) as file:
        file.write(msgspec.json.encode(record))
        sync_data(file.fileno())
    os.replace(temporary, record_path(path))
