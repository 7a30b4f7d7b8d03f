"""Child runs in the commands that show, plan and remove runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from drivers.command_line import RunCli

PARENT = """
name = "top"
[jobs.go]
for_each = ["a", "b"]
workflow = "child.toml"
inputs.word = "{{ item }}"
continue_on_error = true
"""

CHILD = """
inputs.word = ""
[jobs.work]
shell = "test {{ inputs.word }} = a || { echo no a here >&2; exit 1; }"
[jobs.last]
needs = ["work"]
command = ["echo", "{{ inputs.word }}"]
"""


def write(folder: Path) -> None:
    (folder / "parent.toml").write_text(PARENT)
    (folder / "child.toml").write_text(CHILD)


def test_a_plan_shows_what_each_child_is_given_and_the_jobs_that_it_has(run_cli: RunCli, tmp_path: Path) -> None:
    write(tmp_path)
    planned = run_cli("plan", "parent.toml")
    assert (planned.returncode, planned.stdout) == (
        0,
        "go  runs child.toml  for each of 2 values\n"
        '  go:0 a\n    run child.toml: word="a"\n'
        '  go:1 b\n    run child.toml: word="b"\n'
        "  each run of child.toml:\n    work\n    └── last\n",
    )
    (job,) = json.loads(run_cli("plan", "parent.toml", "--json").stdout)
    assert job["items"][1]["child"] == {"jobs_file": str(tmp_path / "child.toml"), "inputs": {"word": "b"}}


def test_child_runs_are_named_with_their_parents_and_go_with_them(run_cli: RunCli, tmp_path: Path) -> None:
    write(tmp_path)
    assert run_cli("run", "parent.toml", "--run-id", "r", "--quiet").returncode == 1
    shown = [line.split()[0] for line in run_cli("list").stdout.splitlines()]
    assert shown == ["RUN", "r"]
    shown = [line[:8].rstrip() for line in run_cli("list", "--all").stdout.splitlines()]
    assert shown[:2] == ["RUN", "r"]
    assert sorted(shown[2:]) == ["  r.go.0", "  r.go.1"]
    status = run_cli("status").stdout
    assert "child run of go:1: r.go.1 is failed" in status
    assert "FAILED go:1 b: child run r.go.1 failed: work: exit code 1\n       | no a here\n" in status
    assert "  child run: r.go.1\n" in run_cli("why", "r", "go:1").stdout
    logs = run_cli("logs", "r", "go:1")
    assert "the work is done by child run r.go.1: orchestrate logs r.go.1" in logs.stderr
    by_hand = run_cli("exec", "r", "go:1")
    assert (by_hand.returncode, by_hand.stderr.splitlines()[0]) == (2, "orchestrate: go:1 is a run of another file")
    again = run_cli("run", "child.toml", "-i", "word=b", "--resume")
    assert "run r.go.1" not in again.stderr, "a child of another run is none of this file's own"
    removed = run_cli("prune", "--older-than", "0s", "--json")
    assert {each["run_id"] for each in json.loads(removed.stdout)} >= {"r", "r.go.0", "r.go.1"}
    assert run_cli("list", "--all").stdout == ""


def test_a_child_is_not_pruned_before_its_parent(run_cli: RunCli, tmp_path: Path, home: Path) -> None:
    write(tmp_path)
    assert run_cli("run", "parent.toml", "--run-id", "r", "--quiet").returncode == 1
    assert run_cli("prune", "--older-than", "0s", "--keep-failed").stdout == "0 runs, 0 B freed\n"
    shutil.rmtree(home / "runs" / "r")
    assert "removed r.go.0" in run_cli("prune", "--older-than", "0s", "--keep-failed").stdout


def test_init_copies_the_files_that_an_example_runs(run_cli: RunCli, tmp_path: Path) -> None:
    assert run_cli("init", "parent").returncode == 0
    assert (tmp_path / "child.toml").exists()
    assert run_cli("check", "parent.toml").returncode == 0
