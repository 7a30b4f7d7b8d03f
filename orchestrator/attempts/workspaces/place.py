"""The place where one attempt works, and what of that is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from orchestrator.attempts.template_texts import ItemRefused
from orchestrator.jobsfile.model import ChainSource, Job, LandAction, WorkflowAction


def parent_of(job: Job, jobs: Mapping[str, Job]) -> str:
    """The one job that its items follow in a chain; empty: there is none, or there are several. `jobs`: all of the file."""
    # A gate does no work, so a job behind a gate follows the job that the gate follows. The file has no cycle.
    parent = job.for_each.jobs[0] if isinstance(job.for_each, ChainSource) and len(job.for_each.jobs) == 1 else ""
    above = jobs.get(parent)
    return parent_of(above, jobs) if above is not None and above.is_gate else parent


def repository_of(folder: str) -> str | None:
    """The root of the git repository (or worktree) that `folder` is in."""
    while not os.path.exists(os.path.join(folder, ".git")):
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
    return folder


class Workplace(msgspec.Struct, frozen=True, kw_only=True):
    """Where one attempt works. `path` (absolute) stands for `root`: what lies below the one lies below the other.

    `name`: of the workspace, below the run's folder of workspaces; empty: it is shared, and `path` is `root`. `wanted_base`: what
    the jobs file says; `base` may be the commit of another item. The other fields are those of `WorkspaceTask`.
    """

    kind: Literal["shared", "worktree", "copy", "temp"]
    name: str
    path: str
    root: str
    base: str = "HEAD"
    wanted_base: str | None = None
    branch: str = ""
    since: str | None = None
    onto: str | None = None
    include: tuple[str, ...] = ()
    setup: str | None = None
    artifacts: tuple[str, ...] = ()
    is_followed: bool = False
    keep_seconds: float | None = None

    def inside(self, cwd: str) -> str:
        """The place in the workspace that `cwd` (absolute) stands for. Raises ItemRefused."""
        if not self.name:
            return cwd
        relative = os.path.relpath(cwd, self.root)
        if relative == ".." or relative.startswith("../"):
            raise ItemRefused(f"cwd: {cwd} lies outside of what the workspace is made of, {self.root}")
        return os.path.normpath(os.path.join(self.path, relative))

    @property
    def does(self) -> tuple[Any, ...]:
        """The parts that tell whether two items do the same work."""
        if self.kind == "shared":
            return (self.kind, self.artifacts)
        return (self.kind, self.root if self.kind != "temp" else "", self.wanted_base, self.setup, self.artifacts)


def uses_repository(job: Job) -> bool:
    """Whether it matters to a job in which repository the run's folder lies."""
    return job.workspace.kind in ("worktree", "copy") or isinstance(job.action, LandAction | WorkflowAction)
