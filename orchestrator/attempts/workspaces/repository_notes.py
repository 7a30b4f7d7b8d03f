"""Notes on the repository of a run that begins: what of it new worktrees will lack, and how their branches begin."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.attempts.workspaces.used_repository import repository_of_run
from orchestrator.jobsfile.model import JobsFile
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.interruption import Interrupted, heeding
from orchestrator.workers.workspaces.branch_names import OUR_BRANCHES, free_branch
from orchestrator.workers.workspaces.git import GitFailed, git
from orchestrator.workers.workspaces.settings import settled

_PATIENCE_SECONDS = 5.0
"""How long git has to answer what a note is about. A very large repository may need longer, and a run does not wait for that."""


def uncommitted_told(jobs_file: JobsFile, run_dir: RunDir) -> str | None:
    """In words: new worktrees of the run will lack what is not committed. None if everything is."""
    if not any(job.workspace.kind == "worktree" and job.workspace.base is None for job in jobs_file.jobs):
        return None
    try:
        repository = repository_of_run(run_dir, jobs_file.folder)
        if repository is None:
            return None
        asked = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
        with _for_a_moment():
            settings = settled(repository, str(run_dir.repository_settings)).variables
            changed = git(repository, *asked, env=settings).splitlines()
    except (GitFailed, OSError, Interrupted):
        return None  # if git does not work here, the items say so
    if not changed:
        return None
    files = f"{len(changed)} file{'s have' if len(changed) != 1 else ' has'}"
    return f"{files} changes in {repository} that are not committed: worktrees start without them"


def branches_told(jobs_file: JobsFile, run_dir: RunDir) -> str | None:
    """In words: the branches of the run do not begin as usual, for the repository has a branch of that name."""
    if not any(job.workspace.kind == "worktree" and job.workspace.branch is None for job in jobs_file.jobs):
        return None
    usual = OUR_BRANCHES.rstrip("/")
    try:
        repository = repository_of_run(run_dir, jobs_file.folder)
        if repository is None:
            return None
        with _for_a_moment():
            begins = free_branch(repository, f"{usual}/x").removesuffix("/x")
    except (GitFailed, OSError, Interrupted):
        return None  # if git does not work here, the items say so
    if begins == usual:
        return None
    return f"{repository} has a branch {usual}, so the branches of this run begin with {begins}/"


@contextmanager
def _for_a_moment() -> Iterator[None]:
    """Bound all that git is asked within: no worker asks here, which a timeout would end. Raises Interrupted."""
    end = time.monotonic() + _PATIENCE_SECONDS

    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        return time.monotonic() < end

    with heeding(wait):
        yield
