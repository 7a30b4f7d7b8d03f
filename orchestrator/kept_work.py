"""What another run's item did in a workspace, kept by this run: that one may be pruned."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec

from orchestrator.store.outputs import CaptureMismatch, keep_capture
from orchestrator.store.rundir import RunDir
from workers.protocol import WorkspaceReport


def kept_work(run_dir: RunDir, report: WorkspaceReport | None, stem: str) -> WorkspaceReport | None:
    """The report with patch and artifacts at paths that begin with `stem`, and without the folder, which is that run's.

    Raises CaptureMismatch if something is gone, OSError if it cannot be kept.
    """
    if report is None:
        return None
    folder = f"{stem}files"
    kept = [_kept(each, os.path.join(folder, os.path.relpath(each, report.artifacts_folder))) for each in report.artifacts]
    patch = keep_capture(report.patch, run_dir, f"{stem}patch")
    return msgspec.structs.replace(report, path=None, patch=patch, artifacts=kept, artifacts_folder=folder)


def _kept(source: str, target: str) -> str:
    Path(target).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        os.unlink(target)
    try:
        os.link(source, target)
    except FileNotFoundError as error:
        raise CaptureMismatch(f"{source}: {error.strerror}") from error
    except OSError:  # another file system
        shutil.copyfile(source, target)
    return target
