"""agents and doctor: which agent CLIs there are, in which version, and what is wrong with a profile."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from drivers.command_line import RunCli

from orchestrator.jobsfile.profiles.load import Profiles
from orchestrator.jobsfile.profiles.profile import Profile
from orchestrator.jobsfile.profiles.versions import Installed, installed

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts programs on the PATH, which has nothing else: scripts that stand for agent CLIs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return put


def profile(name: str) -> Profile:
    return Profiles().get(name)


def test_agents_are_asked_one_after_the_other_where_there_is_no_room_for_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_room)
    monkeypatch.setenv("PATH", "/nowhere")
    assert installed([profile("claude"), profile("codex")]) == [Installed(), Installed()]


def test_versions_are_told_as_the_clients_tell_them(install: Install) -> None:
    install("claude", 'echo "2.1.197 (Claude Code)"')
    install("codex", 'echo "codex-cli 0.170.0-alpha.2"')
    install("aider", 'echo "aider 0.86.2"')
    install("copilot", 'test "$1" = --version && echo "GitHub Copilot CLI 1.0.102."')
    names = ["claude", "codex", "aider", "copilot", "demo"]
    found = installed([profile(name) for name in names])
    assert [(each.version, each.is_tested) for each in found] == [
        ("2.1.197", True),
        ("0.170.0-alpha.2", False),
        ("0.86.2", True),
        ("1.0.102", True),
        ("1.0.0", True),
    ]


def test_a_program_that_does_not_tell_its_version_is_told_with_its_trouble(install: Install) -> None:
    install("claude", "echo 'cannot find module' >&2; exit 3")
    install("codex", "echo hello")
    found = installed([profile(name) for name in ("claude", "codex", "gemini")])
    assert [each.version for each in found] == [None, None, None]
    assert [each.trouble for each in found] == ["claude --version: cannot find module", "it told no version", ""]
    assert [each.program is None for each in found] == [False, False, True]


def test_programs_are_asked_together(install: Install, tmp_path: Path) -> None:
    """Each answers once all have been asked: one after another, the first would wait until its time is up."""
    names = ("claude", "codex", "qwen")
    for name in names:
        here = f"{tmp_path}/{name}.asked"
        others = " ".join(f"test -e {tmp_path}/{other}.asked &&" for other in names)
        install(name, f": > {here}; until {others} true; do /bin/sleep 0.01; done; echo 1.2.3")
    found = installed([profile(name) for name in names], timeout_seconds=60)
    assert [each.version for each in found] == ["1.2.3"] * 3


def test_programs_that_hang_are_ended_when_their_time_is_up(install: Install) -> None:
    sleep = f"/bin/sleep 987.{os.getpid()}"
    for name in ("claude", "codex", "qwen"):
        install(name, f"{sleep} & {sleep}")
    found = installed([profile(name) for name in ("claude", "codex", "qwen")], timeout_seconds=0.5)
    assert all("did not answer within 0.5 s" in each.trouble for each in found)
    left = [process for process in psutil.process_iter(["cmdline"]) if (process.info["cmdline"] or []) == sleep.split()]
    assert not psutil.wait_procs(left, timeout=5)[1]


def test_agents_lists_versions_and_what_each_can_do(install: Install, run_cli: RunCli) -> None:
    install("claude", 'echo "2.1.197 (Claude Code)"')
    install("codex", 'echo "codex-cli 0.999.0"')
    lines = [line.split() for line in run_cli("agents").stdout.splitlines()]
    assert lines[0] == ["AGENT", "VERSION", "TESTED", "FROM", "CAN"]
    of = {line[0]: line[1:] for line in lines}
    assert of["claude"] == ["2.1.197", "2.1", "shipped", "resume", "schema", "cost", "usage", "max_turns", "budget"]
    assert of["codex"] == ["0.999.0", "(not", "tested)", "0.169,", "0.171", "shipped", "resume", "schema", "usage"]
    assert of["aider"] == ["not", "installed", "0.86", "shipped", "cost", "usage", "needs_check"]


def test_agents_json_tells_where_each_profile_comes_from(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "project" / "agents").mkdir(parents=True)
    (tmp_path / "project" / "agents" / "claude.toml").write_text('extends = "claude"\ncommand = ["my-claude"]\n')
    (tmp_path / "project" / "jobs.toml").write_text("")
    told: list[dict[str, Any]] = json.loads(run_cli("agents", "project/jobs.toml", "--json").stdout)
    of = {each["name"]: each for each in told}
    assert of["claude"]["from"] == "jobs file"
    assert of["claude"]["path"] == str(tmp_path / "project" / "agents" / "claude.toml")
    assert of["claude"]["program"] is None
    assert of["demo"]["version"] == "1.0.0"
    assert of["demo"]["can"]["resume"] is True
    assert list(of) == sorted(of)


def test_a_profile_that_lies_in_this_folder_is_listed_and_its_program_is_not_run(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    witness = f'["/bin/sh", "-c", "touch {tmp_path}/ran; echo 1.0.0"]'
    (tmp_path / "agents" / "demo.toml").write_text(f'extends = "demo"\ncommand = ["/bin/sh"]\nversion = {witness}\n')
    of = {line.split()[0]: line for line in run_cli("agents").stdout.splitlines() if line}
    assert "not asked: of this folder" in of["demo"]
    assert "jobs file" in of["demo"]
    run_cli("doctor")
    assert not (tmp_path / "ran").exists()


def test_a_program_that_lies_where_a_relative_path_leads_is_no_agent(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lists agents stands in the folder in which one works, and that may have put `claude` there."""
    install("codex", 'echo "codex-cli 1.0"')
    install("claude", f"echo 1.0 > {tmp_path}/ran")
    (tmp_path / "bin" / "claude").rename(tmp_path / "claude")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".::{tmp_path / 'bin'}")
    found = installed([profile("claude"), profile("codex")])
    assert ([each.program for each in found], found[1].version) == ([None, str(tmp_path / "bin" / "codex")], "1.0")
    # Nor is it if its version is asked for by another name than the profile's program has.
    other = msgspec.structs.replace(profile("codex"), version=["claude"])
    assert (installed([other])[0].version, (tmp_path / "ran").exists()) == (None, False)


def test_a_program_tells_its_version_without_the_keys_of_others(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_API_KEY", "sk-9999")
    monkeypatch.setenv("ANTHROPIC_LOG", "9999")
    install("claude", 'echo "1.$ANTHROPIC_LOG.${OTHER_API_KEY:-0}"')
    assert installed([profile("claude")])[0].version == "1.9999.0"


def test_a_profile_with_mistakes_hides_no_other(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "mine.toml").write_text('comand = ["x"]\n')
    told = run_cli("agents")
    assert told.returncode == 1
    assert "mine.toml:1: comand: unknown key; did you mean command?" in told.stdout
    assert "\ndemo " in told.stdout
    (wrong,) = [each for each in json.loads(run_cli("agents", "--json").stdout) if each["mistakes"]]
    assert wrong["name"] == "mine"


def test_doctor_asks_each_agent_and_says_what_is_untested(install: Install, run_cli: RunCli, tmp_path: Path) -> None:
    install("claude", 'echo "2.1.197 (Claude Code)"')
    install("codex", 'echo "codex-cli 0.999.0"')
    install("qwen", "exit 1")
    mine = tmp_path / "config" / "orchestrate" / "agents"
    mine.mkdir(parents=True)
    (mine / "mine.toml").write_text('comand = ["x"]\n')
    told = run_cli("doctor", "--json")
    of = {each["check"]: (each["level"], each["message"]) for each in json.loads(told.stdout)}
    assert of["claude"] == ("ok", f"2.1.197 ({tmp_path / 'bin' / 'claude'})")
    assert of["codex"] == ("note", "0.999.0 is not tested (tested: 0.169, 0.171): what it tells may be read wrongly")
    assert of["qwen"][0] == "note"
    assert "qwen --version: exit code 1" in of["qwen"][1]
    assert of["agents"] == ("ok", "not installed: aider, copilot, cursor-agent, gemini, opencode, pi")
    assert of["mine"][0] == "bad"
    assert told.returncode == 1
