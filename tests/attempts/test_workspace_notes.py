"""What a run says of its workspaces before it starts holds it up for a moment at most."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drivers.git_repository import Repository

from orchestrator.attempts.workspaces.repository_notes import repository_notes
from orchestrator.attempts.workspaces.used_repository import keep_repository
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
    run_dir.path.mkdir(parents=True)
    keep_repository(run_dir, jobs_file, None)
    # Whoever opens one waits for somebody who writes to it.
    os.mkfifo(repository.path / ".git/refs/heads/fifo")
    assert repository_notes(jobs_file, run_dir) == []
    (repository.path / ".git/index").unlink()
    os.mkfifo(repository.path / ".git/index")
    assert repository_notes(jobs_file, run_dir) == []
