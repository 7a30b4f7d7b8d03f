"""The check that every test with a home ends with: nothing that a test starts stays behind unseen."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from drivers import processes
from drivers.processes import is_living, kill, no_process_left, processes_of, wait_until

WAIT_FOR_EVER = "echo ready; read word"


@contextmanager
def waiting_process(*arguments: str, cwd: Path, env: dict[str, str]) -> Iterator[int]:
    """A process in a session of its own that waits until it is killed; gives its pid once it runs."""
    argv = ["/bin/sh", "-c", WAIT_FOR_EVER, "sh", *arguments]
    with subprocess.Popen(
        argv, cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


def pids_of(home: Path) -> list[int]:
    return [process.pid for process in processes_of(home)]


def test_a_detached_process_is_found_by_the_home_in_its_environment(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with waiting_process(cwd=Path("/"), env={**os.environ, "ORCHESTRATE_HOME": str(home)}) as pid:
        assert pids_of(home) == [pid]


def test_it_is_found_by_its_command_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with waiting_process(str(home / "runs" / "x"), cwd=Path("/"), env={}) as pid:
        assert pids_of(home) == [pid]


def test_it_is_found_by_its_folder_when_its_environment_is_empty(tmp_path: Path) -> None:
    with waiting_process(cwd=tmp_path, env={}) as pid:
        assert pids_of(tmp_path / "home") == [pid]


def test_the_processes_of_another_home_are_not_found(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    theirs = tmp_path / "two"
    with waiting_process(cwd=theirs, env={**os.environ, "ORCHESTRATE_HOME": str(theirs / "home")}):
        assert pids_of(tmp_path / "one" / "home") == []


def test_what_is_found_can_be_ended(tmp_path: Path) -> None:
    with waiting_process(cwd=tmp_path, env={}):
        kill(processes_of(tmp_path / "home"))
        assert pids_of(tmp_path / "home") == []


def test_a_test_that_leaves_a_process_behind_fails_and_the_process_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "SETTLE_SECONDS", 0)
    with ExitStack() as processes_behind:
        with pytest.raises(pytest.fail.Exception, match=WAIT_FOR_EVER), no_process_left(tmp_path / "home"):
            pid = processes_behind.enter_context(waiting_process(cwd=tmp_path, env={}))
        wait_until(lambda: not is_living(pid), "it is ended")
