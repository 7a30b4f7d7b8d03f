"""`--profile FILE`: where the supervisor's time went, in numbers alone; a run without it has our functions as they are."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from drivers.command_line import RunCli

from orchestrator.cli.profiling import PARTS, Profile
from orchestrator.errors import UserError
from orchestrator.supervisor.session import RunReport
from orchestrator.views.listeners import Listeners

JOBS = """
[run]
slots = 2

[jobs.secretive]
for_each = ["one", "two", "three"]
shell = "echo {{ item }} hush-hush"
"""

ONLY_SOMETIMES = {"start: restore", "lists", "views", "control", "gates", "waiting for a sync"}
"""Parts that this run may do without."""


def functions() -> list[object]:
    found = []
    for places in PARTS.values():
        for place in places:
            module, _, names = place.partition(":")
            where = importlib.import_module(module if module == "selectors" else f"orchestrator.{module}")
            for name in names.split("."):
                where = getattr(where, name)
            found.append(getattr(where, "__func__", where))
    return found


def test_a_profile_tells_of_each_part_and_of_nothing_that_is_the_users(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS)
    done = run_cli("run", "jobs.toml", "--quiet", "--profile", "told.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / "told.json").read_text()
    told = json.loads(text)
    assert (told["slots"], told["items"], told["attempts"]) == (2, {"succeeded": 3}, 3)
    assert (told["exit_code"], told["ended_by"]) == (0, "")
    parts = told["parts"]
    assert [name for name in PARTS if name not in parts and not name.startswith(tuple(ONLY_SOMETIMES))] == []
    assert parts["starts"]["calls"] == parts["ends"]["calls"] == 3
    assert 0 < parts["starts: sending"]["seconds"] < told["seconds"]
    assert 0 < parts["starts: rendering"]["cpu_seconds"] < told["cpu_seconds"]["supervisor"]
    # No part's time is in another's.
    assert sum(part["seconds"] for part in parts.values()) == pytest.approx(told["seconds"], rel=0.01)
    assert min(told[name] for name in ("turns", "wakes", "syncs", "peak_bytes", "cpus")) > 0
    assert min(told["cpu_seconds"].values()) >= 0
    assert not [word for word in (str(tmp_path), "jobs.toml", "secretive", "hush", "echo", "/bin") if word in text]


def test_a_profile_that_could_not_be_written_is_refused_before_the_run(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(JOBS.replace("echo", "touch ran; echo"))
    for path, words in (("none/told", "there is no folder none"), (".", "it is a folder")):
        refused = run_cli("run", "jobs.toml", "--profile", path, cwd=tmp_path)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert words in refused.stderr
        assert len(refused.stderr.splitlines()) == 2
    assert not (tmp_path / "ran").exists()


def test_a_run_that_is_refused_or_dies_is_profiled_and_all_is_put_back(tmp_path: Path) -> None:
    before = functions()
    found: list[list[object]] = []

    def start(_home: Path, _listeners: Listeners, _prompt: object) -> RunReport:
        found.append(functions())
        raise UserError("something about /a/path", "mend it")

    told = tmp_path / "told"
    with pytest.raises(UserError, match="/a/path"):
        Profile(str(told)).around(start)(tmp_path, Listeners([]), None)
    assert "ended by UserError" in told.read_text()
    assert "/a/path" not in told.read_text()
    assert not [one for one, other in zip(before, found[0], strict=True) if one is other]
    assert functions() == before
