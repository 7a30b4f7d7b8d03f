"""A parent, its child or a worker that is killed while a child run goes on: only what had not finished runs again."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
from drivers.many_runs import ManyRuns
from drivers.processes import processes_of, wait_until
from drivers.run_driver import KILLED
from drivers.sweeps import sweep


@pytest.fixture
def runs(runs: ManyRuns) -> ManyRuns:
    """A parent with one slot, whose child has three leaves: the first is done at once, the others wait for the gate."""
    body = runs.witnessed(f"test {{{{ item }}}} = 0 || {runs.gated()}")
    runs.write(f"[jobs.leaf]\nfor_each = [0, 1, 2]\nshell = '''{body}'''\n", "leaf.toml")
    runs.write('[run]\nslots = 1\n[jobs.go]\nworkflow = "leaf.toml"\n', "top.toml")
    return runs


def assert_finishes(runs: ManyRuns, *again: str) -> None:
    """All leaves have ended once; those that were cut off began once more."""
    assert runs.acts("end") == {"leaf:0": 1, "leaf:1": 1, "leaf:2": 1}
    begun = runs.acts("begin")
    assert {leaf for leaf in begun if begun[leaf] > 1} == set(again)
    assert [path.name for path in sorted((runs.home / "runs").iterdir())] == ["top", "top.go"]
    assert runs.results_of("top")["go"]["status"] == "succeeded"
    _, left = psutil.wait_procs(processes_of(runs.home), timeout=10)
    assert not left


def test_a_parent_that_is_killed_adopts_the_child_that_went_on(runs: ManyRuns) -> None:
    command = runs.begin("top.toml", "top")
    runs.wait_for("begin", "leaf:1")
    command.kill()
    runs.open_gate()
    runs.wait_for("begin", "leaf:2")  # by the child, whom nobody has told
    command = runs.launch("resume", "top")
    wait_until(lambda: "adopted go" in command.stderr, "the child is adopted")
    runs.open_gate()
    runs.assert_exit(command, 0)
    assert_finishes(runs)


@pytest.mark.slow
def test_a_child_that_ended_while_nobody_supervised_its_parent_is_not_run_again(runs: ManyRuns) -> None:
    command = runs.begin("top.toml", "top")
    runs.wait_for("begin", "leaf:1")
    command.kill()
    runs.open_gate(count=2)
    wait_until(lambda: not processes_of(runs.home), "the child has ended, and its worker with it")
    runs.assert_exit(runs.launch("resume", "top"), 0)
    assert_finishes(runs)


def test_a_child_whose_supervisor_is_killed_is_tried_again_without_using_up_an_attempt(runs: ManyRuns) -> None:
    command = runs.begin("top.toml", "top", "--progress", "lines")
    runs.wait_for("begin", "leaf:1")
    runs.process_of("top.go", "leaf:1")
    os.kill(runs.supervisor_of("top.go"), signal.SIGKILL)
    runs.wait_for("begin", "leaf:1", times=2)
    runs.open_gate(count=2)
    runs.assert_exit(command, 0)
    assert "the supervisor of child run top.go was killed" in command.stderr
    assert_finishes(runs, "leaf:1")


def test_a_child_whose_item_lost_its_worker_is_ended_and_goes_on_in_another(runs: ManyRuns) -> None:
    command = runs.begin("top.toml", "top")
    runs.wait_for("begin", "leaf:1")
    worker, _ = runs.process_of("top", "go")
    runs.process_of("top.go", "leaf:1")
    os.kill(worker, signal.SIGKILL)
    runs.wait_for("begin", "leaf:1", times=2)
    runs.open_gate(count=2)
    runs.assert_exit(command, 0)
    assert_finishes(runs, "leaf:1")


@pytest.mark.slow
def test_a_kill_of_everybody_costs_what_ran_just_then(runs: ManyRuns) -> None:
    command = runs.begin("top.toml", "top")
    runs.open_gate()
    runs.wait_for("begin", "leaf:2")
    runs.process_of("top.go", "leaf:2")
    command.kill()
    for process in processes_of(runs.home):
        process.kill()
    runs.open_gate()
    runs.assert_exit(runs.launch("resume", "top"), 0)
    assert_finishes(runs, "leaf:2")


@pytest.mark.parametrize("killed_at", sweep(["supervisor.recorded:3", "supervisor.outcome", "supervisor.ending"], quick=1))
def test_a_parent_that_is_killed_at_the_end_of_its_child_does_not_run_it_again(runs: ManyRuns, killed_at: str) -> None:
    runs.open_gate(count=2)
    runs.assert_exit(runs.launch("run", "top.toml", "--run-id", "top", fault=killed_at), KILLED)
    runs.assert_exit(runs.launch("resume", "top"), 0)
    assert_finishes(runs)
