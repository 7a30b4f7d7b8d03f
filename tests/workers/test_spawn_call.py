"""What is kept from one process to the next of a worker's must not be seen in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.workers.processes import spawn_call
from orchestrator.workers.processes.spawn import CannotStart, Spawner
from orchestrator.workers.protocol import Start

_BASE = {b"PATH": b"/usr/bin:/bin", b"KEPT": b"k=1", b"SECRET": b"s", b"ORCHESTRATE_WORKER": b"/w"}


class Starter:
    """Starts one program after another by one Spawner; tells what each wrote."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spawner = Spawner(_BASE)
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def run(
        self, *argv: str, env: dict[str, str | None] | None = None, env_allowed: list[str] | None = None, known: int = -1
    ) -> list[str]:
        """The lines of its output, sorted. `known`: the last attempt that had ended when this one was sent."""
        start = Start(
            sequence=0,
            item="a",
            attempt=1,
            mark="m/a/1",
            argv=[],
            cwd="/",
            stdout_path="",
            stderr_path="",
            env=env or {},
            env_allowed=env_allowed,
            recorded_through=known,
        )
        output = os.open(self._folder / "output", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
        try:
            pid = self._spawner.spawn(start, list(argv), (self._null, output, self._null), ())
            assert os.waitpid(pid, 0)[1] == 0
            return sorted(os.pread(output, 1 << 16, 0).decode().splitlines())
        finally:
            os.close(output)

    def close(self) -> None:
        os.close(self._null)


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    yield starter
    starter.close()


def test_each_process_has_the_environment_of_its_own_start(starter: Starter) -> None:
    ours = ["KEPT=k=1", "ORCHESTRATE_MARK=m/a/1", "ORCHESTRATE_WORKER=/w", "PATH=/usr/bin:/bin", "SECRET=s"]
    assert starter.run("env", env={"A": "1", "SECRET": None}) == ["A=1", *ours[:-1]]
    assert starter.run("env", env={"A": "longer", "SECRET": "new"}) == ["A=longer", *ours[:-1], "SECRET=new"]
    assert starter.run("env", env={"A": None, "SECRET": None}) == ours[:-1]
    assert starter.run("env") == ours
    assert starter.run("/usr/bin/env", env_allowed=["KEP*"]) == ours[:3]


def test_an_item_changes_neither_its_mark_nor_its_workers_folder(starter: Starter) -> None:
    lines = starter.run("env", env={"ORCHESTRATE_MARK": "another", "ORCHESTRATE_WORKER": None})
    assert {"ORCHESTRATE_MARK=m/a/1", "ORCHESTRATE_WORKER=/w"} < set(lines)


def test_the_output_goes_where_each_start_wants_it(starter: Starter) -> None:
    assert starter.run("echo", "one") == ["one"]
    moved = os.dup(0)  # the next output has another number
    try:
        assert starter.run("echo", "two", "words") == ["two words"]
    finally:
        os.close(moved)


def test_an_attempt_finds_a_program_where_those_have_put_it_that_ended_before(starter: Starter, tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))

    def put_into(folder: Path) -> None:
        folder.mkdir()
        (folder / "tool").write_text(f"#!/bin/sh\necho {folder.name}\n")
        (folder / "tool").chmod(0o700)

    put_into(second)
    path = {"PATH": f"{first}:{second}"}
    assert starter.run("tool", env={**path}) == ["second"]
    put_into(first)
    assert starter.run("tool", env={**path}) == ["second"], "it was sent together with the one before, and needs nothing of it"
    assert starter.run("tool", env={**path}, known=0) == ["first"]
    # One that is gone is looked for elsewhere.
    (first / "tool").unlink()
    assert starter.run("tool", env={**path}, known=0) == ["second"]


@pytest.mark.parametrize(
    ("argv", "env"), [(["echo", "a\0b"], {}), (["a\0b"], {}), (["true"], {"A": "1\x002"}), (["true"], {"A=B": "1"}), ([], {})]
)
def test_words_that_no_program_can_be_given_are_refused(starter: Starter, argv: list[str], env: dict[str, str | None]) -> None:
    with pytest.raises(CannotStart):
        starter.run(*argv, env=env)
    assert starter.run("echo", "the next") == ["the next"]


@pytest.mark.parametrize("version", ["glibc 2.38", "glibc 2.41.1", "", "musl"])
def test_only_ignored_signals_are_named_where_handlers_are_cleared_at_once(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda _: version)
    assert signal.SIGPIPE in spawn_call.default_signals()
    assert signal.SIGUSR1 not in spawn_call.default_signals()


def test_all_signals_are_named_where_each_would_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda _: "glibc 2.36")
    assert set(spawn_call.default_signals()) == signal.valid_signals()
