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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import msgspec

from orchestrator.attempts.workspaces.landing_check import CheckScript, failure_of
from orchestrator.attempts.workspaces.landing_history import NOT_AS_IT_IS, ItemCommit, commit_to_merge, landing_of_patch
from orchestrator.attempts.workspaces.landing_recovery import mark_landing, mark_of, take_back, unmark_landing
from orchestrator.errors import UserError
from orchestrator.system.wording import shown
from orchestrator.workers.byte_text import bytes_of_text
from orchestrator.workers.files.patterns import folders_above
from orchestrator.workers.files.syncing import sync_trees
from orchestrator.workers.wording import first_in_words
from orchestrator.workers.workspaces.git import GitFailed, asked, commit_of, git, identity, locked
from orchestrator.workers.workspaces.inner_repositories import REPOSITORY
from orchestrator.workers.workspaces.pinned import Pinned
from orchestrator.workers.workspaces.staging import indexed_files, see_files
from orchestrator.workers.workspaces.ties import pinned_checkout

LOCK_NAME = "orchestrate-land.lock"
"""In a repository's common folder: held while something is landed."""

_MERGE = ("-c", "rerere.enabled=false", "-c", "merge.verifySignatures=false")

_SUBMODULES = ".gitmodules"
_NEW_REPOSITORY = f" create mode {REPOSITORY} "

LandStatus = Literal["landed", "already", "unchanged", "conflict", "check_failed", "refused"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What one item did. `commit`: of a worktree, which started from the commit `base` (None: not known); else `patch`, whose
    paths are relative to `folder` (absolute). `note`: what to tell of it once it is landed."""

    run_id: str
    item: str
    label: str | None
    commit: str | None = None
    base: str | None = None
    patch: bytes = b""
    folder: str
    branch: str | None = None
    check: CheckScript | None = None
    note: str = ""


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of landing a change. `commit`: the one that has it; `files`: those in conflict."""

    item: str
    label: str | None
    status: LandStatus
    commit: str | None = None
    branch: str | None = None
    files: list[str] = []
    message: str = ""


class _Files(NamedTuple):
    """Files of a change: all, those that it adds (of a patch it is not asked), and the repositories that it adds."""

    changed: list[str]
    added: list[str]
    repositories: list[str]


@contextmanager
def landing(repository: str, note: Callable[[str], None], home: Path, settings_path: str = "") -> Iterator[Landing]:
    """Land in the checkout at `repository` (its root), while no other process does. Raises UserError unless it is clean.

    What a killed landing from the state folder `home` left there is taken back first; `note` gets words about that.
    `settings_path`: where the run keeps the repository's settings (absolute); empty: nowhere.
    """
    try:
        with ExitStack() as held:
            try:
                place, changed, deciding = pinned_checkout(repository, settings_path)
                # Without a limit: another landing holds the lock as long as its checks take.
                held.enter_context(locked(place, LOCK_NAME, patience_seconds=None))
                mark = mark_of(home, place)
                told = [*changed, *take_back(mark, place)]
            except OSError as error:
                raise GitFailed(f"nothing can be landed there: {error.strerror}") from error
            for words in told:
                note(words)
            _refuse_dirty(place)
            # A patch is not applied to a file of which the index knows less than its time.
            asked(place, "update-index", "--refresh", "--ignore-submodules")
            yield Landing(place, deciding, mark)
    except GitFailed as failed:
        # A lock file of git's own. Nobody can tell whose it is: git keeps one while an editor is open, too.
        is_locked = ".lock': File exists" in str(failed)
        hint = "if no git is at work there, one was killed: remove that file, then again" if is_locked else ""
        raise UserError(f"{repository}: {failed}", hint) from failed


class Landing:
    """Lands one change after another. Made by `landing`. `deciding`: see `pinned_checkout`; `mark`: see `landing_recovery`."""

    def __init__(self, place: Pinned, deciding: Mapping[str, str], mark: str) -> None:
        self._place = place
        self._deciding = deciding
        self._mark = mark

    @property
    def branch(self) -> str | None:
        """The branch that is checked out; None: none is."""
        name = asked(self._place, "symbolic-ref", "--quiet", "--short", "HEAD")
        return name or None

    def land_change(self, change: Change) -> Landed:
        """Land the change, or leave everything as it is. Raises GitFailed for errors that the change is no cause of."""
        if change.commit is None and not change.patch:
            return _came_to(change, "unchanged")
        before = git(self._place, "rev-parse", "HEAD")
        # A change that git cannot look at holds up no other.
        try:
            if change.commit is not None and commit_of(self._place, change.commit) is None:
                return _came_to(change, "refused", message=f"{self._place.folder} has no commit {change.commit}")
            if (there := self._landed_before(change)) is not None:
                return _came_to(change, "already", commit=there)
            change = self._as_shown(change)
            if change.note and (there := self._landed_before(change)) is not None:
                return _came_to(change, "already", commit=there)
            files = self._files_of(change)
            if refusal := self._refusal(files):
                return _came_to(change, "refused", message=refusal)
            # Before git is asked to merge: it would write over files that it ignores.
            unknown = self._unknown_in_the_way(files.added)
        except GitFailed as failed:
            return _came_to(change, "refused", message=str(failed))
        if unknown:
            words = f"git does not know {first_in_words(unknown)} here, and the item has it, too"
            return _came_to(change, "conflict", files=unknown, message=words)
        try:
            return self._land_on(before, change)
        except OSError as error:
            raise GitFailed(f"{change.item} could not be landed: {error.strerror}") from error

    def _land_on(self, before: str, change: Change) -> Landed:
        """Land the change on the commit `before`; the checkout is clean again when this returns or raises."""
        # From here on a killed landing leaves something half done: the mark says so to the next one.
        mark_landing(self._mark, self._place, before)
        try:
            files, words = self._bring(change)
            if words:
                return _came_to(change, "conflict", files=files, message=words)
            if change.check is not None and (said := failure_of(change.check, self._place.folder)):
                return _came_to(change, "check_failed", message=said)
            message = f"Land {change.item}{f': {shown(change.label)}' if change.label else ''}\n\n{_trailer(change)}\n"
            author = identity(self._place)
            # The files before the commit: after power loss git would take empty ones for the user's changes.
            sync_trees([self._place.folder])
            git(
                self._place,
                *("commit", "--quiet", "--no-verify", "--allow-empty", "--cleanup=verbatim", "--file=-"),
                env=author,
                given=bytes_of_text(message),
            )
            before = git(self._place, "rev-parse", "HEAD")
            return _came_to(change, "landed", commit=before, message=change.note)
        finally:
            # This takes back also what a check has written over. The checkout was clean, so nothing of the user's is lost.
            git(self._place, "reset", "--hard", "--quiet", before)
            sync_trees([self._place.folder, self._place.common_dir])
            unmark_landing(self._mark)

    def _as_shown(self, change: Change) -> Change:
        """The change, with a commit of which a merge brings what its patch shows. Raises GitFailed."""
        if change.commit is None:
            return change
        commit = commit_to_merge(self._place, ItemCommit(change.commit, change.base), _trailer(change))
        return change if commit == change.commit else msgspec.structs.replace(change, commit=commit, note=NOT_AS_IT_IS)

    def _landed_before(self, change: Change) -> str | None:
        """The commit that has the change already; None if none has."""
        if change.commit is not None:
            is_there = asked(self._place, "merge-base", "--is-ancestor", change.commit, "HEAD") is not None
            return change.commit if is_there else None
        told = git(self._place, "apply", "--numstat", "-z", *self._inside(change), given=change.patch).split("\0")
        return landing_of_patch(self._place, _trailer(change), {each.split("\t", 2)[2] for each in told if each})

    def _files_of(self, change: Change) -> _Files:
        """See `_Files`. Raises GitFailed."""
        if change.commit is None:
            # A file is told on a line, `ADDED REMOVED NAME`, and behind these what is new of a kind: ` create mode MODE NAME`.
            lines = git(self._place, "apply", "--numstat", "--summary", *self._inside(change), given=change.patch).splitlines()
            made = [line.removeprefix(_NEW_REPOSITORY) for line in lines if line.startswith(_NEW_REPOSITORY)]
            return _Files([line.split("\t")[2] for line in lines if line.count("\t") == 2], [], made)
        whole = ("--raw", "-z", "--no-abbrev", "--no-renames", "--no-ext-diff", "--ignore-submodules=none")
        parts = git(self._place, "diff", *whole, f"HEAD...{change.commit}", "--").split("\0")
        told = [(*fields.lstrip(":").split(), name) for fields, name in zip(parts[::2], parts[1::2], strict=False)]
        return _Files(
            [name for *_, name in told],
            [name for *_, status, name in told if status == "A"],
            [name for old, new, *_, name in told if new == REPOSITORY != old],
        )

    def _refusal(self, files: _Files) -> str:
        """Why the change is not landed, whatever else it is; empty: nothing speaks against it."""
        if brought := [*files.repositories, *(name for name in files.changed if name == _SUBMODULES)]:
            return f"it brings {first_in_words(brought)}, and no repositories of others are landed: look, and merge it yourself"
        # git would run it for the next item, or already for this one.
        if ran := [name for name in files.changed if name in self._deciding]:
            return f"it changes {ran[0]}, which {self._deciding[ran[0]]}: look, and merge it yourself"
        return ""

    def _inside(self, change: Change) -> tuple[str, ...]:
        """Where in the checkout the patch belongs, for `git apply`."""
        inside = os.path.relpath(change.folder, self._place.folder)
        return () if inside == "." else (f"--directory={inside}",)

    def _unknown_in_the_way(self, added: list[str]) -> list[str]:
        """Files of the user's that a merge would write over, because git takes files that it ignores for worthless.

        Not of a patch: `git apply` refuses such files by itself.
        """
        places = {place for name in added for place in _on_the_way(self._place.folder, name)}
        # Asked for by name they may be more than a command line takes.
        known = git(self._place, "ls-files", "-z").split("\0") if places else []
        return sorted(places.difference(known, *map(folders_above, known)))

    def _bring(self, change: Change) -> tuple[list[str], str]:
        """Put the change into index and checkout. If that cannot be: the files in conflict, and why; else [], ""."""
        try:
            if change.commit is not None:
                # What the user merges into this branch with otherwise: `-s ours` would land nothing, and say so of everything.
                options = ("-c", f"branch.{branch}.mergeOptions=") if (branch := self.branch) else ()
                merge = (*_MERGE, *options, "merge", "--no-ff", "--no-commit", "--quiet", change.commit)
                git(self._place, *merge, env=identity(self._place))
            else:
                where = self._inside(change)
                git(self._place, "apply", "--3way", "--index", "--whitespace=nowarn", *where, given=change.patch)
        # Git stops at a conflict and at what cannot be applied alike: only unmerged files tell the first.
        except GitFailed as failed:
            listed = git(self._place, "diff", "--name-only", "-z", "--diff-filter=U")
            files = [name for name in listed.split("\0") if name]
            return files, f"conflict in {first_in_words(files)}" if files else str(failed)
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


def _refuse_dirty(place: Pinned) -> None:
    repository = place.folder
    if os.path.exists(os.path.join(place.git_dir, "MERGE_HEAD")):
        raise UserError(
            f"{repository}: a merge is not finished",
            f"commit what it came to, or give it up: git -C {repository} merge --abort",
        )
    if git(place, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"):
        raise UserError(
            f"{repository} has changes that are not committed, and nothing is landed on these", "commit or stash them first"
        )
    if hidden := _hidden_changes(place):
        raise UserError(
            f"{repository}: {first_in_words(hidden)}: changed, but git is told to take it for unchanged: a landing would lose it",
            f"git -C {repository} update-index --no-assume-unchanged {hidden[0]}, then commit or stash it",
        )


def _hidden_changes(place: Pinned) -> list[str]:
    """Files that were changed and have the bit assume-unchanged: `git reset --hard` would write over them without a word.

    Those with the bit skip-worktree it leaves alone.
    """
    unchanged = indexed_files(place).unchanged
    if not unchanged:
        return []
    with TemporaryDirectory() as folder:
        seeing = place.having({"GIT_INDEX_FILE": shutil.copyfile(f"{place.git_dir}/index", f"{folder}/index")})
        see_files(seeing, unchanged, [])
        changed = git(seeing, "diff", "--name-only", "-z", "--ignore-submodules=all").split("\0")
    return sorted(filter(None, changed))
