"""One item in a workspace of its own, whose attempts a worker makes as its supervisor would have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drivers.worker_driver import WorkerDriver
from orchestrator.workers.protocol import Outcome, WorkspaceReport, WorkspaceTask


class WorkspaceItem:
    """One item's attempts, as its supervisor would have a worker make them."""

    def __init__(self, root: Path, kind: Any, source: Path, name: str = "port.0", **settings: Any) -> None:
        self.path = root / "workspaces" / name
        outputs = root / "outputs"
        given = {
            "kind": kind,
            "path": str(self.path),
            "source": str(source),
            "cwd": str(self.path),
            "branch": f"orchestrate/run/{name}",
            "message": f"{name}\n\nMade by a test.\n",
            "patch_path": str(outputs / f"{name}.patch"),
            "artifacts_folder": str(outputs / f"{name}.files"),
            "include_from": str(source),
        }
        self.task = WorkspaceTask(**(given | settings))

    def run(self, worker: WorkerDriver, script: str, **settings: Any) -> Outcome:
        return worker.shell(script, workspace=self.task, cwd=self.task.cwd, **settings)


def report_of(outcome: Outcome) -> WorkspaceReport:
    assert outcome.workspace is not None, outcome
    return outcome.workspace


def patch_of(outcome: Outcome) -> bytes:
    path = report_of(outcome).patch.path
    assert path is not None
    return Path(path).read_bytes()
