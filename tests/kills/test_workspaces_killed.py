"""Runs whose items work in worktrees, with workers and supervisors killed: nothing is lost, nothing is there twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.git_repository import Repository, forget_configuration
from drivers.run_driver import KILLED, RunDriver
from drivers.sweeps import sweep

JOBS = """
[jobs.port]
for_each = ["a", "b", "c", "d"]
shell = "echo {{ item }} > {{ item }}.txt"
workspace = "worktree"

[jobs.review]
for_each = { job = "port" }
shell = "echo reviewed >> {{ item }}.txt"

[jobs.home]
land = "review"
"""


@pytest.fixture
def driver(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunDriver]:
    forget_configuration(monkeypatch, tmp_path)
    (tmp_path / "repo").mkdir()
    made = RunDriver(tmp_path / "repo", home)
    made.write(JOBS)
    Repository(made.folder, **{".gitignore": "said-*\n"})
    yield made
    made.close()


@pytest.mark.parametrize("point", sweep(["committed", "added", "recorded", "committing", "kept"], quick=0))
def test_workers_killed_again_and_again_lose_no_item_and_no_change(driver: RunDriver, point: str) -> None:
    """Each worker dies the second time that it passes the point, and what it did is done again by the next."""
    driver.assert_exit(driver.run("-j", "1", worker_fault=f"worker.workspace.{point}:2"), 0)
    assert_all_is_home(driver)


def test_a_killed_supervisor_finds_what_was_done_in_workspaces(driver: RunDriver) -> None:
    killed = driver.run("-j", "2", fault="supervisor.outcome:3")
    assert killed.exit_code() == KILLED == -signal.SIGKILL
    driver.assert_exit(driver.run("-j", "2"), 0)
    assert_all_is_home(driver)
    driver.assert_tidy()


def assert_all_is_home(driver: RunDriver) -> None:
    folder = driver.folder
    lines = {name: (folder / f"{name}.txt").read_text().split() for name in "abcd"}
    for name, words in lines.items():
        # An attempt whose worker was killed behind its commit was lost: the next one found what it had done.
        assert words[0] == name
        assert set(words[1:]) == {"reviewed"}
    results = {result["item"]: result for result in driver.results()}
    for index in range(4):
        assert results[f"port:{index}"]["workspace"] == results[f"review:{index}"]["workspace"]
    assert len(results["home"]["output"]["landed"]) == 4
