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


SEEN = """
import ctypes, os, sys
sys.path[:] = {path!r}
from orchestrator.system.hidden_environment import hide_environment
libc = ctypes.CDLL(None)
if os.geteuid() == 0:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    libc.prctl(4, 1, 0, 0, 0)  # as a program that this user has started is
supervisor = os.getpid()

def tell_what_another_process_finds(tries_to_stop):
    agent = os.fork()
    if agent == 0:
        libc.prctl(4, 1, 0, 0, 0)
        for name in ("environ", "auxv", "maps"):
            try:
                with open(f"/proc/{{supervisor}}/{{name}}", "rb") as file:
                    os.write(1, f"{{name}}: {{len(file.read()) > 0}}\\n".encode())
            except PermissionError:
                os.write(1, f"{{name}}: closed\\n".encode())
        for name in ("fd", "mem") if tries_to_stop else ():
            try:
                os.listdir(f"/proc/{{supervisor}}/{{name}}") if name == "fd" else open(f"/proc/{{supervisor}}/{{name}}", "rb")
            except PermissionError:
                os.write(1, f"{{name}}: closed\\n".encode())
        if tries_to_stop and libc.ptrace(0x4206, supervisor, 0, 0) == -1:
            os.write(1, b"ptrace: closed\\n")
        os._exit(0)
    os.waitpid(agent, 0)

tell_what_another_process_finds(False)
hide_environment()
tell_what_another_process_finds(True)
"""


@on_linux
def test_what_an_agent_finds_of_a_supervisor_of_its_user_is_closed_to_it() -> None:
    """Root may look into all, so as root this is tried by two processes of nobody's."""
    bare = {name: value for name, value in os.environ.items() if name not in (MARK_VARIABLE, "ORCHESTRATE_WORKER")}
    argv = [sys.executable, "-I", "-S", "-c", SEEN.format(path=sys.path)]
    told = subprocess.run(argv, env=bare, capture_output=True, text=True, check=False, timeout=30)
    assert told.stderr == ""
    opened = ["environ: True", "auxv: True", "maps: True"]
    assert told.stdout.splitlines() == [
        *opened,
        *(f"{each}: closed" for each in ("environ", "auxv", "maps", "fd", "mem", "ptrace")),
    ]
