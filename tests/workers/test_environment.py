"""A worker has its environment in its memory alone, and nobody looks into that."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from drivers.worker_driver import WorkerDriver

from orchestrator.system.enclosing import worker_folder_of
from orchestrator.workers import channel, environment, warm_process
from orchestrator.workers.command_line import WorkerTold, worker_argv, worker_told
from orchestrator.workers.protocol import MARK_VARIABLE

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc, prctl")

LOOK = "tr '\\0' '\\n' < /proc/$PPID/environ; readlink /proc/$PPID/fd/3 || echo closed"


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerDriver]:
    monkeypatch.setenv("INHERITED", "from the supervisor")
    # Without CAP_SYS_PTRACE, which alone opens all processes to root: a worker has what the thread has that starts it.
    monkeypatch.setattr(warm_process, "_current", [])
    made: list[WorkerDriver] = []

    def make() -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(24, 19, 0, 0, 0)
        made.append(WorkerDriver(tmp_path))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    (driver,) = made
    yield driver
    driver.close()
    warm_process.let_go_of_warm_process()


@on_linux
def test_an_agent_finds_in_its_worker_nothing_that_it_is_not_given(worker: WorkerDriver) -> None:
    outcome = worker.shell(LOOK, env_allowed=["PATH"])
    said = (outcome.stdout.inline or b"").decode()
    assert "INHERITED" not in said
    assert said.endswith("closed\n")
    # What is meant for an item comes to it all the same.
    assert worker.shell('test -n "$INHERITED"').exit_code == 0


def test_an_environment_of_any_size_and_with_any_bytes_comes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[Mapping[bytes, bytes]] = []
    monkeypatch.setattr(environment, "_become", became.append)
    monkeypatch.setitem(os.environb, b"LARGE", b"x" * 1_000_000)
    monkeypatch.setitem(os.environb, b"LINES", b"a=b\n=c\xff")
    ours, theirs = channel.socket_pair()
    with ours, theirs:
        environment.hand_over_environment(ours)
        environment.take_over_environment(theirs)
    assert became == [dict(os.environb)]


def test_a_worker_whose_supervisor_is_gone_has_no_environment_to_wait_for() -> None:
    ours, theirs = channel.socket_pair()
    ours.close()
    with theirs:
        environment.take_over_environment(theirs)
    assert "PATH" in os.environ


def test_a_bare_environment_has_what_python_needs_and_the_mark_by_which_a_nested_worker_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LC_ALL", "ANTHROPIC_API_KEY", "SSH_AUTH_SOCK", MARK_VARIABLE):
        monkeypatch.setenv(name, "x")
    bare = environment.bare_environment()
    assert bare[b"LC_ALL"] == bare[MARK_VARIABLE.encode()] == b"x"
    assert not {b"ANTHROPIC_API_KEY", b"SSH_AUTH_SOCK"} & bare.keys()


def test_a_command_line_tells_of_a_worker_what_its_environment_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARK_VARIABLE, "r.n/a/1")
    assert worker_told(worker_argv("/run/workers/0")) == WorkerTold("/run/workers/0", "r.n/a/1")
    monkeypatch.delenv(MARK_VARIABLE)
    assert worker_told(worker_argv("/run/workers/0")) == WorkerTold("/run/workers/0", "")
    for other in ([], ["sh"], ["python", "-I", "-S", "main.py", "/x"], ["python", "-I", "-S", "/workers/__main__.py", "x"]):
        assert worker_told(other) is None


@on_linux
def test_a_worker_is_told_by_its_command_line_where_nobody_sees_its_files(
    worker: WorkerDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process that was just started has no command line yet.
    worker.run("true")
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if str(path).startswith(f"/proc/{worker.pid}/"):
            raise PermissionError
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert worker_folder_of(worker.pid) == str(worker.folder)


HIDE = """
import os, sys
sys.path[:] = {path!r}
from orchestrator.system.hidden_environment import hide_environment
hide_environment()
assert os.environ["SECRET"] == "s-1" == os.popen("echo $SECRET").read().strip()
import ctypes
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
print(*open(f"/proc/{{os.getpid()}}/environ").read().strip("\\0").split("\\0") if {is_nested} else (), sep="\\n")
"""


@on_linux
@pytest.mark.parametrize("is_nested", [False, True])
def test_a_supervisor_is_closed_and_one_inside_of_an_item_shows_its_mark_alone(is_nested: bool, tmp_path: Path) -> None:
    """What a killed worker left is found by its mark: a nested supervisor that nobody finds would start agents for ever."""
    mark = {MARK_VARIABLE: "r.n/a/1", "ORCHESTRATE_WORKER": str(tmp_path)} if is_nested else {}
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", HIDE.format(path=sys.path, is_nested=is_nested)],
        env={"PATH": os.environ["PATH"], "SECRET": "s-1", **mark},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert told.stderr == ""
    is_readable, *shown = told.stdout.split()
    assert is_readable == ("1" if is_nested else "0")
    assert shown == [f"{name}={value}" for name, value in mark.items()]
