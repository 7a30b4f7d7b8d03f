"""The README's jobs files load, its tables are the code's, and its session happens as it is told."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drivers.command_line import RunCli

from orchestrator.cli import main
from orchestrator.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
JOBS_FILES = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
DEADLINE_SECONDS = 60


@pytest.mark.parametrize("text", JOBS_FILES, ids=range(len(JOBS_FILES)))
def test_a_jobs_file_of_the_readme_has_no_mistakes(
    text: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jobs.toml").write_text(text)
    assert main(["check", "--home", str(home), str(tmp_path / "jobs.toml")]) == 0, capsys.readouterr().err


def test_the_exit_codes_of_the_readme_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", README, flags=re.MULTILINE)
    told = {int(code) for row in rows for code in row.split(",")}
    assert told == set(ExitCode)


@pytest.mark.parametrize("page", PAGES)
def test_every_place_that_a_page_links_is_there(page: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", (ROOT / page).read_text("utf-8"))
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_every_command_that_the_readme_names_exists(run_cli: RunCli) -> None:
    named = set(re.findall(r"orchestrate ([a-z]+)\b(?! runs)", README)) & set(re.findall(r"\b[a-z]+\b", run_cli("--help").stdout))
    assert {"run", "resume", "logs", "each", "check", "plan", "init", "prune"} <= named


def test_the_session_of_the_readme(tmp_path: Path, home: Path, run_cli: RunCli) -> None:
    session = next(text for text in JOBS_FILES if text.startswith("# jobs.toml"))
    gated = session.replace("sleep 1", "echo {{ item }} >> packed; until test -e go; do sleep 0.02; done")
    assert gated != session
    (tmp_path / "jobs.toml").write_text(gated)
    for number in range(1, 7):
        (tmp_path / f"page{number}.txt").write_text("broken" if number == 4 else "a page")
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "run", "jobs.toml", "--quiet"],
        cwd=tmp_path,
        env=os.environ | {"ORCHESTRATE_HOME": str(home)},
    )
    packed = tmp_path / "packed"
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not packed.exists() or len(packed.read_text().splitlines()) < 2:
        assert time.monotonic() < deadline, "the first two files were never packed"
        time.sleep(0.01)
    supervisor.send_signal(signal.SIGKILL)
    supervisor.wait(DEADLINE_SECONDS)
    (tmp_path / "go").touch()

    resumed = run_cli("resume", cwd=tmp_path)
    assert resumed.returncode == ExitCode.FAILED
    assert "exit code 3" in resumed.stderr
    assert sorted(packed.read_text().split()) == [f"page{number}.txt" for number in (1, 2, 3, 5, 6)]
    assert run_cli("logs", "jobs.toml", "pack:3", cwd=tmp_path).stdout == "page4.txt: not a page\n"

    (tmp_path / "page4.txt").write_text("a page")
    assert run_cli("resume", cwd=tmp_path).returncode == ExitCode.COMPLETED
    results = json.loads(run_cli("results", "--json", cwd=tmp_path).stdout)
    assert [(result["status"], result["exit_code"]) for result in results] == [("succeeded", 0)] * 6


def test_the_agents_of_the_readme(tmp_path: Path, run_cli: RunCli) -> None:
    text = next(text for text in JOBS_FILES if text.startswith("# agents.toml"))
    (tmp_path / "agents.toml").write_text(text)
    (tmp_path / "src").mkdir()
    for name in ("a", "b"):
        (tmp_path / "src" / f"{name}.txt").write_text(f"{name}\n")
    done = run_cli("run", "agents.toml", "--run-id", "agents")
    assert done.returncode == ExitCode.COMPLETED, done.stderr
    assert [(tmp_path / "src" / f"{name}.txt").read_text() for name in ("a", "b")] == ["a\nported\n", "b\nported\n"]
    results = json.loads(run_cli("results", "agents", "--json").stdout)
    assert [result["output"] for result in results][-1] == "2 files are ported"
    assert {result["agent"] for result in results} == {"demo"}

    again = run_cli("retry", "agents", "port:0", "--feedback", "append src/a.txt: with comments", "--quiet")
    assert again.returncode == ExitCode.COMPLETED, again.stderr
    assert (tmp_path / "src" / "a.txt").read_text() == "a\nported\nwith comments\n"
    retried = json.loads(run_cli("results", "agents", "--json").stdout)[0]
    assert (retried["attempts"], retried["session_id"]) == (2, results[0]["session_id"])
    assert "agent: demo demo-1, session demo-" in run_cli("why", "agents", "port:0").stdout


def test_each_with_an_agent_as_in_the_readme(run_cli: RunCli) -> None:
    (line,) = (line for line in README.splitlines() if "orchestrate each --agent" in line)
    command = line.partition("orchestrate ")[2].rstrip("`.")
    printed = run_cli(*shlex.split(command), "--print").stdout
    assert 'agent = "claude"\nprompt = "Port {{ item }} to Python 3"\npermissions = "edit"\n' in printed
