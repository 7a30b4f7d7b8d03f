"""What people type for GNU parallel, and what each becomes here: `parallel_examples.txt`, tried line by line."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from drivers.command_line import RunCli

from orchestrator.cli import main
from orchestrator.cli.each_dry_run import command_line
from orchestrator.jobsfile.load import load_text
from orchestrator.jobsfile.model import ListSource
from orchestrator.jobsfile.sources import list_items

BLOCKS = [
    block
    for block in Path(__file__).with_name("parallel_examples.txt").read_text("utf-8").split("\n\n")[1:]
    if not block.startswith("#")
]


def told_in(block: str, mark: str) -> list[str]:
    """What stands behind the mark, in all lines that begin so."""
    return re.findall(rf"^  {mark} (.*)$", block, re.MULTILINE)


@pytest.fixture(params=BLOCKS, ids=[block.splitlines()[0] for block in BLOCKS])
def block(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A block of the table, in a folder with the files that it names."""
    found: str = request.param
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xlist").write_text("a\nb\n")
    (tmp_path / "ylist").write_text("1\n2\n")
    return found


def typed(block: str, option: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Type our line of the block, with one option more."""
    (ours,) = told_in(block, "each")
    stdin = "".join(told_in(block, "<")).encode().decode("unicode_escape")
    stream = SimpleNamespace(buffer=io.BytesIO(stdin.encode()), isatty=lambda: False)
    monkeypatch.setattr("orchestrator.cli.each_lines.sys.stdin", stream)
    return main(["each", "--home", str(home), option, *shlex.split(ours)])


def test_what_is_typed_for_parallel_becomes_these_commands_also_by_the_file_that_is_printed(
    block: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = told_in(block, "=")
    code = typed(block, "--dry-run", home, monkeypatch)
    told = capsys.readouterr()
    assert (code, told.out.splitlines()) == (0, commands), told.err
    assert typed(block, "--print", home, monkeypatch) == 0
    (job,) = load_text(capsys.readouterr().out, path="/x/each.toml", folder="/x").jobs
    assert isinstance(job.for_each, ListSource)
    values = list_items(job.for_each, {}, "/x")
    contexts = [{"item": value, "index": index, "slot": 0} for index, value in enumerate(values)]
    assert [command_line(job, context, "/x") for context in contexts] == commands


def test_there_are_sixty_and_more() -> None:
    assert len(BLOCKS) >= 60


def test_the_nested_loop_with_names_writes_its_files(run_cli: RunCli, tmp_path: Path) -> None:
    line = "--quiet -j2 --tag --header : --shell 'echo {#} | tee x{X}y{Y}' ::: X 1 2 ::: Y 01 02"
    told = run_cli("each", *shlex.split(line))
    assert told.stdout.splitlines() == ["1 01\t1", "1 02\t2", "2 01\t3", "2 02\t4"], told.stderr
    assert sorted(path.name for path in tmp_path.glob("x*")) == ["x1y01", "x1y02", "x2y01", "x2y02"]
