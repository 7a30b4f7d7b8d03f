"""Removing workspaces that nobody needs: of a run that is pruned, those whose `keep` is over, those of deleted runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.attempts.workspaces.place import repository_of
from orchestrator.store.home import runs_folder
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.workspaces.branch_names import is_named_by_us
from orchestrator.workers.workspaces.git import GitFailed, asked, commit_of, git
from orchestrator.workers.workspaces.record import read_record
from orchestrator.workers.workspaces.removal import remove_workspace
from orchestrator.workers.workspaces.ties import pinned_workspace, refuse_other_tie
from orchestrator.workers.workspaces.worktrees import forget_missing


def remove_all(run_dir: RunDir) -> list[str]:
    """Remove every workspace of the run; in words what git refused. Branches with commits stay. Raises OSError."""
    return [words for path in _paths(run_dir) if (words := _removed(path, is_over=True))]


def remove_expired(run_dir: RunDir, now: float) -> list[str]:
    """Remove the workspaces whose time is over at `now` (epoch seconds). The caller holds the run. Otherwise as `remove_all`."""
    expired = []
    for path in _paths(run_dir):
        record = read_record(str(path))
        if record is not None and record.keep_until is not None and record.keep_until <= now:
            expired.append(path)
    return [words for path in expired if (words := _removed(path, is_over=False))]


def remove_landed(path: str) -> str | None:
    """Remove the worktree at `path` if its repository's checkout has all of it, and its branch if we have named it.

    The name of the branch; None if the worktree stays: it has something that is not landed, or is none. The caller holds the
    run. Raises GitFailed, OSError.
    """
    record = read_record(path)
    if record is None or record.kind != "worktree" or not record.is_ready or not os.path.isdir(path):
        return None
    place, _ = pinned_workspace(path, record, {})
    refuse_other_tie(path, record)
    # What is on the branch, and what is checked out: somebody may have worked there since.
    for name in ("HEAD", f"refs/heads/{record.branch}"):
        tip = commit_of(place, name)
        if tip is None or asked(record.source, "merge-base", "--is-ancestor", tip, "HEAD") is None:
            return None
    # What git does not know counts, too, but for what was copied in.
    told = git(place, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=none")
    if any(line[3:] not in record.included for line in told.split("\0") if line):
        return None
    remove_workspace(path, is_over=is_named_by_us(record.branch))
    return record.branch


def forget_deleted(home: Path, folders: Iterable[str]) -> list[str]:
    """Have the repositories that `folders` are in forget the worktrees of deleted runs; in words what git refused."""
    told: list[str] = []
    for repository in sorted({found for folder in folders if (found := repository_of(folder)) is not None}):
        try:
            forget_missing(repository, str(runs_folder(home)))
        except (GitFailed, OSError) as error:
            told.append(f"{repository}: {error}")
    return told


def _paths(run_dir: RunDir) -> Iterator[Path]:
    """The workspaces that have a record, whether they are there or not. No link is followed to those of somebody else."""
    if run_dir.workspaces.is_symlink():
        return
    for record in sorted(run_dir.workspaces.glob("*/*.json")):
        if not record.parent.is_symlink():
            yield record.with_suffix("")


def _removed(path: Path, *, is_over: bool) -> str:
    try:
        remove_workspace(str(path), is_over=is_over)
    except GitFailed as failed:
        return f"{path}: {failed}"
    return ""
