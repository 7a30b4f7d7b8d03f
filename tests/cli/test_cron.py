"""The page configs/examples/cron.md does what it says: its own lines, run with no more than cron gives them."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from drivers.gate import Gate
from drivers.processes import describe, kill, processes_of

from orchestrator.errors import ExitCode
from orchestrator.jobsfile.load import load_text
from orchestrator.system.shipped_files import examples_folder

PAGE = (examples_folder() / "cron.md").read_text("utf-8")
LIMIT_SECONDS = 60.0
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""The exit code, whether the shell that cron started has become our program or waits for it."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def crontab_command(line: str) -> str:
    """What cron gives to the shell: all behind the five fields of time, up to the first percent sign."""
    assert "%" not in line, "cron ends a command at a percent sign"
    *times, command = line.split(None, 5)
    assert all(re.fullmatch(r"[0-9*/,-]+", field) for field in times), times
    return command


COMMANDS = list(dict.fromkeys(crontab_command(block.strip()) for block in blocks("crontab")))


class Cron:
    """A user with a home, a jobs file in it, and a cron that fires the page's line."""

    def __init__(self, folder: Path) -> None:
        self.user = folder / "user"
        self._fired: list[subprocess.Popen[bytes]] = []
        self.sync = self.user / "sync"
        self.sync.mkdir(parents=True)
        self.runs = self.user / ".local" / "state" / "orchestrate" / "runs"
        self.witness = self.sync / "witness"
        program = self.user / ".local" / "bin" / "orchestrate"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m orchestrator "$@"\n')
        program.chmod(0o755)

    def write(self, gate: Gate) -> None:
        """Three items, one at a time; each tells that it begins, stands at the gate, and tells that it ends."""
        script = f"echo begin {{{{ item }}}} >> witness; {gate.script}; echo end {{{{ item }}}} >> witness"
        jobs = f"[run]\nslots = 1\n[jobs.go]\nfor_each = ['a', 'bé', 'c']\nshell = '''{script}'''\n"
        (self.sync / "jobs.toml").write_text(jobs, "utf-8")

    def fire(self, command: str = COMMANDS[0]) -> subprocess.Popen[bytes]:
        """As cron does it: the user's home, no terminal, and four variables."""
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.user,
            env={"HOME": str(self.user), "LOGNAME": "somebody", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"},
            start_new_session=True,
        )
        self._fired.append(process)
        return process

    def close(self) -> None:
        """End what a failed test left running."""
        for process in self._fired:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
            process.wait(LIMIT_SECONDS)

    def acts(self, act: str) -> Counter[str]:
        """How often each item was witnessed to `begin` or `end`."""
        lines = self.witness.read_text("utf-8").splitlines() if self.witness.exists() else []
        return Counter(line.split()[1] for line in lines if line.split()[0] == act)

    def run_folders(self) -> list[Path]:
        return sorted(self.runs.iterdir())

    def supervisor(self) -> int:
        """Pid of the newest run's supervisor."""
        return int(json.loads((self.run_folders()[-1] / "supervisor.json").read_text())["pid"])


@pytest.fixture
def cron(tmp_path: Path, home: Path, gate: Gate) -> Iterator[Cron]:
    """The fixture `home` is not this user's, but it finds what is left running in the test's folder."""
    assert home.parent == tmp_path
    made = Cron(tmp_path)
    made.write(gate)
    yield made
    made.close()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Exit code, and what cron would mail."""
    stdout, stderr = process.communicate(timeout=LIMIT_SECONDS)
    return process.returncode, (stdout + stderr).decode()


ALL_ONCE = Counter({"a": 1, "bé": 1, "c": 1})


@pytest.mark.parametrize("command", COMMANDS)
def test_the_line_runs_the_file_skips_while_it_runs_and_then_starts_anew(command: str, cron: Cron, gate: Gate) -> None:
    first = cron.fire(command)
    gate.wait_until_reached()
    assert ended(cron.fire(command)) == (0, "")
    assert first.poll() is None, "the first run goes on"
    for _ in ALL_ONCE:
        gate.open()
    assert ended(first) == (0, "")
    assert (cron.acts("begin"), len(cron.run_folders())) == (ALL_ONCE, 1)
    for _ in ALL_ONCE:
        gate.open()
    assert ended(cron.fire(command)) == (0, "")
    assert (cron.acts("end"), len(cron.run_folders())) == (ALL_ONCE + ALL_ONCE, 2)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_next_firing_goes_on_after_the_supervisor_was_killed_and_runs_nothing_twice(
    command: str, cron: Cron, gate: Gate
) -> None:
    first = cron.fire(command)
    gate.wait_until_reached()
    gate.open()
    gate.wait_until_reached()
    os.kill(cron.supervisor(), signal.SIGKILL)
    assert first.wait(LIMIT_SECONDS) in KILLED
    second = cron.fire(command)
    gate.open()
    gate.wait_until_reached()
    assert ended(cron.fire(command)) == (0, ""), "it runs again, so a third firing is skipped"
    gate.open()
    assert ended(second) == (0, "")
    assert len(cron.run_folders()) == 1
    assert (cron.acts("begin"), cron.acts("end")) == (ALL_ONCE, ALL_ONCE)


def test_the_next_firing_goes_on_after_a_power_cut_with_what_has_not_ended(cron: Cron, gate: Gate) -> None:
    first = cron.fire()
    gate.wait_until_reached()
    gate.open()
    gate.wait_until_reached()
    everything = [*processes_of(cron.runs.parent), psutil.Process(cron.supervisor())]
    for process in everything:
        process.suspend()  # none may see another die
    kill(everything)
    assert not [describe(process) for process in everything if process.is_running()]
    assert first.wait(LIMIT_SECONDS) in KILLED
    second = cron.fire()
    gate.wait_until_reached()
    gate.open()
    gate.open()
    assert ended(second) == (0, "")
    assert len(cron.run_folders()) == 1
    assert cron.acts("end") == ALL_ONCE
    assert cron.acts("begin") == ALL_ONCE + Counter(["bé"])


def test_cron_mails_what_failed_and_the_next_firing_is_a_new_run(cron: Cron) -> None:
    (cron.sync / "jobs.toml").write_text("[jobs.go]\nfor_each = ['a', 'bé']\nshell = 'test {{ item }} = a'\n", "utf-8")
    for firing in (1, 2):
        code, mail = ended(cron.fire())
        assert code == ExitCode.FAILED
        assert "go:1 bé: exit code 1" in mail
        assert "orchestrate logs " in mail
        assert "\x1b" not in mail
        assert len(cron.run_folders()) == firing


def test_the_service_runs_what_the_line_runs() -> None:
    service, timer = (configparser.ConfigParser(interpolation=None) for _ in range(2))
    texts = blocks("ini")
    for parser, text in zip((service, timer), texts, strict=True):
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        parser.read_string(text)
    assert shlex.split(service["Service"]["ExecStart"].replace("%h", "$HOME")) == shlex.split(COMMANDS[0])
    assert service["Service"]["Type"] == "oneshot"
    assert service["Service"]["SuccessExitStatus"] == str(int(ExitCode.PAUSED))
    assert {"OnCalendar", "Persistent"} <= set(timer["Timer"])


@pytest.mark.parametrize("text", blocks("toml"))
def test_what_the_page_says_of_jobs_files_has_no_mistakes(text: str, tmp_path: Path) -> None:
    if "[jobs." not in text:
        text += "[jobs.x]\nshell = 'true'\n"
    assert load_text(text, path=str(tmp_path / "jobs.toml"), folder=str(tmp_path), is_recorded=False).jobs


def test_the_exit_codes_of_the_page_are_those_of_the_code() -> None:
    told = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", PAGE, flags=re.MULTILINE) for code in row.split(",")}
    assert told <= set(ExitCode)
    assert set(ExitCode) - told == {ExitCode.USAGE, ExitCode.CANCELLED, ExitCode.REJECTED, ExitCode.BUG}
