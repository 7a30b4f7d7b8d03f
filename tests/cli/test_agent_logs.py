"""`orchestrate logs` of agents: readable, without secrets; `--raw` has the bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drivers.command_line import RunCli

KEY = "sk-ant-api03-0123456789abcdef0123"
PASSWORD = "correct horse battery staple"
JOBS = """
[run]
env = { DEPLOY_TOKEN = "given-in-the-file" }
[jobs.go]
agent = "demo"
permissions = "edit"
attempts = 2
prompt = '''
write out.txt: one
say the key is KEY, \u202e, PASSWORD
'''
check = "grep -q two out.txt || { echo 'replace out.txt: one -> two'; exit 1; }"
retry = { delay = 0 }
[jobs.plain]
shell = '''printf 'token given-in-the-file\\nno newline' '''
""".replace("KEY", KEY).replace("PASSWORD", PASSWORD)


@pytest.fixture
def ran(tmp_path: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "jobs.toml").write_text(JOBS)
    ended = run_cli("run", "jobs.toml", "--quiet", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    return tmp_path


def test_logs_of_an_agent_are_readable_and_without_secrets(ran: Path, run_cli: RunCli) -> None:
    first = run_cli("logs", "jobs.toml", "go", "--attempt", "1", cwd=ran).stdout.splitlines()
    assert first == [
        "[tool] Write out.txt",
        r"the key is [redacted:anthropic key], \u202e, [redacted:ADMIN_PASSWORD]",
        first[2],
        "[check] replace out.txt: one -> two",
    ]
    assert first[2].startswith("[end] success, 3 turns, ")
    last = run_cli("logs", "jobs.toml", "go", "-n", "2", cwd=ran).stdout.splitlines()
    assert last[0] == "replaced 'one' in out.txt"
    assert run_cli("logs", "jobs.toml", "go", "-f", cwd=ran).stdout.splitlines()[-2:] == last


def test_raw_logs_are_the_bytes_that_were_written(ran: Path, run_cli: RunCli) -> None:
    raw = run_cli("logs", "jobs.toml", "go", "--attempt", "1", "--raw", cwd=ran).stdout.splitlines()
    assert json.loads(raw[0])["type"] == "system"
    assert KEY in raw[-2]
    assert PASSWORD in raw[-2]


def test_logs_of_a_command_stay_what_they_were_but_for_secrets(ran: Path, run_cli: RunCli) -> None:
    assert run_cli("logs", "jobs.toml", "plain", cwd=ran).stdout == "token [redacted:DEPLOY_TOKEN]\nno newline"
    assert run_cli("logs", "jobs.toml", "plain", "-n", "1", cwd=ran).stdout == "no newline"
    assert run_cli("logs", "jobs.toml", "plain", "--raw", cwd=ran).stdout == "token given-in-the-file\nno newline"
