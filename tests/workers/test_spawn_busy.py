"""A program that somebody has open for writing (ETXTBSY): it is waited for, for a moment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.workers.processes import spawn as spawning
from orchestrator.workers.processes.spawn import CannotStart, Spawner
from orchestrator.workers.processes.variables import base_environment
from orchestrator.workers.protocol import Limits, Start


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.write_text("#!/bin/sh\nexit 7\n")
    path.chmod(0o700)
    return path


def start_written(program: Path, monkeypatch: pytest.MonkeyPatch, pause: Callable[[float], None]) -> int:
    """Its pid. `pause` is called in place of each pause between two tries."""
    monkeypatch.setattr(spawning.time, "sleep", pause)
    start = Start(sequence=0, item="a", attempt=1, mark="m", argv=[], cwd="/", stdout_path="o", stderr_path="e", limits=Limits())
    null = os.open(os.devnull, os.O_RDWR)
    try:
        return Spawner(base_environment("/w")).spawn(start, [str(program)], (null, null, null), ())
    finally:
        os.close(null)


def test_a_program_that_is_just_being_written_is_started_once_it_is_there(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = os.open(program, os.O_WRONLY | os.O_CLOEXEC)
    pid = start_written(program, monkeypatch, lambda _: os.close(writer))
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 7


def test_a_program_that_stays_open_for_writing_is_told_after_so_many_tries(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    with program.open("ab"), pytest.raises(CannotStart, match="it is being written: somebody has kept it open for writing"):
        start_written(program, monkeypatch, pauses.append)
    assert 0.5 <= sum(pauses) <= 1.0
