"""The assignment of workspaces: in which one an item works, what it is made of, and where in it the attempt runs.

Promise: the workspace of an item is the same for all its attempts, unless an update gave it other work to do. Two items never
share a workspace, except in a chain, where the later item goes on where the earlier one has ended.
It refuses to handle: the folders themselves, which the worker makes and finishes (`workers/workspaces`). Nothing here looks into
one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from orchestrator.attempts.rendering import Prepared
from orchestrator.attempts.template_texts import ItemRefused, refuse_nul, rendered_text, size_in_bytes, value_of_template
from orchestrator.attempts.workspaces.place import Workplace, parent_of
from orchestrator.jobsfile.model import Job, JobsFile
from orchestrator.reading.run_records import Records
from orchestrator.store.records import AttemptEnded, Started
from orchestrator.workers.protocol import WorkspaceReport, WorkspaceTask


class Workspaces:
    """The workspaces of one run."""

    def __init__(self, records: Records, jobs_file: JobsFile) -> None:
        self._records = records
        self._folder = jobs_file.folder
        self._jobs = {job.id: job for job in jobs_file.jobs}
        self._followers = followers(self._jobs)
        self._repository: str | None = None

    def place(self, job: Job, index: int, attempt: int, context: Mapping[str, Any]) -> Workplace | None:
        """Where `attempt` of the item works; None: in the folder itself, and nothing of it is kept. Raises ItemRefused."""
        settings = job.workspace
        artifacts = _patterns(job, context)
        if settings.kind == "shared":
            shared = Workplace(kind="shared", name="", path=self._folder, root=self._folder, artifacts=artifacts)
            return shared if artifacts else None
        name, commit, since = self._which(job, index, attempt)
        wanted = _word(job, "base", context) if settings.base is not None else None
        retry = self._records.history.jobs[job.id].retries.get(index)
        return Workplace(
            kind=settings.kind,
            name=name,
            path=str(self._records.run_dir.workspace(name)),
            root=self._root(settings.kind),
            base=commit or wanted or "HEAD",
            wanted_base=wanted,
            branch=self._branch(job, index, name, context),
            since=since,
            onto=retry.onto if retry is not None else None,
            include=settings.include,
            setup=rendered_text(settings.setup, context, "workspace.setup") if settings.setup is not None else None,
            artifacts=artifacts,
            # A loop is followed by its own next round.
            is_followed=job.id in self._followers or job.repeat is not None,
            keep_seconds=settings.keep,
        )

    def make_task(self, prepared: Prepared, item: str, stdout_path: str) -> WorkspaceTask:
        """What the worker is to do about the workspace of an attempt that has one."""
        place = prepared.place
        assert place is not None
        stem = stdout_path.removesuffix("stdout")
        run_dir = self._records.run_dir
        return WorkspaceTask(
            kind=place.kind,
            path=place.path,
            source=place.root,
            cwd=prepared.cwd,
            base=place.base,
            branch=place.branch,
            since=place.since,
            onto=place.onto,
            resolves_conflicts=place.onto is not None and prepared.agent is not None,
            include_from=self._folder,
            include=list(place.include),
            setup=place.setup,
            message=_message(run_dir.run_id, item, prepared.label),
            patch_path=f"{stem}patch",
            artifacts=list(place.artifacts),
            artifacts_folder=f"{stem}files",
            is_followed=place.is_followed,
            keep_seconds=place.keep_seconds,
            left_out=[str(run_dir.home)],
            settings_path=str(run_dir.repository_settings),
        )

    def _which(self, job: Job, index: int, attempt: int) -> tuple[str, str | None, str | None]:
        """The name of the workspace; the commit that it starts from, if another item made that; the commit from which on the
        item's own work counts."""
        past = self._records.history.jobs[job.id]
        last = _last(past.last_end(index), past.unended.get(index), self._records.history.open_starts.get((job.id, index)))
        before, report = self._parent(job, index)
        commit = (report.commit or report.base) if report is not None and report.kind == "worktree" else None
        name = f"{job.id}/{index}{_suffix_of(job.workspace.kind)}"
        if last is not None and _is_of_kind(last.workspace, job.workspace.kind):
            if past.is_set_back(index) or past.is_stale(index):
                # Other work: it begins in a new workspace, and what was done stays where it is.
                return f"{name}-{attempt}", commit, None
            return last.workspace, commit, commit if last.workspace == before else None
        # The first attempt of a chain item goes on in the workspace of its parent, if it is the one that follows there.
        if before and self._followers.get(parent_of(job, self._jobs)) == job.id:
            return before, commit, commit
        return name, commit, None

    def _parent(self, job: Job, index: int) -> tuple[str, WorkspaceReport | None]:
        """The workspace of the item that a chain item follows, empty if there is none of this kind; and what became of it."""
        parent = self._jobs.get(parent_of(job, self._jobs))
        if parent is None or parent.workspace.kind != job.workspace.kind:
            return "", None
        ended = self._records.history.jobs[parent.id].last_end(index)
        return ("", None) if ended is None else (ended.workspace, ended.outcome.workspace)

    def _root(self, kind: str) -> str:
        if kind != "worktree":
            return self._folder
        if self._repository is None:
            from orchestrator.attempts.workspaces.used_repository import repository_of_run
            from orchestrator.workers.workspaces.git import GitFailed

            try:
                self._repository = repository_of_run(self._records.run_dir, self._folder)
            except (GitFailed, OSError) as error:
                raise ItemRefused(f"workspace: {error}") from error
        if self._repository is None:
            raise ItemRefused(
                f"workspace: {self._folder} was in no git repository when the run began, and a worktree is made of one;"
                ' "copy" needs none'
            )
        return self._repository

    def _branch(self, job: Job, index: int, name: str, context: Mapping[str, Any]) -> str:
        if job.workspace.kind != "worktree":
            return ""
        item = self._records.item_name(job.id, index).replace(":", ".")
        again = name.partition("-")[2]
        suffix = f"-{again}" if again else ""
        if job.workspace.branch is not None:
            return _word(job, "branch", context) + suffix
        from orchestrator.workers.workspaces.branch_names import OUR_BRANCHES

        # Every id of a run is a name for a branch too, except for its end: git refuses `.lock` and a final dot.
        return f"{OUR_BRANCHES}{self._records.run_dir.run_id.removesuffix('.lock').rstrip('.')}/{item}{suffix}"


def followers(jobs: Mapping[str, Job]) -> dict[str, str]:
    """Job id -> the job that goes on in its workspaces. Of several chains the first in the file does."""
    found: dict[str, str] = {}
    for job in jobs.values():
        above = jobs.get(parent_of(job, jobs))
        if above is not None and job.workspace.kind != "shared" and above.workspace.kind == job.workspace.kind:
            found.setdefault(above.id, job.id)
    return found


def _suffix_of(kind: str) -> str:
    """The kind is part of a name: after an update to another kind an item never works in a workspace of the old kind."""
    return "" if kind == "worktree" else f".{kind}"


def _is_of_kind(name: str, kind: str) -> bool:
    return bool(name) and name.rpartition("/")[2].partition("-")[0].lstrip("0123456789") == _suffix_of(kind)


def _last(ended: AttemptEnded | None, unended: Started | None, running: Started | None) -> AttemptEnded | Started | None:
    """The latest attempt that is known."""
    return max((each for each in (ended, unended, running) if each is not None), key=lambda each: each.attempt, default=None)


def _word(job: Job, key: str, context: Mapping[str, Any]) -> str:
    text = rendered_text(getattr(job.workspace, key), context, f"workspace.{key}").strip()
    if not text or text.startswith("-") or not text.isprintable():
        raise ItemRefused(f"workspace.{key}: {text!r} cannot be a name in git")
    size_in_bytes(text, f"workspace.{key}")
    return text


def _patterns(job: Job, context: Mapping[str, Any]) -> tuple[str, ...]:
    """The patterns of `artifacts`; a lone placeholder that gives a list gives several. Raises ItemRefused."""
    found: list[str] = []
    for template in job.artifacts:
        value = value_of_template(template, context, "artifacts")
        for each in value if isinstance(value, list) else (value,):
            if not isinstance(each, str) or not each or os.path.isabs(each) or ".." in each.split("/"):
                raise ItemRefused(f"artifacts: expected a pattern below the workspace, got {each!r}")
            refuse_nul(each, "artifacts")
            size_in_bytes(each, "artifacts")
            found.append(each)
    return tuple(found)


def _message(run_id: str, item: str, label: str | None) -> str:
    title = f"{item}: {label}" if label else item
    return f"{title}\n\nOrchestrate-Item: {run_id}/{item}\n"
