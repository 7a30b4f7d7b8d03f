"""Whatever an item, an agent or a file brings, in whatever field: a terminal does not obey it, and a pipe gets every byte."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
import tty
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from drivers.git_repository import Repository
from drivers.sweeps import telling

from orchestrator.cli.entry import main
from orchestrator.cli.group import COMMANDS, orchestrate
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import finish, write_bytes

CONTROLS = (
    *("\x1b[2J", "\x1b]0;title\x07", "\x9b2J", "\x9d0;t\x9c", "\x85", "\x7f", "\r", "\b", "\x0e"),
    *("\u202e", "\u2066", "\u200e", "\u061c", "\u2028", "\u2029", "\u200b", "\ufeff", "\U000e0041"),
)
HOSTILE = "h" + "".join(f"{each}Z" for each in CONTROLS)
BYTES = HOSTILE.encode() + b"\x9bZ\xffZ\n"

DRAWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\r(?!Z)")
"""What the live view draws with: colours, the cursor, a line that is cleared."""


def toml(text: str) -> str:
    return '"' + "".join(f"\\U{ord(each):08x}" for each in text) + '"'


JOBS = f"""
run.slots = 0
[jobs.tell]
for_each = [{toml(HOSTILE)}]
token = "shared"
shell = "cat bytes; cat bytes >&2"
[jobs.fail]
for_each = [{toml(HOSTILE)}]
label = "{{{{ item }}}}"
shell = "cat bytes >&2; exit 3"
continue_on_error = true
[jobs.checked]
command = ["true"]
check = "cat bytes; exit 1"
continue_on_error = true
[jobs.asked]
agent = "hostile"
model = {toml(HOSTILE)}
prompt = {toml(HOSTILE)}
check = "cat bytes; exit 1"
attempts = 1
continue_on_error = true
[jobs.agent]
agent = "hostile"
prompt = {toml(HOSTILE)}
[jobs.changes]
for_each = [{toml(HOSTILE)}]
workspace = "worktree"
env.NAME = "{{{{ item }}}}"
shell = 'cp bytes "$NAME"'
check = "cat bytes; test -f .git"
[jobs.gate]
needs = ["tell", "fail", "checked", "asked", "agent", "changes"]
gate = "{{{{ jobs.tell.output }}}}?"
show_file = {toml(HOSTILE)}
"""

PROFILE = """
extends = "claude"
command = ["sh", "-c", "cat {folder}/events; cat {folder}/bytes >&2", "agent"]
version = ["sh", "-c", "cat {folder}/bytes >&2; exit 1"]
"""

EVENTS = (
    {"type": "system", "subtype": "init", "session_id": HOSTILE, "model": HOSTILE},
    {"type": "system", "subtype": "api_retry", "error": HOSTILE, "error_status": 529},
    {
        "type": "assistant",
        "message": {"content": [{"type": "text", "text": HOSTILE}, {"type": "thinking", "thinking": HOSTILE}]},
    },
    {"type": "assistant", "message": {"content": [{"type": "tool_use", "name": HOSTILE, "input": {"command": HOSTILE}}]}},
    {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "session_id": HOSTILE,
        "result": HOSTILE,
        "permission_denials": [{"tool_name": HOSTILE}],
        "total_cost_usd": 0.01,
    },
)

WORKFLOW = f"name: {json.dumps(HOSTILE)}\nsteps:\n  - id: {json.dumps(HOSTILE)}\n    type: {json.dumps(HOSTILE)}\n"

BEFORE = """
! run jobs.toml --run-id r | run evil.toml | each --print -- echo @ | check evil.toml | check @ | plan jobs.toml | plan evil.toml
! import evil.yml | init @ | ! agents --forget-limits @ | agents
"""
SHOWN = """
why r agent | why r tell | why r fail | why r asked | why r changes | why r gate | why r agent --json
why r @ | status r | ! status r --json
logs r agent | logs r tell | logs r tell -n 1 | logs r checked | logs r asked | logs r | logs r @ | logs r changes
results r --json | results r | results r --format jsonl | results r --format csv | results r --format csv -o TTY
results r --raw --json | results r --fields @ | capsule r -o @/x | ! capsule r -o -
diff r | diff r changes --stat | diff r changes --raw | diff r @
land r | land r --json | land r @ | ! list | ! list --json | ! list --file @ | cost | cost --json | ! wait r | wait @ | exec r @
! tokens list | ! tokens list --json | tokens forget @ | approve r @ | set r @ | set @ slots=2 | ! doctor | doctor --salvage @
prune --older-than @ | flush @ | pause @ | stop @ | attach r | attach @
"""
AFTER = """
retry r @ | retry r fail --progress never | resume @ | resume r --progress never | cancel r @ | cancel @
"""
"""Command lines; `@`: a hostile word, `TTY`: the terminal. With `!`: it may tell nothing that is hostile.

The first of each command is for the quick suite."""

NOTHING_OF_OTHERS = {"schema", "completion"}
"""Commands that print what is the same for everybody."""


class Screen:
    """A terminal that changes nothing of what it is sent, in place of this process's streams."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ours, self._device = pty.openpty()
        tty.setraw(self._device)
        self._told = bytearray()
        self._is_told = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.name = os.ttyname(self._device)
        self._streams = [open(self._device, "w", encoding="utf-8", closefd=False) for _ in range(2)]  # noqa: SIM115
        self._streams.append(open(os.devnull, encoding="utf-8"))  # noqa: SIM115
        for name, stream in zip(("stdout", "stderr", "stdin"), self._streams, strict=True):
            monkeypatch.setattr(sys, name, stream)
        monkeypatch.setenv("TERM", "xterm")

    def told(self) -> str:
        """What was written since this was asked last; bytes that are no UTF-8 as lone surrogates."""
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(self._device, b"\0")
        with self._is_told:
            assert self._is_told.wait_for(lambda: self._told.endswith(b"\0"), timeout=60)
            told = bytes(self._told[:-1])
            self._told.clear()
        return told.decode("utf-8", "surrogateescape")

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 1 << 16)
            except OSError:
                return
            with self._is_told:
                self._told += data
                self._is_told.notify()

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        # A run has opened the terminal once more; the process that it would be ends.
        for number in os.listdir("/proc/self/fd"):
            path = f"/proc/self/fd/{number}"
            if os.path.islink(path) and os.readlink(path) == self.name:
                os.close(int(number))
        self._reader.join()
        os.close(self._ours)


@contextmanager
def watched() -> Iterator[Screen]:
    """This process at a terminal. Inside of the test, for pytest gives a test other streams than its fixtures."""
    with pytest.MonkeyPatch.context() as patch:
        screen = Screen(patch)
        try:
            yield screen
        finally:
            screen.close()


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_git_configuration: None) -> Path:
    """A repository with a jobs file of which every field is hostile, in which this process stands."""
    del home, no_git_configuration
    folder = tmp_path / "project"
    files = {
        "jobs.toml": JOBS,
        "evil.toml": f"[jobs.a]\ncommand = [{toml(HOSTILE)}]\n{toml(HOSTILE)} = 1\nneeds = [{toml(HOSTILE)}]\n",
        "evil.yml": WORKFLOW,
        "agents/hostile.toml": PROFILE.format(folder=folder),
        "agents/evil.toml": f"extends = {toml(HOSTILE)}\n{toml(HOSTILE)} = 1\n",
        "events": "".join(json.dumps(event) + "\n" for event in EVENTS),
        "bytes": "",
    }
    repository = Repository(folder, **files)
    (folder / "bytes").write_bytes(BYTES)
    repository.commit("bytes")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return folder


def lines_of(table: str, *, are_all: bool) -> Iterator[str]:
    seen = set()
    for line in filter(None, map(str.strip, table.replace("\n", "|").split("|"))):
        name = name_of(line)
        if are_all or name not in seen:
            seen.add(name)
            yield line


def name_of(line: str) -> str:
    """`tokens list` of `! tokens list --json`."""
    words = line.removeprefix("! ").split()
    return " ".join(words[: 2 if words[0] == "tokens" else 1])


def controls_in(text: str) -> set[str]:
    return {each for each in DRAWN.sub("", text) if not each.isprintable() and each not in "\n\t" and not is_blank(each)}


def is_blank(character: str) -> bool:
    return unicodedata.category(character) == "Zs"


def all_commands() -> set[str]:
    """Names of all commands, of a group those in it (`tokens list`)."""
    found = set()
    with click.Context(orchestrate, obj=Invocation()) as context:
        for name in COMMANDS:
            command = orchestrate.get_command(context, name)
            below = command.commands if isinstance(command, click.Group) else {"": None}
            found |= {f"{name} {each}".strip() for each in below}
    return found


def test_every_command_is_looked_at() -> None:
    looked_at = set(map(name_of, lines_of(BEFORE + SHOWN + AFTER, are_all=True)))
    assert all_commands() - NOTHING_OF_OTHERS == looked_at, "add a line that shows something hostile"


@pytest.mark.parametrize("are_all", [pytest.param(False, id="one of each"), pytest.param(True, id="all", marks=pytest.mark.slow)])
def test_no_command_lets_a_terminal_obey_what_is_not_ours(folder: Path, *, are_all: bool) -> None:
    with watched() as screen:
        for line in lines_of(BEFORE + SHOWN, are_all=are_all):
            check_line(screen, line)
    check_pipes(folder)
    with watched() as screen:
        for line in lines_of(AFTER, are_all=are_all):
            check_line(screen, line)


def check_line(screen: Screen, line: str) -> None:
    words = [part.replace("@", HOSTILE).replace("TTY", screen.name) for part in line.removeprefix("! ").split()]
    with telling(line):
        code = main(words)
        told = screen.told()
        assert controls_in(told) == set(), told
        assert "internal error" not in told, told
        assert line.startswith("! ") or "9b2J" in told or "202e" in told, (code, told)


def check_pipes(folder: Path) -> None:
    """A pipe gets data as they were written, and JSON without a control."""

    def told(*words: str) -> bytes:
        with (folder.parent / "told").open("w") as stdout, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", stdout)
            assert main(list(words)) == 0
        return (folder.parent / "told").read_bytes()

    # JSON: each control is an escape, and the values are the same.
    results = told("results", "r", "--format", "jsonl")
    assert controls_in((results + told("status", "r", "--json")).decode()) == set()
    values = {result["job"]: (result["value"], result["model"]) for result in map(json.loads, results.splitlines())}
    assert (values["tell"], values["agent"]) == ((HOSTILE, None), (None, HOSTILE))
    # All else: every byte. git takes the patch.
    assert told("logs", "r", "tell") == BYTES + BYTES
    assert HOSTILE.encode() in told("results", "r", "--format", "csv", "--fields", "value")
    patch = told("diff", "r", "changes")
    assert b"+" + BYTES in patch
    other = folder.parent / "other"
    other.mkdir()
    subprocess.run(["git", "apply", "-"], cwd=other, input=patch, check=True, timeout=60)
    assert (other / HOSTILE).read_bytes() == BYTES


def test_a_character_that_comes_in_two_pieces_is_one_on_a_terminal() -> None:
    euro = "€".encode()
    with watched() as screen:
        write_bytes(b"a\t" + euro[:1])
        write_bytes(euro[1:] + b" \xa0" + "\u00a0".encode() + euro[:2])
        assert screen.told() == "a\t€ \\xa0\u00a0"
        finish()
        assert screen.told() == "\\xe2\\x82"
