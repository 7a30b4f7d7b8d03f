"""A program in an item tries to steer runs by their sockets, in every way that leads away from what it is."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers.processes import LIMIT_SECONDS, wait_until
from drivers.run_driver import RunDriver
from drivers.worker_driver import WorkerDriver

from orchestrator.control import requester as requester_module
from orchestrator.control.client import ask
from orchestrator.control.messages import Reply, StopRequest
from orchestrator.control.permits import NotPermitted, check_permit
from orchestrator.control.requester import Requester
from orchestrator.control.server import ControlServer
from orchestrator.system.process_chain import chain_of
from orchestrator.workers.launch import lock_liveness
from orchestrator.workers.log import LogWriter
from orchestrator.workers.processes.identity import boot_id
from orchestrator.workers.protocol import AttemptClass, Begun, Holding

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a worker that is its own subreaper, and SO_PEERCRED")

HOSTILE = """
import os, socket, sys
path, answers, *ways = sys.argv[1:]
STOP = b'{"type":"stop"}\\n'
OTHER = r'''
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    connection.sendall(b'{"type":"stop"}\\n')
    with open(sys.argv[2], "ab") as file:
        file.write(connection.makefile("rb").read() + b"\\n")
'''

def scrubbed():
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", OTHER, path, answers], {})

def in_a_session_of_its_own():
    os.setsid()
    scrubbed()

def by_a_double_fork():
    middle = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == middle:
        os.sched_yield()
    in_a_session_of_its_own()

def plainly():
    sys.argv[1:] = path, answers
    exec(OTHER, {})
    os._exit(0)

def and_is_gone():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.sendall(STOP)
    os._exit(0)

if ways == ["alone"]:
    plainly()
for way in ways:
    # What it leaves behind has the pipe, too: its end is the end of the last of them.
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    if os.fork() == 0:
        globals()[way]()
    os.close(writing)
    os.read(reading, 1)
    os.wait()
"""
WAYS = ["plainly", "in_a_session_of_its_own", "by_a_double_fork"]


class Door:
    """A supervisor's socket, served by a thread that checks each request and carries none out."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "control.sock"
        self.heard: list[Requester] = []
        self._folder = folder
        self._server = ControlServer(folder)
        self._ends, self._over = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._ends, *self._server.filenos()], [], [], 1.0)
            if self._ends in ready:
                return
            for fileno in ready:
                for client, request, requester in self._server.poll(fileno):
                    try:
                        check_permit(requester, request, self._folder)
                        reply = Reply(True, "yes")
                    except NotPermitted as error:
                        reply = Reply(False, error.message)
                    self.heard.append(requester)
                    self._server.answer(client, reply)

    def close(self) -> None:
        os.close(self._over)
        self._thread.join(LIMIT_SECONDS)
        self._server.close()
        os.close(self._ends)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path / "home" / "runs" / "victim")
    yield made
    made.close()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerDriver]:
    driver = WorkerDriver(tmp_path / "home" / "runs" / "outer")
    yield driver
    driver.close()


def knows_peers() -> bool:
    """Whether the kernel knows which process connected, whatever number it had (Linux 6.5)."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            os.close(ours.getsockopt(socket.SOL_SOCKET, 77))
        except OSError:
            return False
    return True


def told(answers: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in answers.read_text().splitlines()]
    answers.unlink()
    return found


def hostile(door: Path, answers: Path, *ways: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", HOSTILE, str(door), str(answers), *ways]


def tries(worker: WorkerDriver, door: Door, answers: Path, *ways: str, **held: Any) -> list[dict[str, Any]]:
    holding = Holding(run=str(worker.root), root=str(worker.root), item="port:3", **held)
    outcome = worker.run(*hostile(door.path, answers, *ways), mark="outer.n/port:3/1", holding=holding)
    assert outcome.attempt_class is AttemptClass.OK, outcome.message
    return told(answers)


REFUSED = {"ok": False, "message": "asked from inside item port:3 of run outer: it may look, not steer"}


def test_no_process_of_an_item_steers_a_run_however_it_was_started(worker: WorkerDriver, door: Door, tmp_path: Path) -> None:
    assert tries(worker, door, tmp_path / "answers", *WAYS) == [REFUSED] * len(WAYS)
    # What its job says holds for all that it starts, but not where an attempt around it is not there to say so too.
    assert tries(worker, door, tmp_path / "answers", "alone", control=True)[0]["ok"]
    assert tries(worker, door, tmp_path / "answers", "alone", control=True, parent=str(tmp_path / "killed")) == [REFUSED]
    assert ask(door.path.parent, StopRequest()).ok, "this shell may"
    assert door.heard[-1].pid == os.getpid()


def test_who_is_gone_before_it_is_looked_at_steers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of all items, so that nothing else refuses it. Its number is another's by now, if the kernel can tell that."""
    if knows_peers():
        monkeypatch.setattr(requester_module, "chain_of", lambda _pid: chain_of(os.getpid()))
    server = ControlServer(tmp_path)
    argv = hostile(tmp_path / "control.sock", tmp_path / "answers", "and_is_gone")
    subprocess.run(argv, check=True, timeout=LIMIT_SECONDS)
    (listener,) = server.filenos()
    server.poll(listener)
    client = next(each for each in server.filenos() if each != listener)
    ((_, request, requester),) = server.poll(client)
    server.close()
    assert not requester.is_known
    with pytest.raises(NotPermitted, match="who asks could not be found out"):
        check_permit(requester, request, tmp_path)


def test_what_is_left_of_a_killed_worker_is_known_by_the_leader_of_its_session(
    worker: WorkerDriver, door: Door, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    script = 'read word < "$1"; shift; (env -i "$@" &); exec sleep 600'
    argv = ["/bin/sh", "-c", script, "sh", str(tmp_path / "go")]
    worker.start(*argv, *hostile(door.path, tmp_path / "answers", "alone"), mark="outer.n/port:3/1")
    agent = worker.agent().pid
    try:
        worker.kill()
        (tmp_path / "go").write_text("go\n")
        wait_until(lambda: (tmp_path / "answers").exists() and (tmp_path / "answers").read_text(), "the answer")
        assert told(tmp_path / "answers") == [REFUSED]
    finally:
        os.kill(agent, signal.SIGKILL)


def test_an_item_of_a_supervisor_without_workers_is_in_an_item_too(door: Door, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "runs" / "inline" / "workers" / "0"
    folder.mkdir(parents=True)
    fd = lock_liveness(str(folder))  # this process holds the liveness lock, as an inline supervisor does
    try:
        log = LogWriter(str(folder / "log"))
        holding = Holding(run=str(folder.parent.parent), root=str(folder.parent.parent), item="go:1")
        log.append(Begun(sequence=1, boot_id=boot_id(), mark="inline.n/go:1/1", holding=holding))
        log.close()
        argv = hostile(door.path, tmp_path / "answers", "alone")
        subprocess.run(argv, check=True, timeout=LIMIT_SECONDS, env={})
        (answer,) = told(tmp_path / "answers")
        assert answer["message"].startswith("asked from inside item go:1 of run inline")
        assert ask(door.path.parent, StopRequest()).ok, "the supervisor itself is in none"
    finally:
        os.close(fd)


# The commands.

ORCHESTRATE = shlex.join([sys.executable, "-m", "orchestrator"])
STEERING = [
    "approve r g",
    "set r slots=3",
    "set r budget_usd=9",
    "cancel r",
    "cancel r work",
    "cancel r work --replaced-by other/x",
    "retry r before",
    "stop r --now",
    "pause r",
    "flush r",
    "prune --older-than 1s",
    "agents --forget-limits",
    "doctor --orphans --kill",
]
AROUND = ["", 'env -i HOME="$HOME" ORCHESTRATE_HOME="$ORCHESTRATE_HOME" PATH="$PATH" ', "setsid -w "]
JOBS = """
[run]
slots = 2
[jobs.before]
shell = "true"
[jobs.g]
gate = "Go on?"
[jobs.work]
KEYS
shell = '''SCRIPT'''
[jobs.behind]
needs = ["g"]
shell = "echo behind"
"""


@pytest.mark.slow
@pytest.mark.parametrize("around", AROUND, ids=["plainly", "without environment", "in a session of its own"])
def test_every_command_that_steers_is_refused_inside_an_item_and_the_run_goes_on(driver: RunDriver, around: str) -> None:
    script = "\n".join(f"{around}{ORCHESTRATE} {words} 2>>said; echo $? >>codes" for words in STEERING)
    looks = f"{around}{ORCHESTRATE} status r >looked && {around}{ORCHESTRATE} why r g >>looked"
    driver.write(JOBS.replace("KEYS", "").replace("SCRIPT", f"set +e\n{script}\n{looks}"))
    driver.run_id = "r"
    driver.assert_exit(driver.run(), 3)
    assert (driver.folder / "codes").read_text().split() == ["2"] * len(STEERING)
    said = (driver.folder / "said").read_text()
    assert said.count("asked from inside item work of run r: it may look, not steer") == len(STEERING), said
    assert {each["item"]: each["status"] for each in driver.results()} == {
        "before": "succeeded",
        "g": "waiting",
        "work": "succeeded",
        "behind": "pending",
    }
    assert (driver.run_folder / "supervisor.log").read_text().count("wanted to steer this run, and was refused") == 1
    driver.assert_exit(driver.launch("approve", "r", "g", "--resume"), 0)


@pytest.mark.slow
def test_an_item_with_control_answers_a_gate_of_its_own_run_and_that_is_told(driver: RunDriver) -> None:
    driver.write(JOBS.replace("KEYS", "control = true").replace("SCRIPT", f"{ORCHESTRATE} approve r g"))
    driver.run_id = "r"
    driver.assert_exit(driver.run(), 0)
    why = driver.launch("why", "r", "g")
    driver.assert_exit(why, 0)
    assert "item r/work)" in why.stdout
