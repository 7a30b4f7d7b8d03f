"""An item that lays hands on the files of its own output harms itself: the run goes on, and each resume of it too."""

from __future__ import annotations

import json
from pathlib import Path

from drivers.command_line import RunCli

JOBS = """
[run]
slots = 1
[defaults]
continue_on_error = true
[jobs.bad]
shell = "rm -f $ORCHESTRATE_HOME/runs/*/workers/*/std*; yes | head -c 100000"
[jobs.good]
shell = "echo good"
"""

BLOCKED = """
[jobs.blocked]
shell = "cd $ORCHESTRATE_HOME/runs/r; test -e mended || { rm -rf outputs; echo > outputs; }; yes | head -c 9999"
"""


def results(run_cli: RunCli) -> dict[str, tuple[str, str | None]]:
    told = run_cli("results", "jobs.toml", "--json", "--fields", "item,status,error")
    assert told.returncode == 0, told.stderr
    return {each["item"]: (each["status"], each["error"]) for each in json.loads(told.stdout)}


def test_an_item_that_removes_its_captures_fails_alone(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    told = run_cli("run", "jobs.toml")
    assert told.returncode == 1, told.stderr
    found = results(run_cli)
    assert (found["bad"][0], found["good"]) == ("failed", ("succeeded", None))
    assert "the output was removed while it ran (" in str(found["bad"][1])
    assert run_cli("resume", "jobs.toml").returncode != 74


def test_a_file_in_place_of_all_outputs_is_named_and_the_run_goes_on_when_it_is_gone(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(BLOCKED)
    told = run_cli("run", "jobs.toml", "--run-id", "r")
    assert told.returncode == 74, told.stderr
    words = next(line for line in told.stderr.splitlines() if "could not be kept" in line)
    assert words.endswith("/runs/r/outputs is no folder any more: move away what stands there")
    outputs = Path(words.split("kept: ")[1].split(" is no folder")[0])
    outputs.unlink()
    (outputs.parent / "mended").touch()
    told = run_cli("resume", "r")
    assert told.returncode == 0, told.stderr
