"""Notes on the workspaces of a run while it goes on: what was not kept, and how much disk they take."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from orchestrator.attempts.workspaces.used_repository import repository_of_run
from orchestrator.jobsfile.model import JobsFile
from orchestrator.store.run_dir import RunDir
from orchestrator.system.wording import sized
from orchestrator.workers.interruption import Interrupted, heeding
from orchestrator.workers.protocol import WorkspaceReport
from orchestrator.workers.workspaces.branch_names import OUR_BRANCHES, free_branch
from orchestrator.workers.workspaces.git import GitFailed, git
from orchestrator.workers.workspaces.settings import settled

MUCH_BYTES = 10 << 30
"""A person is told if all workspaces of a run take more than this."""

LITTLE_FREE_BYTES = 1 << 30
"""A person is told if less than this is free on their disk."""

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


class WorkspaceNotes:
    """The notes of one run, whose workspaces are in `folder`. The disk is noted once. Earlier sessions do not count."""

    def __init__(self, folder: str, note: Callable[[str], None]) -> None:
        self._folder = folder
        self._note = note
        self._sizes: dict[str, int] = {}
        self._total = 0
        self._has_told = False

    def note_report(self, item: str, report: WorkspaceReport) -> None:
        """An attempt of `item` ended with `report`."""
        if report.note:
            self._note(f"{item}: {report.note}")
        if report.path is None or report.bytes_on_disk is None:
            return
        self._total += report.bytes_on_disk - self._sizes.get(report.path, 0)
        self._sizes[report.path] = report.bytes_on_disk
        if not self._has_told:
            self._look_at_disk()

    def _look_at_disk(self) -> None:
        found = os.statvfs(self._folder)
        free = found.f_bavail * found.f_frsize
        shown = f"the workspaces of this run take {sized(self._total)} in {self._folder}"
        if self._total > MUCH_BYTES:
            self._has_told = True
            self._note(f"{shown}; `keep` removes them earlier, prune those of old runs")
        elif free < LITTLE_FREE_BYTES:
            self._has_told = True
            self._note(f"{sized(free)} are free on the disk, and {shown}; prune removes those of old runs")
