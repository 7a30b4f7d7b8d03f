"""Outputs may be large: a command that does not show one does not open its file, and one that shows all has one in memory."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

import orchestrator
from orchestrator.attempts.context import JobView
from orchestrator.cli import entry
from orchestrator.jobsfile.model import OutputKind
from orchestrator.reading import large_output, many_results, run_records
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_result import Results
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.protocol import Outcome

ITEMS = 4
JOBS = f"""
[jobs.write]
for_each = "{{{{ range({ITEMS}) | list }}}}"
shell = "head -c 100000 /dev/zero | tr '\\\\0' x"

[jobs.chain]
for_each = {{ job = "write" }}
command = ["echo", "{{{{ parent.status }}}}", "{{{{ jobs.write.succeeded | length }}}}"]
"""

_opened: list[str] | None = None
"""What is opened just now of an attempt's files; None: nobody asks."""


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str) and "/outputs/" in arguments[0]:
        _opened.append(Path(arguments[0]).name)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The captures that this process opens: names of files."""
    global _opened
    if not getattr(sys, "_hears_opens", False):
        sys.addaudithook(_hear)  # for as long as the process lives
        sys._hears_opens = True  # type: ignore[attr-defined]
    _opened = []
    yield _opened
    _opened = None


@pytest.fixture
def folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a jobs file lies whose items write 100 kB each."""
    assert not home.exists()
    (tmp_path / "jobs.toml").write_text(JOBS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def reader(folder: Path) -> RunReader:
    """A run of that file, which has ended."""
    return RunReader.read(RunDir(Path(orchestrator.run(folder / "jobs.toml").directory)))


def told(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command says, in this process."""
    assert entry.main(list(words)) == 0
    return capfd.readouterr().out


def test_a_supervisor_opens_no_output_that_no_template_names(folder: Path, opened: list[str]) -> None:
    result = orchestrator.run(folder / "jobs.toml")
    assert [each.output for each in result.results.find("chain")] == [f"succeeded {ITEMS}"] * ITEMS
    assert [name for name in opened if name.startswith("write")] == []
    assert opened == []


SHOW_NO_OUTPUT = [
    ["status"],
    ["status", "--json"],
    ["list"],
    ["list", "--json"],
    ["results"],
    ["results", "--status", "succeeded"],
    ["results", "--json", "--fields", "item,status,error"],
    ["why", "jobs.toml", "write:0"],
    ["why", "jobs.toml", "write", "--json"],
    ["wait"],
    ["cost"],
]


@pytest.mark.usefixtures("reader")
def test_a_command_that_shows_no_output_opens_none(opened: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    for words in SHOW_NO_OUTPUT:
        told(capfd, *words)
        assert opened == [], words


@pytest.mark.usefixtures("reader")
def test_results_with_the_output_open_each_once(opened: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert told(capfd, "results", "--json").count("x" * 100_000) == ITEMS
    assert opened == [f"{index}-1.stdout" for index in range(ITEMS)]


@pytest.mark.usefixtures("reader")
def test_of_an_output_that_is_large_no_more_than_a_piece_is_read_at_a_time(
    monkeypatch: pytest.MonkeyPatch, in_memory: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(large_output, "LARGE_BYTES", 50_000)
    for form in ("json", "jsonl", "csv"):
        assert told(capfd, "results", "--format", form).count("x" * 100_000) == ITEMS
    assert max(in_memory) == 0


def test_a_file_that_is_missing_or_has_another_size_is_told_without_opening_it(
    reader: RunReader, opened: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    missing, short = (Path(reader.run_dir.output_paths("write", index, 1)[0]) for index in (0, 1))
    missing.unlink()
    short.write_bytes(b"x")
    opened.clear()
    lines = told(capfd, "results", "--format", "csv", "--fields", "item,error").splitlines()
    assert lines[1:4] == [
        f"write:0,{missing}: No such file or directory",
        f'write:1,"{short}: has 1 bytes, 100000 were recorded"',
        "write:2,",
    ]
    assert opened == []


@dataclass(eq=False)
class Watched:
    """An output of which is known whether it is in memory."""

    text: str


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many outputs were in memory whenever one more had been read."""
    living: weakref.WeakSet[Watched] = weakref.WeakSet()
    counts: list[int] = []
    shape = run_records.shape_output

    def shaped(outcome: Outcome, kind: OutputKind, answer: bytes) -> Any:
        output = Watched(shape(outcome, kind, answer))
        living.add(output)
        counts.append(sum(len(each.text) == 100_000 for each in living))
        return output

    for module in (run_records, many_results):
        monkeypatch.setattr(module, "shape_output", shaped)
    return counts


@pytest.mark.usefixtures("reader")
def test_results_have_one_large_output_in_memory_and_the_one_before(
    in_memory: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    for form in ("json", "jsonl", "csv"):
        in_memory.clear()
        assert told(capfd, "results", "--format", form).count("x" * 100_000) == ITEMS
        assert len(in_memory) == 2 * ITEMS, form
        assert max(in_memory) <= 2, form


def test_a_program_and_a_results_file_have_one_large_output_in_memory_and_the_one_before(
    reader: RunReader, in_memory: list[int]
) -> None:
    assert [len(each.output.text) for each in Results(reader).where(job="write")] == [100_000] * ITEMS
    path = Path(JobView(reader, "write").template_field("results_file"))
    assert [each["output"]["text"] for each in msgspec.json.decode(path.read_bytes())] == ["x" * 100_000] * ITEMS
    assert len(in_memory) == 2 * ITEMS
    assert max(in_memory) <= 2
