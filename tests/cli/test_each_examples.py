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

BLOCKS = [
    block
    for block in Path(__file__).with_name("parallel_examples.txt").read_text("utf-8").split("\n\n")[1:]
    if not block.startswith("#")
]


def told_in(block: str, mark: str) -> list[str]:
    """What stands behind the mark, in all lines that begin so."""
    return re.findall(rf"^  {mark} (.*)$", block, re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0] for block in BLOCKS])
def test_what_is_typed_for_parallel_becomes_these_commands(
    block: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (ours,) = told_in(block, "each")
    stdin = "".join(told_in(block, "<")).encode().decode("unicode_escape")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xlist").write_text("a\nb\n")
    (tmp_path / "ylist").write_text("1\n2\n")
    stream = SimpleNamespace(buffer=io.BytesIO(stdin.encode()), isatty=lambda: False)
    monkeypatch.setattr("orchestrator.cli.each_lines.sys.stdin", stream)
    code = main(["each", "--home", str(home), "--dry-run", *shlex.split(ours)])
    told = capsys.readouterr()
    assert (code, told.out.splitlines()) == (0, told_in(block, "=")), told.err


def test_there_are_sixty_and_more() -> None:
    assert len(BLOCKS) >= 60


def test_the_nested_loop_with_names_writes_its_files(run_cli: RunCli, tmp_path: Path) -> None:
    line = "--quiet -j2 --tag --header : --shell 'echo {#} | tee x{X}y{Y}' ::: X 1 2 ::: Y 01 02"
    told = run_cli("each", *shlex.split(line))
    assert told.stdout.splitlines() == ["1 01\t1", "1 02\t2", "2 01\t3", "2 02\t4"], told.stderr
    assert sorted(path.name for path in tmp_path.glob("x*")) == ["x1y01", "x1y02", "x2y01", "x2y02"]
