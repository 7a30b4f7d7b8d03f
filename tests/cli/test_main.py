"""The entry point: what the user did wrong is told in two lines, what we did wrong is kept, and a closed pipe is no error."""

from __future__ import annotations

import errno
import importlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from drivers.command_line import RunCli

from orchestrator import __version__
from orchestrator.cli import main
from orchestrator.cli.group import COMMANDS, module_of
from orchestrator.views.happenings import RunBegan
from orchestrator.views.listeners import Listeners

ORCHESTRATE = [sys.executable, "-m", "orchestrator"]


@pytest.fixture
def jobs_file(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.toml"
    path.write_text('[jobs.one]\ncommand = ["echo", "hello"]\n')
    (tmp_path / "flow.yaml").write_text("jobs: [a]\n")
    return path


def test_version_needs_none_of_the_heavy_libraries() -> None:
    heavy = {"click", "inspect", "dataclasses", "pathlib", "rich", "jinja2", "psutil", "filelock", "msgspec"}
    code = f"import sys; from orchestrator.cli import main; main(['--version']); sys.exit(str({heavy!r} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert told.stdout == f"orchestrate {__version__}\n"
    assert told.stderr.strip() == "set()"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_of_the_table_exists_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = importlib.import_module(module_of(name)).command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert main([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: orchestrate {name}")
    assert "--home DIR" in said


@pytest.mark.usefixtures("home")
def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in COMMANDS)


BAD_INPUT = [
    (["rn"], "no command 'rn'; did you mean run?"),
    (["run"], "Missing argument 'FILE'"),
    (["run", "nowhere.toml"], "nowhere.toml: no such file\n  did you mean jobs.toml?"),
    (["run", "."], ".: cannot be read: Is a directory\n  did you mean ./jobs.toml?"),
    (["run", "nowhere/jobs.toml"], "no such file\n  name a file that is there"),
    (["run", "flow.yaml"], "YAML is no TOML: orchestrate import reads"),
    (["run", "jobs.toml", "--run-id", "../x"], "'../x' cannot be the id of a run"),
    (["run", "jobs.toml", "--run-id", "x" * 5000], f"'{'x' * 79}…' cannot be the id of a run"),
    (["run", "jobs.toml", "--run-id", ""], "'' cannot be the id of a run"),
    (["run", "jobs.toml", "-i", "nothing=1"], "nothing"),
    (["run", "jobs.toml", "--max-age", "20h"], "give --resume too"),
    (["run", "jobs.toml", "--events", "--json"], "--events and --json cannot both be given"),
    (["run", "jobs.toml", "--detach", "--events"], "--detach and --events cannot both be given"),
    (["status"], "there are no runs yet"),
    (["status", "nothing"], "no run or jobs file 'nothing'"),
    (["status", "jobs.toml"], "jobs.toml has no run yet"),
    (["cancel"], "which run?"),
    (["stop"], "which run?"),
    (["flush"], "which run?"),
    (["list", "--since", "soon"], "'soon' is not an age"),
    (["prune"], "Missing option '--older-than'"),
    (["init", "quickstrat"], "did you mean quickstart?"),
    (["doctor", "--kill"], "give --orphans too"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD_INPUT, ids=[" ".join(arguments) for arguments, _ in BAD_INPUT])
@pytest.mark.usefixtures("home", "jobs_file")
def test_a_mistake_is_told_in_two_lines(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert output.err.startswith("orchestrate: ")
    assert len(output.err.splitlines()) <= 2


def test_every_mistake_of_a_jobs_file_has_its_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[jobs.one]\ncommand = ["echo"]\nmax_concurency = 2\ntimeout = "soon"\n')
    assert main(["run", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"orchestrate: {path}: 2 mistakes"
    assert "max_concurrency" in lines[1] + lines[2]
    assert not (home / "runs").exists(), "nothing was started"


def test_a_hostile_reference_cannot_drive_the_terminal(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--home", str(home), "status", "\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_bug_is_told_in_one_line_and_kept_in_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_home: Path, _birth_of: object) -> Any:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("orchestrator.cli.listing.known_runs", fails)
    assert main(["list"]) == 70
    said = capsys.readouterr().err
    assert said == f"orchestrate: internal error: RuntimeError: no such luck (traceback in {home}/crash.log)\n"
    assert "in fails" in (home / "crash.log").read_text()
    monkeypatch.setenv("ORCHESTRATE_TRACEBACK", "1")
    assert main(["list"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_while_a_run_goes_on_is_kept_in_its_log(
    home: Path, jobs_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(where: Path, _request: Any, listeners: Listeners, **_options: Any) -> Any:
        (where / "runs" / "r1").mkdir(parents=True)
        listeners.hear(RunBegan(run_id="r1", name="x", jobs=["one"], slots=1, at=1.0, is_resumed=False))
        raise RuntimeError("no such luck")

    monkeypatch.setattr("orchestrator.runs.commands.run_file", fails)
    assert main(["run", str(jobs_file)]) == 70
    assert "supervisor.log" in capsys.readouterr().err
    assert "in fails" in (home / "runs" / "r1" / "supervisor.log").read_text()


def test_a_reader_that_has_enough_ends_a_command_quietly(run_cli: RunCli, jobs_file: Path, home: Path) -> None:
    assert run_cli("run", jobs_file).returncode == 0
    for arguments in (["list"], ["results", "--json"], ["logs"], ["status"], ["--help"]):
        told = with_closed_stdout([*ORCHESTRATE, "--home", str(home), *arguments])
        assert (arguments, told.returncode, told.stderr) == (arguments, 0, b"")


@pytest.mark.parametrize("option", ["--events", "--json"])
def test_a_closed_stdout_does_not_end_a_run(option: str, jobs_file: Path, home: Path, run_cli: RunCli) -> None:
    told = with_closed_stdout([*ORCHESTRATE, "--home", str(home), "run", option, str(jobs_file)])
    assert told.returncode == 0
    assert b"completed: 1 succeeded" in told.stderr
    assert run_cli("wait").returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_stderr_leaves_nothing_behind_that_would_fail_once_more_at_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", full)
    assert main(["--nope"]) == 2
    full.close()


class Disk(io.RawIOBase):
    """What stdout leads to."""

    is_full = True

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return len(data)


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--home", "x", "--version"]])
def test_a_full_stdout_is_told_of_help_too(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = Disk()
    stdout = io.TextIOWrapper(io.BufferedWriter(disk))
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr("orchestrator.cli.output.silence", lambda: None)
    assert main(words) == 74
    assert capsys.readouterr().err == "orchestrate: stdout: No space left on device\n"
    disk.is_full = False
    stdout.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_stdout_is_told(run_cli: RunCli, jobs_file: Path, home: Path) -> None:
    assert run_cli("run", jobs_file).returncode == 0
    with open("/dev/full", "wb") as full:
        told = subprocess.run(
            [*ORCHESTRATE, "--home", str(home), "status"], stdout=full, stderr=subprocess.PIPE, timeout=30, check=False
        )
    assert told.returncode == 74
    assert told.stderr == b"orchestrate: stdout: No space left on device\n"


def with_closed_stdout(argv: list[str]) -> subprocess.CompletedProcess[bytes]:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(argv, stdout=writing, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60, check=False)
    finally:
        os.close(writing)


def test_a_named_run_is_not_resumed_for_another_file_or_other_inputs(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text('inputs.word = "a"\n[jobs.go]\nshell = "test -e {{ inputs.word }}"\n')
    (tmp_path / "two.toml").write_text('[jobs.go]\ncommand = ["true"]\n')
    assert run_cli("run", "one.toml", "--run-id", "r1").returncode == 1
    (tmp_path / "a").touch()
    other_file = run_cli("run", "two.toml", "--run-id", "r1", "--resume")
    assert (other_file.returncode, other_file.stdout) == (2, "")
    assert f"run r1 is one of {tmp_path / 'one.toml'}" in other_file.stderr
    other_inputs = run_cli("run", "one.toml", "-i", "word=b", "--run-id", "r1", "--resume")
    assert other_inputs.returncode == 2
    assert "run r1 has other inputs: word" in other_inputs.stderr
    assert run_cli("run", "one.toml", "-i", "word=a", "--run-id", "r1", "--resume").returncode == 0
