"""Gates on a terminal: asked there one at a time, and nothing but a whole choice is ever taken for one."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.command_line import RunCli
from drivers.gate import Gate

LIMIT_SECONDS = 60.0
PROMPT = "approve / reject (and a message, if you like): "


class Terminal:
    """A run that has a terminal of its own, and somebody at it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "run", "jobs.toml", "--run-id", "r", *options],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env={**os.environ, "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)

    def read_until(self, words: str) -> str:
        """What stands there up to these words."""
        deadline = time.monotonic() + LIMIT_SECONDS
        seen = b""
        while words.encode() not in seen:
            assert select.select([self._ours], [], [], max(deadline - time.monotonic(), 0))[0], f"only {seen!r} was seen"
            try:
                seen += os.read(self._ours, 1 << 16)
            except OSError:  # EIO: nobody has the other side any more
                raise AssertionError(f"the run has ended, only {seen!r} was seen") from None
        return seen.decode()

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def exit_code(self) -> int:
        """Of the run, once it has ended by itself."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while self._process.poll() is None:  # what is not read would hold up who writes it
            assert time.monotonic() < deadline, "the run goes on"
            if select.select([self._ours], [], [], 0.05)[0]:
                try:
                    os.read(self._ours, 1 << 16)
                except OSError:
                    return self._process.wait(LIMIT_SECONDS)
        return self._process.returncode

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(tmp_path: Path, home: Path, gate: Gate) -> Iterator[Terminal]:
    del home
    (tmp_path / "letter").write_text("Dear\x1b[2J all\n")
    (tmp_path / "jobs.toml").write_text(
        f"""
[jobs.draft]
shell = "echo draft {{{{ jobs.ship.message }}}}"
[jobs.beside]
shell = '''{gate.script}'''
[jobs.ship]
gate = "Ship {{{{ jobs.draft.output }}}}?"
show_file = "letter"
on_reject = {{ retry = "draft" }}
[jobs.push]
needs = ["ship"]
shell = "echo {{{{ jobs.ship.output }}}} {{{{ jobs.ship.message }}}}"
"""
    )
    made = Terminal(tmp_path)
    yield made
    made.close()


def test_who_sits_there_rejects_and_approves_while_others_go_on(terminal: Terminal, gate: Gate, run_cli: RunCli) -> None:
    gate.wait_until_reached()
    asked = terminal.read_until(PROMPT)
    assert "Dear\\x1b[2J all" in asked
    assert "ship: Ship draft ?" in asked
    terminal.type("\n")
    assert "an empty line is no answer" in terminal.read_until(PROMPT)
    terminal.type("yes\n")
    assert "yes is none of the choices" in terminal.read_until(PROMPT)
    terminal.type("reject too short\n")
    assert "ship: Ship draft too short?" in terminal.read_until(PROMPT)
    terminal.type("APPROVE fine, now\n")
    terminal.read_until("answered ship approve: fine, now")
    gate.open()
    assert terminal.exit_code() == 0
    assert run_cli("logs", "r", "push").stdout == "approve fine, now\n"


def test_ctrl_c_stops_the_run_and_approves_nothing(terminal: Terminal, gate: Gate, run_cli: RunCli) -> None:
    gate.wait_until_reached()
    terminal.read_until(PROMPT)
    terminal.type("appr\x03")
    terminal.read_until("(not answered)")
    gate.open()
    assert terminal.exit_code() == 130
    assert "asks ship: Ship draft ? [approve, reject]" in run_cli("status", "r").stdout
    assert run_cli("resume", "r", "--quiet").returncode == 3


def test_the_end_of_the_input_leaves_the_question_to_others(terminal: Terminal, gate: Gate, run_cli: RunCli) -> None:
    gate.wait_until_reached()
    terminal.read_until(PROMPT)
    terminal.type("\x04")
    terminal.read_until("(not answered)")
    gate.open()
    assert terminal.exit_code() == 3
    assert run_cli("approve", "r", "ship", "--resume").returncode == 0


def test_another_shell_may_answer_what_is_asked_on_the_terminal(terminal: Terminal, gate: Gate, run_cli: RunCli) -> None:
    gate.wait_until_reached()
    terminal.read_until(PROMPT)
    assert "it waits for somebody's choice (approve, reject)" in run_cli("why", "r", "ship").stdout
    assert "ship    running      1 waiting" in run_cli("status", "r").stdout
    assert run_cli("approve", "r", "ship").stdout == "ship: answered\n"
    terminal.read_until("(approve)")
    gate.open()
    assert terminal.exit_code() == 0
