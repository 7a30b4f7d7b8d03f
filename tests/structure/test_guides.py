"""What the tutorial and the how-to pages show is right: the files have no mistakes, the commands exist, the sessions happen."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestrator.cli import main
from orchestrator.cli.group import orchestrate

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "tutorial.md", ROOT / "docs" / "jobs-files.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
JOBS_FILES = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("text", JOBS_FILES)
def test_a_jobs_file_of_a_guide_has_no_mistakes(
    text: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jobs.toml").write_text(text)
    (tmp_path / "child.toml").write_text('[inputs]\nfolder = "."\n[jobs.a]\ncommand = ["ls", "{{ inputs.folder }}"]\n')
    assert main(["check", "--home", str(home), str(tmp_path / "jobs.toml")]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_guide_has_its_options(page: Path) -> None:
    text = page.read_text("utf-8")
    commands = [line for block in re.findall(r"```(?:sh|crontab)\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    commands += re.findall(r"^\$ (.*)", text, re.MULTILINE) + re.findall(r"`(orchestrate [^`]+)`", text)
    for line in re.findall(r'(?:^|[ /"])orchestrate"? ([a-z][^\n#&|)]*)', "\n".join(commands), re.MULTILINE):
        words = shlex.split(line)
        command = orchestrate.get_command(click.Context(orchestrate), words[0])
        assert command is not None, line
        # Raises for an option that there is not.
        command.make_parser(click.Context(command)).parse_args(words[1:])


@pytest.mark.slow
def test_the_demo_has_a_crash_in_it_and_edits_each_file_once() -> None:
    told = subprocess.run(
        [sys.executable, ROOT / "docs" / "demo.py"], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    lines = told.splitlines()
    assert "Killed" in told
    assert lines[-1] == "4 files, each edited once: 1 1 1 1"
    assert len(lines) <= 25


@pytest.mark.slow
def test_the_session_of_the_tutorial_happens_as_it_is_told(tmp_path: Path) -> None:
    record = runpy.run_path(str(ROOT / "docs" / "record.py"))
    told = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
    assert record["settled"](record["play"](told, tmp_path, is_busy=True)) == record["settled"](told)
