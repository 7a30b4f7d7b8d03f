"""What a program does with runs by the library, inline: `map`, and `Run`."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path

import pytest

import orchestrator
from orchestrator import Run, UserError
from orchestrator.cli.entry import main
from orchestrator.jobsfile.language.toml_values import toml_value
from orchestrator.store.known_runs import list_children

VALUES = ["", 'a "b" \\ \n \x7f \x1b ü 🎉', True, 3, -0.5, ["a", [1]], {"a b": {"c": False}}]


def test_a_value_is_written_as_toml_reads_it() -> None:
    for value in VALUES:
        assert tomllib.loads(f"key = {toml_value(value)}") == {"key": value}
    with pytest.raises(TypeError, match="None: a job has texts"):
        toml_value([None])


def test_a_command_runs_for_each_value_and_a_failure_is_a_result(home: Path, tmp_path: Path) -> None:
    del home
    words = ["sh", "-c", 'test "$0" != bad; echo "$0"', "{}"]
    result = orchestrator.map(words, ["a b", "bad", {"k": 1}], slots=0, keep_going=True, folder=tmp_path)
    assert [each.output for each in result.results] == ["a b", "bad", '{"k": 1}']
    with pytest.raises(orchestrator.JobsFileError, match="mistake"):
        orchestrator.map(None, ["x"], slots=0, attemps=3)
    told = orchestrator.map("echo {{ item.x }} >&2; exit {{ item.code }}", [{"x": "$HOME", "code": 1}], slots=0)
    assert (told.status, Run(told).cost, told.results[0].reason) == ("failed", None, "exit code 1: $HOME")
    with pytest.raises(UserError, match="has no item 'other'"):
        Run(told).retry("other")
    with pytest.raises(UserError, match="the model is empty"):
        Run(told).retry(model=" ")
    with pytest.raises(UserError, match="has no agent: there is nobody to tell"):
        Run(told).retry(feedback="once more")


def test_a_gate_is_answered_and_a_run_cancelled(home: Path, tmp_path: Path) -> None:
    del home
    (tmp_path / "gate.toml").write_text('run.slots = 0\n[jobs.ask]\ngate = "go?"\n')
    paused = orchestrator.run(tmp_path / "gate.toml")
    Run(paused).approve("ask", message="well")
    with pytest.raises(UserError, match="is answered already"):
        Run(paused).approve("ask", choice="reject")
    assert orchestrator.resume(paused).status == "completed"
    other = Run(orchestrator.run(tmp_path / "gate.toml"))
    other.cancel()
    assert other.read().status == "cancelled"


def test_whoever_looks_is_told_the_slots_that_were_set_since(home: Path, tmp_path: Path) -> None:
    del home
    (tmp_path / "gate.toml").write_text('run.slots = 0\n[jobs.ask]\ngate = "go?"\n')
    paused = orchestrator.run(tmp_path / "gate.toml")
    assert main(["set", paused.run_id, "slots=3"]) == 0

    async def told() -> list[orchestrator.happenings.Happening]:
        return [each async for each in Run(paused).events()]

    began, *_ = asyncio.run(told())
    assert isinstance(began, orchestrator.happenings.RunBegan)
    assert began.slots == 3


def test_a_cancelled_run_takes_the_child_runs_that_nobody_supervises_along(home: Path, tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text('run.slots = 0\n[jobs.ask]\ngate = "go?"\n')
    (tmp_path / "above.toml").write_text('[jobs.below]\nworkflow = "gate.toml"\n')
    paused = orchestrator.run(tmp_path / "above.toml")
    (child,) = list_children(home, paused.run_id)
    assert Run(child.run_id).read().status == "paused"
    Run(paused).cancel()
    assert Run(child.run_id).read().status == "cancelled"


def test_what_a_program_asks_of_items_that_are_not_there_yet_is_refused(home: Path, tmp_path: Path) -> None:
    del home
    (tmp_path / "gate.toml").write_text(
        'run.slots = 0\n[jobs.ask]\ngate = "go?"\n[jobs.later]\nneeds = ["ask"]\nfor_each = { glob = "*" }\ncommand = ["true"]\n'
    )
    paused = Run(orchestrator.run(tmp_path / "gate.toml"))
    for ask in (paused.cancel, paused.retry):
        with pytest.raises(UserError, match=r"later of run .* has no items"):
            ask("later")
