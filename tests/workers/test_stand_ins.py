"""An agent puts a link in the place of the folder in which its job works: nothing of the job is run or kept where that leads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drivers.worker_driver import WorkerDriver

from orchestrator.workers.files.beneath import OutsideError
from orchestrator.workers.protocol import AttemptClass, Check, WorkspaceTask
from orchestrator.workers.workspaces.making import Maker


def test_neither_the_check_nor_the_next_attempt_nor_an_artifact_goes_where_the_link_leads(worker: WorkerDriver) -> None:
    outside = worker.root / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    path = worker.root / "workspaces" / "port" / "0"
    task = WorkspaceTask(
        kind="temp",
        path=str(path),
        source=str(worker.root),
        cwd=str(path / "sub"),
        artifacts=["*"],
        artifacts_folder=str(worker.root / "outputs/port/0/0-1.files"),
    )
    put_link = f"cd ..; rm -rf sub; ln -s {outside} sub"
    words = f"cwd {path}/sub: a link leads out of the workspace, to {outside}"
    check = Check(script="touch ran", path=str(worker.root / "outputs/check"))
    # The check of the attempt that put it there.
    outcome = worker.shell(put_link, workspace=task, cwd=task.cwd, check=check)
    assert (outcome.attempt_class, outcome.message) == (AttemptClass.CHECK_FAILED, f"check: {words}")
    # The attempts that come next, also when the folder is there again.
    outcome = worker.shell("touch ran", workspace=task, cwd=task.cwd)
    assert (outcome.attempt_class, outcome.message) == (AttemptClass.CANNOT_START, words)
    (path / "sub").unlink()
    (path / "sub").mkdir()
    # What is kept of a success without a check.
    outcome = worker.shell(put_link, workspace=task, cwd=task.cwd)
    assert outcome.attempt_class is AttemptClass.COMMAND_FAILED
    assert outcome.message.startswith(f"its changes could not be kept: a link leads out of the workspace, to {outside}")
    assert os.listdir(outside) == ["secret"]
    assert not Path(task.artifacts_folder).exists()


def test_no_folder_is_made_where_a_link_of_what_was_copied_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside, source = tmp_path / "outside", tmp_path / "source"
    outside.mkdir()
    source.mkdir()
    (source / "sub").symlink_to(outside)
    path = tmp_path / "workspaces" / "port" / "0"
    task = WorkspaceTask(kind="copy", path=str(path), source=str(source), cwd=str(path / "sub" / "new"))
    monkeypatch.setenv("PATH", "")  # a copy can do without git
    with pytest.raises(OutsideError, match="a link leads out of the workspace, to "):
        Maker(task, {}, []).make(None)
    assert os.listdir(outside) == []


@pytest.mark.slow
def test_the_setup_does_not_run_where_a_link_of_the_copied_folder_leads(worker: WorkerDriver) -> None:
    outside, source = worker.root / "outside", worker.root / "source"
    outside.mkdir()
    source.mkdir()
    (source / "sub").symlink_to(outside)
    path = worker.root / "workspaces" / "port" / "0"
    task = WorkspaceTask(kind="copy", path=str(path), source=str(source), cwd=str(path / "sub"), setup="touch ran")
    outcome = worker.shell("touch ran", workspace=task, cwd=task.cwd)
    assert outcome.attempt_class is AttemptClass.CANNOT_START
    assert "a link leads out of the workspace, to " in outcome.message
    assert os.listdir(outside) == []
