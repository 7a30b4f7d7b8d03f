"""What a run printed of its supervisor's secrets is hidden from whoever looks later, in whatever environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.command_line import RunCli

from orchestrator.cli import main, supervising
from orchestrator.errors import UserError
from orchestrator.system import hidden_environment

SECRET = 's3cr3t, of "mine" and more than a cell of a table has room for, s3cr3t'

JOBS = """
inputs.key = ""
[jobs.tell]
for_each = ["a"]
token = "with {{ inputs.key }}"
shell = "echo it is $MY_API_KEY; echo and >&2"
[jobs.lines]
needs = ["tell"]
workspace = "copy"
shell = "echo $MY_API_KEY | tee kept"
output = "lines"
check = "echo $MY_API_KEY; false"
"""


@pytest.fixture
def folder(run_cli: RunCli, tmp_path: Path) -> Path:
    """Where a run has been whose environment had the secret."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    assert run_cli("run", "jobs.toml", "-i", f"key={SECRET}", env={"MY_API_KEY": SECRET}).returncode == 1
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_no_command_shows_a_secret_that_only_the_supervisor_had(run_cli: RunCli) -> None:
    for words in (
        ["logs"],
        ["logs", "jobs.toml", "lines"],
        ["results", "--fields", "item,output,error"],
        ["results", "--format", "csv"],
        ["results", "--format", "jsonl"],
        ["results", "--json"],
        ["why", "jobs.toml", "lines", "--json"],
        ["status"],
        ["tokens", "list"],
        ["tokens", "list", "--json"],
        ["diff", "jobs.toml", "lines"],
    ):
        told = run_cli(*words)
        assert told.returncode == 0, told.stderr
        assert "s3cr3t" not in told.stdout + told.stderr, words
        assert words[0] in ("why", "status") or "[redacted:MY_API_KEY]" in told.stdout, words
    assert "--raw shows them" in told.stderr, "a patch without its secrets is not to be applied"
    assert f"+{SECRET}" in run_cli("diff", "jobs.toml", "lines", "--raw").stdout
    assert "s3cr3t" in run_cli("results", "--format", "csv", "--raw").stdout
    assert "s3cr3t" in run_cli("logs", "--raw").stdout


def test_a_run_whose_memory_of_secrets_is_damaged_is_shown_all_the_same(run_cli: RunCli, folder: Path) -> None:
    assert folder.exists()
    home = Path(run_cli("results", "--fields", "stdout", "--format", "csv").stdout.splitlines()[1]).parents[3]
    kept = home / "secrets.json"
    assert SECRET.encode() not in kept.read_bytes()
    kept.write_bytes(b"{")
    told = run_cli("logs")
    assert "s3cr3t" in told.stdout
    assert "the run's secrets are shown" in told.stderr


def test_a_plan_shows_no_secret_of_its_own_environment(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text("[jobs.a]\ncommand = [\"echo\", \"{{ 'x' * 190 }} plain-value-0 {{ 'x' * 190 }}\"]\n")
    for words in (["plan", "jobs.toml"], ["plan", "jobs.toml", "--json"]):
        told = run_cli(*words, env={"MY_API_KEY": "plain-value-0"})
        assert told.returncode == 0, told.stderr
        assert "plain-value" not in told.stdout


@pytest.mark.usefixtures("home")
def test_what_supervises_and_what_lands_is_closed_to_agents_before_it_starts_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How it is closed is tested elsewhere; here, that it is: whoever is not told so instead."""
    (tmp_path / "jobs.toml").write_text('[jobs.a]\nshell = "true"\nwhen = "{{ false }}"\n')
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["run", "jobs.toml", "--run-id", "r", "--quiet"]) == 0

    def tell() -> None:
        raise UserError("closed")

    for module in (hidden_environment, supervising):
        monkeypatch.setattr(module, "hide_environment", tell)
    for words in (["run", "jobs.toml"], ["resume", "r"], ["retry", "r", "a"], ["land", "r"]):
        capsys.readouterr()
        assert main(words) == 2, words
        assert "closed" in capsys.readouterr().err, words
