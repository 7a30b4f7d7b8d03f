"""What a shell completes a word to."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestrator.cli.command_names import COMMANDS
from orchestrator.cli.completing import ARGUMENTS
from orchestrator.cli.entry import main
from orchestrator.cli.group import orchestrate

JOBS = """
run.slots = 0
[jobs.port]
for_each = ["a.py", "$(reboot)", "b c"]
command = ["true"]
[jobs.ship]
gate = "go?"
"""

WORDS = [
    ("resu", ["resume", "results"]),
    ("status r", ["ran"]),
    ("status no", []),
    ("nothing ", []),
    ("why ran po", ["port:"]),
    ("why po", ["port:"]),
    ("why ran port:", ["port:a.py", "port:1", "port:2"]),
    ("why ran port:0 ", []),
    ("retry ran port:0 port:a", ["port:a.py"]),
    ("logs -n 3 ran port:a", ["port:a.py"]),
    ("approve ran ", ["ship"]),
    ("set ran sl", ["slots="]),
    ("results --form", ["--format"]),
    ("results --format j", ["json", "jsonl"]),
    ("tokens forget --h", ["--home"]),
    ("each --agent clau", ["claude"]),
    ("--home /nowhere status ", ["jobs.toml"]),
    ("completion ", ["bash", "zsh", "fish"]),
]


@pytest.fixture
def ran(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a run has paused."""
    del home
    monkeypatch.chdir(tmp_path)
    Path("jobs.toml").write_text(JOBS)
    assert main(["run", "jobs.toml", "--run-id", "ran", "--quiet"]) == 3
    return tmp_path


@pytest.mark.usefixtures("ran")
def test_words_become_what_there_is_and_nothing_that_a_shell_would_carry_out(capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    for line, found in WORDS:
        assert main(["complete", *line.split(" ")]) == 0
        told = capfd.readouterr()
        assert ([each.partition("\t")[0] for each in told.out.splitlines()], told.err) == (found, ""), line


def test_the_table_of_arguments_is_that_of_the_commands() -> None:
    for name in COMMANDS:
        command = orchestrate.get_command(click.Context(orchestrate), name)
        assert command is not None
        names = [each.name for each in command.params if each.param_type_name == "argument"]
        if name not in ("each", "tokens"):
            assert list(ARGUMENTS.get(name, ())) == names, name


def test_bash_puts_in_what_stands_behind_a_colon(ran: Path) -> None:
    orchestrate_here = ran / "orchestrate"
    orchestrate_here.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m orchestrator "$@"\n')
    orchestrate_here.chmod(0o755)
    script = """
        eval "$(orchestrate completion bash)"
        compopt() { :; }  # it is for readline alone
        COMP_LINE="orchestrate why ran port:a" COMP_POINT=26 COMP_WORDS=(orchestrate why ran port : a) COMP_CWORD=5
        _orchestrate
        echo "${COMPREPLY[@]}"
    """
    env = os.environ | {"PATH": f"{ran}:{os.environ['PATH']}"}
    told = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "a.py\n"
