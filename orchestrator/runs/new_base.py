"""`orchestrate retry --rebase`: which commit the branches of items get, which items can be asked, and what agents are told."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.attempts.workspaces.place import parent_of
from orchestrator.attempts.workspaces.used_repository import repository_of_run
from orchestrator.errors import UserError
from orchestrator.reading.run_reader import RunReader
from orchestrator.workers.workspaces.git import GitFailed, commit_of

_TOLD = (
    "Your branch has got commit {onto} of the repository by a merge. `git diff --name-only --diff-filter=U` names the files"
    " in which it conflicts, if there are any: resolve these, keep what both sides meant, and leave no conflict markers."
)


def new_base(reader: RunReader, items: Iterable[tuple[str, int]]) -> str:
    """The commit that is checked out now, for the branches of these items. Raises UserError for one that has none of its own."""
    jobs = {job_id: reader.job(job_id) for job_id in reader.history.header.jobs}
    for job_id, index in items:
        job, name = jobs[job_id], reader.item_name(job_id, index)
        if job.workspace.kind != "worktree":
            raise UserError(f"{name} works in no worktree: it has no branch to be rebased", "leave out --rebase")
        parent = parent_of(job, jobs)
        if parent and jobs[parent].workspace.kind == "worktree":
            above = reader.item_name(parent, index)
            raise UserError(f"{name} goes on from the branch of {above}", f"--rebase is for that: name {above}")
    folder = reader.history.header.folder
    try:
        repository = repository_of_run(reader.run_dir, folder)
        commit = commit_of(repository, "HEAD") if repository is not None else None
    except (GitFailed, OSError) as error:
        raise UserError(f"{folder}: no new base can be found: {error}", "leave out --rebase") from error
    if commit is None:
        raise UserError(f"{folder}: no commit is checked out there to be the new base", "leave out --rebase")
    return commit


def feedback_on(onto: str, feedback: str) -> str:
    """What agents are told of the merge, before what else the user has them told."""
    return f"{_TOLD.format(onto=onto[:12])}\n\n{feedback}".rstrip()
