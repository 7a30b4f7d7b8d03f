"""Somebody removed the file of an output: who needs it is told in words, and the rest of the run can still be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drivers.command_line import RunCli

JOBS = """
[jobs.make]
shell = "head -c 5000 /dev/zero | tr '\\\\0' x"

[jobs.gate]
needs = ["make"]
shell = "test -e open"

[jobs.use]
needs = ["gate"]
stdin = "{{ jobs.make.output }}"
command = ["wc", "-c"]

[jobs.spread]
needs = ["gate"]
for_each = "{{ [jobs.make.output] }}"
command = ["true"]
"""


@pytest.fixture
def lost(run_cli: RunCli, home: Path, tmp_path: Path) -> Path:
    """The file that was removed, of a run that stopped before anybody needed it."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    assert run_cli("run", "--run-id", "r1", "jobs.toml").returncode == 1
    [path] = (home / "runs" / "r1" / "outputs" / "make").rglob("*.stdout")
    path.unlink()
    return path


def test_results_and_why_tell_which_file_is_lost_and_show_the_rest(run_cli: RunCli, lost: Path) -> None:
    told = run_cli("results", "r1", "--json")
    assert told.returncode == 0, told.stderr
    make, gate, *_ = json.loads(told.stdout)
    assert (make["status"], make["output"], make["error"]) == ("succeeded", None, f"{lost}: No such file or directory")
    assert gate["status"] == "failed"
    why = run_cli("why", "r1", "make")
    assert why.returncode == 0, why.stderr
    assert str(lost) in why.stdout


def test_what_needs_it_fails_in_words_and_never_runs_with_less(run_cli: RunCli, tmp_path: Path, lost: Path) -> None:
    (tmp_path / "open").touch()
    told = run_cli("resume", "r1", "-k")
    assert told.returncode == 1, told.stderr
    assert "internal error" not in told.stderr
    assert f"FAILED use {lost}: No such file or directory" in told.stderr
    assert f"FAILED spread: for_each: {lost}: No such file or directory" in told.stderr
    by_hand = run_cli("exec", "r1", "use")
    assert by_hand.returncode == 2
    assert str(lost) in by_hand.stderr
