"""Inputs through the command line: where values come from, and what is said of those that do not fit."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drivers.command_line import RunCli

JOBS = """
[inputs.module]
type = "string"
required = true
description = "which one"
[inputs.level]
type = "integer"
required = true
enum = [1, 2]
[inputs.tags]
type = "list"
default = []
[jobs.say]
command = ["printf", "%s|", "{{ inputs.module }}", "{{ inputs.level + 1 }}", "{{ inputs.tags }}"]
"""


@pytest.fixture(autouse=True)
def jobs_file(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.toml"
    path.write_text(JOBS)
    return path


def test_inputs_come_from_the_command_line_a_file_and_the_environment(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "values.toml").write_text('level = 1\ntags = ["a", "b c"]\n')
    environment = {"ORCHESTRATE_INPUT_MODULE": "core", "ORCHESTRATE_INPUT_LEVEL": "9"}
    ran = run_cli("run", "jobs.toml", "--inputs", "values.toml", "-i", "level=2", env=environment)
    assert ran.returncode == 0, ran.stderr
    assert run_cli("logs").stdout == "core|3|a|b c|"
    planned = run_cli("plan", "jobs.toml", "--inputs", "values.toml", env=environment)
    assert "printf '%s|' core 2 a 'b c'" in planned.stdout


def test_without_a_terminal_all_mistakes_are_told_and_nothing_is_asked(run_cli: RunCli, tmp_path: Path, home: Path) -> None:
    (tmp_path / "values.json").write_text('{"tag": "a", "level": "1"}')
    told = run_cli("run", "jobs.toml", "--inputs", "values.json", env={"ORCHESTRATE_INPUT_TAGS": "[1"}, stdin="core\n")
    assert told.returncode == 2
    assert told.stderr.splitlines() == [
        "orchestrate: inputs: 4 mistakes",
        "  values.json: tag: no such input; did you mean tags?",
        '  values.json: level: expected a whole number, got a string ("1")',
        '  ORCHESTRATE_INPUT_TAGS: expected a list (comma separated, or as JSON), got "[1"',
        "  -i module=…: required (which one)",
    ]
    assert not list(home.glob("runs/*"))


def test_on_a_terminal_what_is_missing_is_asked_for(run_cli: RunCli, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "orchestrator", "run", "jobs.toml", "--progress", "never"]
    process = subprocess.Popen(argv, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, cwd=tmp_path)
    os.close(theirs)
    seen = ""
    try:
        for question, answer in [
            ("module: which one (a string)? ", "\n"),
            ("module: which one (a string)? ", "core\n"),
            ("level (one of 1, 2)? ", "3\n"),
            ("level (one of 1, 2)? ", "2\n"),
        ]:
            seen += _read_until(ours, question)
            os.write(ours, answer.encode())
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert "expected one of 1, 2, got a number (3)" in seen
    assert run_cli("logs").stdout == "core|3|"


def test_whoever_gives_no_answer_is_told_what_is_missing(tmp_path: Path, home: Path) -> None:
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "orchestrator", "run", "jobs.toml", "-i", "level=1"]
    process = subprocess.Popen(argv, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, cwd=tmp_path)
    os.close(theirs)
    try:
        _read_until(ours, "? ")
        os.write(ours, b"\x04")  # Ctrl-D
        assert "-i module=…: required" in _read_until(ours, "required")
        assert process.wait(60) == 2
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert not list(home.glob("runs/*"))


def _read_until(terminal: int, words: str) -> str:
    """What stands on the terminal up to `words`, within a minute."""
    deadline = time.monotonic() + 60
    seen = b""
    while words.encode() not in seen:
        assert select.select([terminal], [], [], max(deadline - time.monotonic(), 0))[0], f"only {seen!r} was seen"
        seen += os.read(terminal, 1 << 16)
    return seen.decode()


def test_a_secret_is_nowhere_in_the_state_after_a_failure_a_kill_and_a_success(
    run_cli: RunCli, tmp_path: Path, home: Path
) -> None:
    value = "correct horse battery"
    (tmp_path / "key").write_text(f"{value}\n")
    (tmp_path / "jobs.toml").write_text(
        '[inputs.key]\nsecret = true\n[jobs.a]\nenv = { KEY = "{{ inputs.key }}" }\n'
        # So large a start goes through a file.
        'stdin = """{{ inputs.key }}\n{{ "x" * 99999 }}"""\n'
        """shell = 'read -r given; test "$given" = "$(cat key)" && test "$KEY" = "$given" && test -e ok'\n"""
        '[jobs.b]\nneeds = ["a"]\nenv = { KEY = "{{ inputs.key }}" }\nshell = "echo $KEY"\n'
    )

    def holds_it() -> list[Path]:
        return [path for path in home.rglob("*") if path.is_file() and value.encode() in path.read_bytes()]

    # It fails, then the supervisor is killed with an outcome in its hands, then it succeeds.
    assert run_cli("run", "jobs.toml", "-i", "key=@key").returncode == 1
    assert holds_it() == []
    before = [path.read_bytes() for path in home.rglob("journal*")]
    told = run_cli("retry")
    hint = "  set ORCHESTRATE_INPUT_KEY; resume, retry and approve --resume also take it by -i key=@FILE"
    assert (told.returncode, told.stderr.splitlines()[-1]) == (2, hint)
    assert before == [path.read_bytes() for path in home.rglob("journal*")] != []
    (tmp_path / "ok").touch()
    killed = run_cli("retry", "-i", "key=@key", env={"ORCHESTRATE_FAULT": "supervisor.outcome:1"})
    assert killed.returncode == -9, killed.stderr
    assert holds_it() == []
    ran = run_cli("resume", "-i", "key=@key")
    assert ran.returncode == 0, ran.stderr
    # What a command writes is kept as it is, and hidden wherever it is shown.
    assert run_cli("logs", "b").stdout.strip() == "[redacted:ORCHESTRATE_KEY_SECRET]"
