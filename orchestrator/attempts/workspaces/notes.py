"""What a person should know of the workspaces of a run while it goes on: what was not kept, and how much disk they take."""

from __future__ import annotations

import os
from collections.abc import Callable

from orchestrator.attempts.workspaces.place import repository_of
from orchestrator.jobsfile.model import JobsFile
from orchestrator.system.wording import sized
from orchestrator.workers.protocol import WorkspaceReport
from orchestrator.workers.workspaces.git import GitFailed, git

MUCH_BYTES = 10 << 30
"""More than this in all workspaces of a run is told."""

LITTLE_FREE_BYTES = 1 << 30
"""Less than this free on the disk that has them is told."""


_PATIENCE_SECONDS = 5.0
"""For git to say what is not committed: a very large repository may take longer, and a run does not wait for that."""


def uncommitted_told(jobs_file: JobsFile) -> str | None:
    """In words, that new worktrees of the run will lack what is not committed; None if nothing is to be said."""
    if not any(job.workspace.kind == "worktree" and job.workspace.base is None for job in jobs_file.jobs):
        return None
    repository = repository_of(jobs_file.folder)
    if repository is None:
        return None
    try:
        asked = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
        changed = git(repository, *asked, time_limit_seconds=_PATIENCE_SECONDS).splitlines()
    except (GitFailed, OSError):
        return None  # the items will tell
    if not changed:
        return None
    files = f"{len(changed)} file{'s have' if len(changed) != 1 else ' has'}"
    return f"{files} changes in {repository} that are not committed: worktrees start without them"


class WorkspaceNotes:
    """Of one run, whose workspaces are in `folder`. Tells of the disk once. What earlier sessions made is not counted."""

    def __init__(self, folder: str, note: Callable[[str], None]) -> None:
        self._folder = folder
        self._note = note
        self._sizes: dict[str, int] = {}
        self._total = 0
        self._has_told = False

    def told(self, item: str, report: WorkspaceReport) -> None:
        """An attempt of `item` ended with `report`."""
        if report.note:
            self._note(f"{item}: {report.note}")
        if report.path is None or report.bytes_on_disk is None:
            return
        self._total += report.bytes_on_disk - self._sizes.get(report.path, 0)
        self._sizes[report.path] = report.bytes_on_disk
        if not self._has_told:
            self._look()

    def _look(self) -> None:
        found = os.statvfs(self._folder)
        free = found.f_bavail * found.f_frsize
        shown = f"the workspaces of this run take {sized(self._total)} in {self._folder}"
        if self._total > MUCH_BYTES:
            self._has_told = True
            self._note(f"{shown}; `keep` removes them earlier, prune those of old runs")
        elif free < LITTLE_FREE_BYTES:
            self._has_told = True
            self._note(f"{sized(free)} are free on the disk, and {shown}; prune removes those of old runs")
