"""What items changed in workspaces of their own: from the run's records, or from the workspace of an item that goes on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from orchestrator.attempts.workspaces.landing_history import ItemCommit
from orchestrator.attempts.workspaces.place import parent_of
from orchestrator.errors import UserError
from orchestrator.reading.run_records import Records
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.records import Status
from orchestrator.workers.files.opening import StrangeFileError, read_file
from orchestrator.workers.protocol import WorkspaceReport
from orchestrator.workers.workspaces.changes import DIFF, failure_in_words
from orchestrator.workers.workspaces.git import GitFailed, git
from orchestrator.workers.workspaces.record import read_record
from orchestrator.workers.workspaces.staging import stage_all, unstage
from orchestrator.workers.workspaces.ties import pinned_workspace, refuse_other_tie


def items_with_changes(records: Records) -> list[tuple[str, int]]:
    """The succeeded items that changed something, in order of the jobs in the file and of the items."""
    return [
        (job_id, index)
        for job_id in records.history.header.jobs
        for index in records.history.jobs[job_id].indices(Status.SUCCEEDED)
        if (report := report_of(records, job_id, index)) is not None and (report.commit is not None or report.patch.size)
    ]


def items_without_patch(records: Records) -> list[tuple[str, int]]:
    """The succeeded items of whose work there can be no patch, in the same order."""
    return [
        (job_id, index)
        for job_id in records.history.header.jobs
        for index in records.history.jobs[job_id].indices(Status.SUCCEEDED)
        if why_no_patch(records, job_id, index) is not None
    ]


def why_no_patch(records: Records, job_id: str, index: int) -> str | None:
    """In words: why there can be no patch of what the item did, and where that is; None if there can be one."""
    report = report_of(records, job_id, index)
    kind = report.kind if report is not None else records.job(job_id).workspace.kind
    path = records.workspace(job_id, index)
    where = f"what is in it is in {path}" if path is not None else "and it is gone"
    match kind:
        case "temp":
            return f"it worked in an empty folder, of which no patch is made; {where}"
        case "copy" if report is not None and report.base is None:
            return f"there was no git that could tell what it changed in its copy; {where}"
        case _:
            return None


def report_of(records: Records, job_id: str, index: int) -> WorkspaceReport | None:
    """What became of the workspace of the item's last attempt."""
    ended = records.history.jobs[job_id].last_end(index)
    return ended.outcome.workspace if ended is not None else None


def commit_of(records: Records, job_id: str, index: int) -> ItemCommit | None:
    """The commit that has all that the item and those before it in its chain did in worktrees; None: they did nothing."""
    report = report_of(records, job_id, index)
    if report is not None and report.commit is not None:
        return ItemCommit(report.commit, report.base)
    if report is None or report.kind != "worktree":
        return None
    parent = parent_of(records.job(job_id), {job.id: job for job in records.jobs_file.jobs})
    return commit_of(records, parent, index) if parent else None


def patch_of(records: Records, job_id: str, index: int) -> bytes:
    """The patch of what the item changed; empty: nothing. Raises UserError if that cannot be found out."""
    name = records.item_name(job_id, index)
    try:
        report = report_of(records, job_id, index)
        if report is not None and records.history.jobs[job_id].status(index) is Status.SUCCEEDED:
            return records.read_capture(report.patch)
        path = records.workspace(job_id, index)
        return b"" if path is None else patch_so_far(path, report.base if report is not None else None)
    except CaptureMismatch as mismatch:
        raise UserError(f"{name}: {mismatch}") from mismatch
    except GitFailed as failed:
        raise UserError(f"{name}: {failed}") from failed
    except StrangeFileError as strange:
        raise UserError(f"{name}: {strange.filename}: {strange.strerror}") from strange


def patch_so_far(path: str, base: str | None) -> bytes:
    """The patch of a workspace that is not finished. Made with an index of our own, so that nothing in it is disturbed."""
    record = read_record(path)
    if record is None or not record.base or not os.path.isdir(path):
        return b""
    since = base or record.base
    pinned, _ = pinned_workspace(path, record, {})
    if record.kind == "worktree":
        refuse_other_tie(path, record)
    with tempfile.TemporaryDirectory() as folder:
        # Copied from the workspace's: only that knows which files a sparse checkout leaves out.
        place = pinned.having({"GIT_INDEX_FILE": f"{folder}/index"})
        try:
            index = read_file(f"{place.git_dir}/index", largest=None)
        except FileNotFoundError:
            git(place, "read-tree", since)
        else:
            Path(folder, "index").write_bytes(index)
        # All files against the base, without those that were only copied in beside it.
        try:
            stage_all(place, record.base)
            unstage(place, [f":(top,literal){name}" for name in record.included])
            with open(os.path.join(folder, "patch"), "w+b") as file:
                git(place, *DIFF, "--cached", since, "--", stdout=file.fileno())
                file.seek(0)
                return file.read()
        except GitFailed as failed:
            raise GitFailed(failure_in_words(failed, place, since)) from failed
