"""What a run says of its workspaces before it starts holds it up for a moment at most."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drivers.git_repository import Repository

from orchestrator.attempts.workspaces.repository_notes import branches_told, uncommitted_told
from orchestrator.jobsfile.load import load_text
from orchestrator.store.run_dir import RunDir

JOBS = '[jobs.a]\nshell = "true"\nworkspace = "worktree"\n'


@pytest.mark.usefixtures("no_git_configuration")
def test_a_repository_in_which_git_never_ends_holds_up_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.attempts.workspaces.repository_notes._PATIENCE_SECONDS", 0.0)
    repository = Repository(tmp_path / "repo")
    folder = str(repository.path)
    jobs_file = load_text(JOBS, path=f"{folder}/jobs.toml", folder=folder, user_config=None)
    run_dir = RunDir(tmp_path / "runs" / "r")
    # Whoever opens one waits for somebody who writes to it.
    os.mkfifo(repository.path / ".git/refs/heads/fifo")
    assert branches_told(jobs_file, run_dir) is None
    (repository.path / ".git/index").unlink()
    os.mkfifo(repository.path / ".git/index")
    assert uncommitted_told(jobs_file, run_dir) is None
