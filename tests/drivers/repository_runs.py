"""Jobs files of a repository, run by the command line: what became of their items, and what is landed of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from drivers.command_line import RunCli
from drivers.git_repository import Repository
from orchestrator.reading.item_result import item_results
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.run_dir import RunDir

PORT = """
[jobs.port]
for_each = ["one", "two", "three"]
shell = "echo {{ item }} > {{ item }}.txt"
workspace = "worktree"
"""


class RepositoryRuns:
    """Runs jobs files of one repository, in one run `r`."""

    def __init__(self, run_cli: RunCli, repository: Repository) -> None:
        self.run_cli = run_cli
        self.repository = repository

    def run(self, jobs: str, *arguments: str, folder: str = ".", exit_code: int = 0) -> str:
        path = self.repository.path / folder / "jobs.toml"
        path.write_text(jobs)
        self.repository.commit("the jobs file")
        return self.said("run", str(path), "--run-id", "r", "-j", "2", *arguments, exit_code=exit_code)

    def said(self, *arguments: str, exit_code: int = 0) -> str:
        done = self.run_cli(*arguments, cwd=self.repository.path)
        assert done.returncode == exit_code, done.stderr + done.stdout
        return done.stdout if done.stdout else done.stderr

    def results(self, run_id: str = "r") -> dict[str, dict[str, Any]]:
        """What `results --json` prints, without the cost of a process."""
        home = Path(os.environ["ORCHESTRATE_HOME"])
        return {each["item"]: each for each in item_results(RunReader.read(RunDir(home / "runs" / run_id)))}

    def land(self, *arguments: str, exit_code: int = 0) -> dict[str, list[str]]:
        """Which items came to what."""
        told = json.loads(self.said("land", "r", *arguments, "--json", exit_code=exit_code))
        return {key: [each["item"] for each in value] for key, value in told.items() if isinstance(value, list) and value}
