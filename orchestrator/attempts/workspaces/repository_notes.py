"""Notes on the repository of a run that begins: what of it new worktrees will lack, and how their branches begin."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.attempts.workspaces.used_repository import repository_of_run
from orchestrator.jobsfile.model import JobsFile
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.interruption import Interrupted, heeding
from orchestrator.workers.workspaces.branch_names import OUR_BRANCHES, free_branch
from orchestrator.workers.workspaces.git import GitFailed, git
from orchestrator.workers.workspaces.settings import settled

_PATIENCE_SECONDS = 5.0
"""How long git has to answer what a note is about. A very large repository may need longer, and a run does not wait for that."""


def repository_notes(jobs_file: JobsFile, run_dir: RunDir) -> list[str]:
    """The notes in words; none if all is as usual, or if no job of the run works in a worktree."""
    worktrees = [job.workspace for job in jobs_file.jobs if job.workspace.kind == "worktree"]
    repository = _answered(lambda: repository_of_run(run_dir, jobs_file.folder)) if worktrees else None
    if repository is None:
        return []
    told = []
    if any(each.branch is None for each in worktrees):
        told.append(_answered(lambda: _branches_told(repository)))
    if any(each.base is None for each in worktrees):
        told.append(_answered(lambda: _uncommitted_told(repository, run_dir)))
    return [words for words in told if words is not None]


def _branches_told(repository: str) -> str | None:
    """The branches of the run do not begin as usual, for the repository has a branch of that name. Raises GitFailed, OSError."""
    usual = OUR_BRANCHES.rstrip("/")
    begins = free_branch(repository, f"{usual}/x").removesuffix("/x")
    if begins == usual:
        return None
    return f"{repository} has a branch {usual}, so the branches of this run begin with {begins}/"


def _uncommitted_told(repository: str, run_dir: RunDir) -> str | None:
    """New worktrees of the run will lack what is not committed. Raises GitFailed, OSError."""
    settings = settled(repository, str(run_dir.repository_settings)).variables
    asked = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    changed = git(repository, *asked, env=settings).splitlines()
    if not changed:
        return None
    files = f"{len(changed)} file{'s have' if len(changed) != 1 else ' has'}"
    return f"{files} changes in {repository} that are not committed: worktrees start without them"


def _answered(ask: Callable[[], str | None]) -> str | None:
    """What `ask` has of git within a moment: no worker asks here, which a timeout would end. None: nothing, or no answer."""
    end = time.monotonic() + _PATIENCE_SECONDS

    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        return time.monotonic() < end

    try:
        with heeding(wait):
            return ask()
    except (GitFailed, OSError, Interrupted):
        return None  # if git does not work here, the items say so
