"""The outcome of another run's item, kept by this run with all files that it names: the other run may be pruned.

A kept file is a second name of the same file where the file system can, else a copy. Survives SIGKILL, not power loss. The folder
of a workspace stays with the other run.
"""

from __future__ import annotations

import os
from contextlib import suppress

import msgspec

from orchestrator.store.captures import CaptureMismatch, keep_capture
from orchestrator.store.durable_file import unwritable
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.files.contents import copy_content
from orchestrator.workers.files.syncing import make_folder
from orchestrator.workers.protocol import AgentReport, Outcome, WorkspaceReport


def keep_outcome(run_dir: RunDir, job_id: str, index: int, outcome: Outcome) -> Outcome | None:
    """The outcome with its files in this run's own folder; None if a file is gone or not what it was.

    Raises StateUnwritableError.
    """
    stdout, stderr = run_dir.output_paths(job_id, index, 0)
    stem = stdout.removesuffix("stdout")
    try:
        return msgspec.structs.replace(
            outcome,
            stdout=keep_capture(outcome.stdout, run_dir, stdout),
            stderr=keep_capture(outcome.stderr, run_dir, stderr),
            check=keep_capture(outcome.check, run_dir, f"{stem}check"),
            agent=_keep_answer(run_dir, outcome.agent, f"{stem}answer"),
            workspace=_keep_work(run_dir, outcome.workspace, stem),
        )
    except CaptureMismatch:
        return None
    except OSError as error:
        raise unwritable(run_dir.path, error) from error


def _keep_answer(run_dir: RunDir, report: AgentReport | None, path: str) -> AgentReport | None:
    return None if report is None else msgspec.structs.replace(report, text=keep_capture(report.text, run_dir, path))


def _keep_work(run_dir: RunDir, report: WorkspaceReport | None, stem: str) -> WorkspaceReport | None:
    if report is None:
        return None
    folder = f"{stem}files"
    kept = [
        _keep_file(run_dir, each, os.path.join(folder, os.path.relpath(each, report.artifacts_folder)))
        for each in report.artifacts
    ]
    patch = keep_capture(report.patch, run_dir, f"{stem}patch")
    return msgspec.structs.replace(report, path=None, patch=patch, artifacts=kept, artifacts_folder=folder)


def _keep_file(run_dir: RunDir, source: str, target: str) -> str:
    make_folder(os.path.dirname(target), str(run_dir.path), is_synced=False)
    with suppress(FileNotFoundError):
        os.unlink(target)
    try:
        os.link(source, target)
    except FileNotFoundError as error:
        raise CaptureMismatch(f"{source}: {error.strerror}") from error
    except OSError:  # another file system
        copy_content(source, target)
    return target
