"""Where the items of a chain work: in the workspace of the item that they follow, unless their job says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from orchestrator.jobsfile.job_fields import JobFields
from orchestrator.jobsfile.model import AgentAction, ChainSource, CommandAction, GateAction, ShellAction, Workspace
from orchestrator.jobsfile.template_fields import WRONG


def take_over_workspaces(jobs: Mapping[str, JobFields]) -> None:
    """Give each chain that names no workspace that of the job that it follows, however long the chain."""
    seen: set[str] = set()
    for id_ in jobs:
        _take_over(id_, jobs, seen)


def check_forks(jobs: Mapping[str, JobFields], tell: Callable[[str, str], None]) -> None:
    """Tell two chains that would both go on in one folder: a commit can be given to two, a folder cannot."""
    first: dict[str, str] = {}
    for id_, fields in jobs.items():
        parent, workspace = followed_by(fields, jobs), fields.get("workspace")
        above = jobs[parent].get("workspace") if parent in jobs else None
        if not isinstance(workspace, Workspace) or not isinstance(above, Workspace) or workspace.kind != above.kind:
            continue
        if first.setdefault(parent, id_) != id_ and workspace.kind in ("copy", "temp"):
            tell(
                id_,
                f"{first[parent]} goes on in the workspaces of {parent} already, and only a worktree can be given to two jobs",
            )


def followed_by(fields: JobFields, jobs: Mapping[str, JobFields]) -> str:
    """The job that these fields are a chain of, one alone, past gates (as `parent_of` of `attempts`); else empty."""
    for _ in jobs:  # a cycle, which is told elsewhere, has an end here, too
        source = fields.get("for_each")
        parent = source.jobs[0] if isinstance(source, ChainSource) and len(source.jobs) == 1 else ""
        if parent not in jobs or not isinstance(jobs[parent].get("action"), GateAction):
            return parent
        fields = jobs[parent]
    return ""


def _take_over(id_: str, jobs: Mapping[str, JobFields], seen: set[str]) -> None:
    fields, parent = jobs[id_], followed_by(jobs[id_], jobs)
    if id_ in seen or parent not in jobs or "workspace" in fields:
        return
    seen.add(id_)  # also the end of a cycle, which is told elsewhere
    if not isinstance(fields.get("action"), AgentAction | CommandAction | ShellAction):
        return
    _take_over(parent, jobs, seen)
    workspace = jobs[parent].get("workspace", WRONG)
    if isinstance(workspace, Workspace) and workspace.kind != "shared":
        # Where it starts and what its branch is called follows from the parent's.
        fields["workspace"] = msgspec.structs.replace(workspace, base=None, branch=None)
