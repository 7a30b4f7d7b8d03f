"""The folder of a run that was moved away: nothing is made in its place, or it could not be put back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from drivers.fake_agents import claude_reading
from drivers.store_samples import new_run

from orchestrator.engines.inline import InlineEngine
from orchestrator.engines.local import LocalEngine
from orchestrator.errors import StateUnwritableError
from orchestrator.shared.nesting.borrowing import tell_slot_count
from orchestrator.store.captures import keep_capture
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.lock_file import is_free, try_take
from orchestrator.system.locks.numbered import NumberedLocks
from orchestrator.workers.agents.attempt_record import keep_record
from orchestrator.workers.files.copying import keep_files
from orchestrator.workers.files.syncing import GoneFolderError
from orchestrator.workers.protocol import (
    AgentTask,
    AttemptClass,
    Capture,
    Limits,
    Outcome,
    Start,
    WorkspaceTask,
)
from orchestrator.workers.workspaces.making import Maker

SMALL = Capture(size=3, inline=b"out")
WELL = Outcome(attempt_class=AttemptClass.OK, started_at=0.0, finished_at=1.0, duration_seconds=1.0)


def output(run_dir: RunDir, kind: str) -> str:
    return run_dir.output_paths("port", 0, 1)[0].removesuffix("stdout") + kind


def keep_artifacts(run_dir: RunDir) -> None:
    (run_dir.home / "work").mkdir()
    (run_dir.home / "work" / "a.json").touch()
    keep_files(["*.json"], str(run_dir.home / "work"), output(run_dir, "files"), 1000)


def keep_agents_record(run_dir: RunDir) -> None:
    task = AgentTask(agent="claude", reading=claude_reading(), text_path=output(run_dir, "answer"))
    start = Start(
        sequence=0,
        item="port:0",
        attempt=1,
        mark="mark",
        argv=["agent"],
        cwd="/",
        stdout_path=output(run_dir, "stdout"),
        stderr_path=output(run_dir, "stderr"),
        limits=Limits(),
        agent=task,
    )
    keep_record(start, WELL)


def make_workspace(run_dir: RunDir) -> None:
    path = str(run_dir.workspace("port/0"))
    Maker(WorkspaceTask(kind="temp", path=path, source="/", cwd=path), {}, []).make(None)


def prepare_inline(run_dir: RunDir) -> None:
    engine = InlineEngine(run_dir, 0, lambda _: None)
    try:
        engine.prepare(0)
    finally:
        engine.close()


MAKERS: list[Callable[[RunDir], object]] = [
    lambda run_dir: try_take(run_dir.slot_lock(0), "note", run_dir.path),
    lambda run_dir: is_free(run_dir.slot_lock(0), run_dir.path),
    lambda run_dir: NumberedLocks(run_dir.path / "slots", run_dir.path).try_take(1, "note"),
    lambda run_dir: tell_slot_count(run_dir, 1),
    lambda run_dir: LocalEngine(run_dir, 0, lambda _: None).prepare(0),
    prepare_inline,
    lambda run_dir: keep_capture(SMALL, run_dir, output(run_dir, "stdout")),
    keep_artifacts,
    keep_agents_record,
    make_workspace,
]


@pytest.mark.parametrize("make", MAKERS)
def test_nothing_is_made_in_the_place_of_a_run_that_was_moved_away(make: Callable[[RunDir], object], tmp_path: Path) -> None:
    run_dir = new_run(tmp_path)
    run_dir.path.rename(run_dir.path.with_name("moved"))
    with pytest.raises((GoneFolderError, StateUnwritableError), match="the folder of the run is gone"):
        make(run_dir)
    assert not run_dir.path.exists()
