"""Words of a command line that somebody else made up: no traceback, no internal error, and nothing that a terminal would obey."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.sweeps import sweep

from orchestrator.cli.entry import main

COMMANDS = """
@ | run @ | run jobs.toml -i @ | run jobs.toml -i @=1 | run jobs.toml --only @ | run jobs.toml --run-id @ | run jobs.toml -j @
run jobs.toml --limit @ | run jobs.toml -C @/x | run jobs.toml --engine @ | run jobs.toml --overlap @ | run jobs.toml --inputs @
check @ | plan @ | plan jobs.toml --only @ | resume @ | status @ | why r @ | why @ a:0 | logs r @ | logs @ | logs r a:0 -n @
results @ | results r --fields @ | results r --status @ | results r -o @/x | exec r @ | retry r @ | retry @ a:0 | cancel r @
approve r @ | approve r g --choice @ | set r @ | set r slots=@ | list --since @ | list --status @ | list --file @
prune --older-than @ | tokens forget @ | diff r @ | land r @ | wait @ | pause @ | stop @ | flush @ | init @ | import @ | capsule @
cost @ | doctor @ | agents @ | each --agent @ -p x | each --run-id @ -- echo | schema -o @/x | attach @ | why @ | exec @
"""

HOSTILE = {
    "a terminal's": "\x1b[31m\x1b]0;t\x07\x9b1m\u202e\u2066\u2028\n\r\x7f",
    "not UTF-8": "caf\udce9",
    "a megabyte": "x" * 1_000_000,
    "empty": "",
    "a pattern": "[!]*?[",
    "a template": "{{ x }}{% %}%s%n",
    "a path": "../../../../etc/passwd",
    "a number": "9" * 5000,
    "an option": "--nothing",
    "a reference": "a:0#9",
    "an index": f"a:{'9' * 5000}#{'9' * 5000}",
}


@pytest.fixture
def run_r(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """A run `r` that is paused at a gate, in the working folder of this process."""
    assert not home.exists()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    (tmp_path / "jobs.toml").write_text('[jobs.a]\nfor_each = ["x"]\ncommand = ["true"]\n[jobs.g]\nneeds = ["a"]\ngate = "go?"\n')
    assert main(["run", "jobs.toml", "--run-id", "r"]) == 3
    capfd.readouterr()
    yield
    os.chdir(tmp_path)


@pytest.mark.parametrize("hostile", sweep(HOSTILE, quick=2))
@pytest.mark.usefixtures("run_r")
def test_no_command_stumbles_over_a_word(hostile: str, capfd: pytest.CaptureFixture[str]) -> None:
    word = HOSTILE[hostile]
    for command in COMMANDS.replace("\n", "|").split("|"):
        if not command.strip():
            continue
        words = [part.replace("@", word) for part in command.split()]
        code = main(words)
        told = capfd.readouterr()
        said = told.out + told.err
        assert code in (0, 1, 2, 3, 4, 74, 75), (command, code, said[:500])
        assert "Traceback" not in said, command
        assert [each for each in said if not each.isprintable() and each != "\n"] == [], command
        assert len(said) < 20_000, command
