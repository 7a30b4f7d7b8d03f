"""Landing: what items did in workspaces of their own is brought into the checkout of the user's repository, item by item.

Promise: after each item the repository stands at a commit that has all of that item's work and passed its check, or it stands
as it did before the item. What is landed once is not landed again. Branch and patch stay, whatever comes of them. The checkout
has to be clean: then all that is taken back is ours. Files that git does not know are never touched.

The commit of a worktree is merged (`--no-ff`). So a later item of a chain, which has the commits of the earlier ones, never
conflicts with itself, and git alone can tell whether something is landed. Of a copy there is only a patch: it is applied by a
three-way merge, and its commit says which patch it was. A merge is committed after its check: a landing that is killed before
has landed nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Literal

import msgspec

from orchestrator.attempts.workspaces.landing_recovery import mark_landing, take_back, unmark_landing
from orchestrator.errors import UserError
from orchestrator.workers.byte_text import bytes_of_text
from orchestrator.workers.files.beneath import OutsideError, real_beneath
from orchestrator.workers.files.syncing import sync_trees
from orchestrator.workers.wording import first_in_words
from orchestrator.workers.workspaces.git import LOCAL_VARIABLES, GitFailed, asked, common_folder, git, identity, locked
from orchestrator.workers.workspaces.staging import see_files, unseen_files

LOCK_NAME = "orchestrate-land.lock"
"""In a repository's common folder: held while something is landed."""

_LONGEST_CHECK_OUTPUT = 4000
_CHECK_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.02
_MERGE = ("-c", "rerere.enabled=false", "-c", "merge.verifySignatures=false")

LandStatus = Literal["landed", "already", "unchanged", "conflict", "check_failed"]


class CheckScript(msgspec.Struct, frozen=True):
    """A script for /bin/sh whose exit code 0 says that all is well. `cwd`: absolute; `env`: variables besides our own."""

    script: str
    cwd: str
    env: Mapping[str, str | None]
    timeout_seconds: float | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What one item did. `commit`: of a worktree; else `patch`, whose paths are relative to `folder` (absolute)."""

    run_id: str
    item: str
    label: str | None
    commit: str | None = None
    patch: bytes = b""
    folder: str
    branch: str | None = None
    check: CheckScript | None = None


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of landing a change. `commit`: the one that has it; `files`: those in conflict."""

    item: str
    label: str | None
    status: LandStatus
    commit: str | None = None
    branch: str | None = None
    files: list[str] = []
    message: str = ""


@contextmanager
def landing(repository: str, note: Callable[[str], None]) -> Iterator[Landing]:
    """Land in the checkout at `repository` (its root), while no other process does. Raises UserError unless it is clean.

    What a killed landing left there is taken back first; `note` gets words about that.
    """
    try:
        with ExitStack() as held:
            try:
                # Without a limit: another landing holds the lock as long as its checks take.
                held.enter_context(locked(repository, LOCK_NAME, patience_seconds=None))
                told = take_back(repository)
            except OSError as error:
                raise GitFailed(f"nothing can be landed there: {error.strerror}") from error
            if told is not None:
                note(told)
            _refuse_dirty(repository)
            yield Landing(repository)
    except GitFailed as failed:
        # A lock file of git's own. Nobody can tell whose it is: git keeps one while an editor is open, too.
        is_locked = ".lock': File exists" in str(failed)
        hint = "if no git is at work there, one was killed: remove that file, then again" if is_locked else ""
        raise UserError(f"{repository}: {failed}", hint) from failed


class Landing:
    """Lands one change after another. Made by `landing`."""

    def __init__(self, repository: str) -> None:
        self._repository = repository

    @property
    def branch(self) -> str | None:
        """The branch that is checked out; None: none is."""
        name = asked(self._repository, "symbolic-ref", "--quiet", "--short", "HEAD")
        return name or None

    def land_change(self, change: Change) -> Landed:
        """Land the change, or leave everything as it is. Raises GitFailed for errors that the change is no cause of."""
        if change.commit is None and not change.patch:
            return _came_to(change, "unchanged")
        if (there := self._landed_before(change)) is not None:
            return _came_to(change, "already", commit=there)
        before = git(self._repository, "rev-parse", "HEAD")
        try:
            return self._land_on(before, change)
        except OSError as error:
            raise GitFailed(f"{change.item} could not be landed: {error.strerror}") from error

    def _land_on(self, before: str, change: Change) -> Landed:
        """Land the change on the commit `before`; the checkout is clean again when this returns or raises."""
        # Before git is asked: it would write over files that it ignores.
        if unknown := self._unknown_in_the_way(change):
            words = f"git does not know {', '.join(unknown)} here, and the item has it, too"
            return _came_to(change, "conflict", files=unknown, message=words)
        # From here on a killed landing leaves something half done: the mark says so to the next one.
        mark_landing(self._repository, before)
        try:
            files, words = self._bring(change)
            if words:
                return _came_to(change, "conflict", files=files, message=words)
            if change.check is not None and (said := _failure(change.check, self._repository)):
                return _came_to(change, "check_failed", message=said)
            message = f"Land {change.item}{f': {change.label}' if change.label else ''}\n\n{_trailer(change)}\n"
            author = identity(self._repository)
            # The files before the commit: after power loss git would take empty ones for the user's changes.
            sync_trees([self._repository])
            git(
                self._repository,
                *("commit", "--quiet", "--no-verify", "--allow-empty", "--cleanup=verbatim", "--file=-"),
                env=author,
                given=bytes_of_text(message),
            )
            before = git(self._repository, "rev-parse", "HEAD")
            return _came_to(change, "landed", commit=before)
        finally:
            # This takes back also what a check has written over. The checkout was clean, so nothing of the user's is lost.
            git(self._repository, "reset", "--hard", "--quiet", before)
            sync_trees([self._repository, common_folder(self._repository)])
            unmark_landing(self._repository)

    def _landed_before(self, change: Change) -> str | None:
        """The commit that has the change already; None if none has."""
        if change.commit is not None:
            is_there = asked(self._repository, "merge-base", "--is-ancestor", change.commit, "HEAD") is not None
            return change.commit if is_there else None
        found = git(self._repository, "log", "-1", "--format=%H", "--fixed-strings", f"--grep={_trailer(change)}", "HEAD")
        return found or None

    def _unknown_in_the_way(self, change: Change) -> list[str]:
        """Files of the user's that a merge would write over, because git takes files that it ignores for worthless."""
        if change.commit is None:
            return []  # `git apply` refuses such files by itself
        added = git(self._repository, "diff", "--name-only", "-z", "--no-renames", "--diff-filter=A", f"HEAD...{change.commit}")
        places = {place for name in added.split("\0") if name for place in _on_the_way(self._repository, name)}
        if not places:
            return []
        known = git(self._repository, "--literal-pathspecs", "ls-files", "-z", "--", *sorted(places)).split("\0")
        return sorted(place for place in places if not any(f"{name}/".startswith(f"{place}/") for name in known))

    def _bring(self, change: Change) -> tuple[list[str], str]:
        """Put the change into index and checkout. If that cannot be: the files in conflict, and why; else [], ""."""
        try:
            if change.commit is not None:
                git(
                    self._repository,
                    *_MERGE,
                    "merge",
                    "--no-ff",
                    "--no-commit",
                    "--quiet",
                    change.commit,
                    env=identity(self._repository),
                )
            else:
                inside = os.path.relpath(change.folder, self._repository)
                where = () if inside == "." else (f"--directory={inside}",)
                git(self._repository, "apply", "--3way", "--index", "--whitespace=nowarn", *where, given=change.patch)
        except GitFailed as failed:
            listed = git(self._repository, "diff", "--name-only", "-z", "--diff-filter=U")
            files = [name for name in listed.split("\0") if name]
            return files, f"conflict in {', '.join(files)}" if files else str(failed)
        return [], ""


def _came_to(
    change: Change, status: LandStatus, *, commit: str | None = None, files: list[str] | None = None, message: str = ""
) -> Landed:
    return Landed(
        item=change.item,
        label=change.label,
        status=status,
        commit=commit,
        branch=change.branch,
        files=files or [],
        message=message,
    )


def _on_the_way(repository: str, name: str) -> Iterator[str]:
    """The path, relative to `repository`, that stands where the file `name` or one of its folders is to be; at most one."""
    place = ""
    for part in name.split("/"):
        place = os.path.join(place, part)
        path = os.path.join(repository, place)
        if not os.path.lexists(path):
            return
        if place == name or os.path.islink(path) or not os.path.isdir(path):
            yield place
            return


def _trailer(change: Change) -> str:
    """The line by which the commit that lands this change is found again."""
    told = f"Orchestrate-Item: {change.run_id}/{change.item}"
    return told if change.commit is not None else f"{told} {sha256(change.patch).hexdigest()[:16]}"


def _refuse_dirty(repository: str) -> None:
    if os.path.exists(os.path.join(repository, git(repository, "rev-parse", "--git-path", "MERGE_HEAD"))):
        raise UserError(
            f"{repository}: a merge is not finished",
            f"git -C {repository} merge --abort, then again",
        )
    if git(repository, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"):
        raise UserError(
            f"{repository} has changes that are not committed, and nothing is landed on these", "commit or stash them first"
        )
    if hidden := _hidden_changes(repository):
        raise UserError(
            f"{repository}: {first_in_words(hidden)}: changed, but git is told to take it for unchanged: a landing would lose it",
            f"git -C {repository} update-index --no-assume-unchanged {hidden[0]}, then commit or stash it",
        )


def _hidden_changes(repository: str) -> list[str]:
    """Files that were changed and have the bit assume-unchanged: `git reset --hard` would write over them without a word.

    Those with the bit skip-worktree it leaves alone.
    """
    unchanged, _ = unseen_files(repository)
    if not unchanged:
        return []
    with TemporaryDirectory() as folder:
        index = os.path.join(repository, git(repository, "rev-parse", "--git-path", "index"))
        env = {"GIT_INDEX_FILE": shutil.copyfile(index, f"{folder}/index")}
        see_files(repository, unchanged, [], env)
        changed = git(repository, "diff", "--name-only", "-z", "--ignore-submodules=all", env=env).split("\0")
    return sorted(filter(None, changed))


def _failure(check: CheckScript, repository: str) -> str:
    """Why the check did not pass; empty if it did."""
    try:
        # What was merged just now may be a link in the place of its folder.
        cwd = real_beneath(check.cwd, os.path.realpath(repository))
    except OutsideError as error:
        return f"the check cannot run in {check.cwd}: {error.strerror}"
    ours = {name: value for name, value in os.environ.items() if name not in LOCAL_VARIABLES}
    variables = {name: value for name, value in {**ours, **check.env}.items() if value is not None}
    # A file, no pipe: a process that the check leaves behind has a pipe open, too, and may never end.
    with TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", check.script],
                cwd=cwd,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return f"the check cannot run in {check.cwd}: {error.strerror}"
        try:
            exit_code = process.wait(check.timeout_seconds)
            words = f"the check ended with exit code {exit_code}" if exit_code else ""
        except subprocess.TimeoutExpired:
            words = f"the check did not end in {check.timeout_seconds:g} s"
        finally:
            # Its whole group: what the check left behind must not change the checkout later.
            _end_group(process)
        if not words:
            return ""
        output.seek(max(output.seek(0, os.SEEK_END) - 4 * _LONGEST_CHECK_OUTPUT, 0))
        shown = output.read().decode("utf-8", "replace").strip()[-_LONGEST_CHECK_OUTPUT:]
    return f"{words}\n{shown}".strip()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process and all of its group to end; kill what does not. A git that is killed leaves its locks in the checkout."""
    give_up_at = time.monotonic() + _CHECK_GRACE_SECONDS
    # None is left of it, or only those of another user.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < give_up_at:
            process.poll()  # a zombie would count as one of the group
            os.killpg(process.pid, 0)
            time.sleep(_POLL_SECONDS)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
