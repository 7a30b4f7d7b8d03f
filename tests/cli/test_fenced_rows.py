"""A bug of ours that one item's records lead to: `results`, `why`, `status` and `logs` tell of it there, and show the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drivers.fenced_bugs import fenced_in

import orchestrator
from orchestrator.cli import following, logs, why
from orchestrator.cli.entry import main
from orchestrator.reading import item_result, many_results, told_items
from orchestrator.store.run_dir import RunDir

pytestmark = pytest.mark.our_bug

JOBS = """
[jobs.a]
for_each = ["x", "y", "z"]
shell = "echo said {{ item }}; test {{ item }} != z"
continue_on_error = true
[jobs.b]
repeat = { until = "{{ round == 2 }}", max = 3 }
command = ["true"]
"""
WORDS = "our bug (ZeroDivisionError: division by zero); its traceback is in supervisor.log"


@pytest.fixture
def run(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command over the run; what it said on stdout."""
    (tmp_path / "jobs.toml").write_text(JOBS)
    assert orchestrator.run(tmp_path / "jobs.toml", run_id="r", home=home).exit_code == 1

    def say(*words: str) -> str:
        capsys.readouterr()
        assert main(["--home", str(home), *words]) == 0
        return capsys.readouterr().out

    return say


def break_for(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, place: int, meant: object) -> None:
    """Have a function of the module raise if its argument at `place` is `meant`."""
    wrapped = getattr(module, name)

    def call(*args: Any, **named: Any) -> Any:
        return 1 / 0 if args[place] == meant else wrapped(*args, **named)

    monkeypatch.setattr(module, name, call)


def test_a_result_that_cannot_be_shown_is_a_row_that_says_so(run: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_for(monkeypatch, item_result, "_fields_at", 2, 1)
    break_for(monkeypatch, many_results._PlainResults, "result", 1, 1)
    rows = json.loads(run("results", "r", "--json"))
    assert [row["item"] for row in rows] == ["a:0", "a:1", "a:2", "b"]
    assert [row["status"] for row in rows] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert [row["error"] for row in rows[:3]] == [None, f"it cannot be shown: {WORDS}", "exit code 1"]
    assert "it cannot be shown: our bug (ZeroDivisionError" in run("results", "r")
    assert "a:1: it could not be shown\n  Traceback" in fenced_in(home)
    monkeypatch.undo()
    break_for(monkeypatch, item_result, "_fields_at", 1, "b")
    rows = json.loads(run("results", "r", "--json", "--rounds"))
    assert [(row["item"], row["error"]) for row in rows] == [("b", f"it cannot be shown: {WORDS}")]


def test_why_tells_what_is_known_of_an_item_that_it_cannot_explain(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    break_for(monkeypatch, why, "_reason", 4, 2)
    told = run("why", "r", "a")
    assert "a:2 z of run r is failed\n  our bug" in told
    assert "a:0 x of run r is succeeded" in told
    assert [answer["reason"] for answer in json.loads(run("why", "r", "a", "--json"))][2] == WORDS


def test_status_counts_an_item_whose_failure_it_cannot_tell(run: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunDir.of(home, "r").summary.unlink()
    break_for(monkeypatch, told_items, "label_of", 2, 2)
    told = run("status", "r")
    assert f"FAILED a:2: it cannot be shown: {WORDS}" in told
    assert "1 failed" in told


def test_logs_show_the_others(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    break_for(monkeypatch, logs, "_print_item", 3, 1)
    told = run("logs", "r")
    assert f"==> a:1 y <==\n[the rest cannot be shown: {WORDS}]\n" in told
    assert "said x" in told
    assert "said z" in told


def test_who_follows_an_item_is_told_where_it_cannot_be_shown(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    break_for(monkeypatch, following, "follow_item", 2, 0)
    assert run("logs", "r", "a:0", "-f") == f"[the rest cannot be shown: {WORDS}]\n"
