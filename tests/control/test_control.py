"""Asking a supervisor that has no ear: it is stopped, it is just beginning, it is gone."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from drivers.processes import without_threads
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.control import client as control
from orchestrator.control import named_items
from orchestrator.control.address import SOCKET_NAME, reachable
from orchestrator.control.client import NoAnswer, NoSupervisor, ask
from orchestrator.control.messages import CancelRequest, CountWaiting, Reply, Request, RetryRequest, StopRequest
from orchestrator.control.named_items import NamedItems
from orchestrator.control.requester import Requester
from orchestrator.control.server import ControlServer
from orchestrator.errors import ExitCode, RunHeldError, StateUnwritableError, UserError
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.byte_text import encode_json

HOLDER = """
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_stopped_holder_of_a_run_without_a_socket_is_named_and_not_taken_for_dead(tmp_path: Path) -> None:
    lock = tmp_path / "supervisor.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            holder.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, holder.pid, os.WSTOPPED)
            with pytest.raises(RunHeldError, match=rf"process {holder.pid} is stopped \(SIGSTOP\)") as raised:
                ask(tmp_path, StopRequest())
        finally:
            holder.kill()
    assert raised.value.exit_code is ExitCode.HELD
    with pytest.raises(NoSupervisor):
        ask(tmp_path, StopRequest())


def test_the_door_is_for_its_owner_alone_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        server = ControlServer(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "control.sock").stat().st_mode & 0o777 == 0o600
    server.close()


def test_a_supervisor_that_is_just_beginning_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = try_lock(tmp_path / "supervisor.lock")
    assert lock is not None
    looked = threading.Event()
    is_locked = control.is_locked

    def seen(path: Path) -> bool:
        looked.set()
        return is_locked(path)

    monkeypatch.setattr(control, "is_locked", seen)
    answers: list[Reply] = []
    asker = threading.Thread(target=lambda: answers.append(ask(tmp_path, StopRequest(), 30.0)))
    asker.start()
    assert looked.wait(30), "it finds no socket"
    server = ControlServer(tmp_path)
    (door,) = server.filenos()
    os.set_blocking(door, True)
    server.poll(door)
    client = next(fileno for fileno in server.filenos() if fileno != door)
    os.set_blocking(client, True)
    ((_, request, requester),) = server.poll(client)
    assert request == StopRequest()
    assert requester.pid == os.getpid(), "the kernel tells who has connected"
    server.answer(client, Reply(True, "yes"))
    asker.join(30)
    server.close()
    os.close(lock)
    assert answers == [Reply(True, "yes")]
    assert not (tmp_path / SOCKET_NAME).exists()


@pytest.mark.parametrize("other", ["nothing", "a file", "another socket"])
def test_a_socket_that_is_taken_away_is_put_back_and_nobody_at_the_old_door_is_lost(tmp_path: Path, other: str) -> None:
    path = tmp_path / SOCKET_NAME
    server = ControlServer(tmp_path)
    assert not server.keep(), "its own stands there"
    with socket.socket(socket.AF_UNIX) as early, socket.socket(socket.AF_UNIX) as late, socket.socket(socket.AF_UNIX) as foreign:
        early.connect(str(path))
        path.rename(tmp_path / "away")  # its inode is not free for another
        if other == "a file":
            path.touch()
        elif other == "another socket":
            foreign.bind(str(path))
        assert server.keep()
        assert not server.keep()
        door, client = server.filenos()
        late.connect(str(path))
        server.poll(door)
        assert len(server.filenos()) == 3
        early.sendall(encode_json(StopRequest()) + b"\n")
        assert [request for _, request, _ in server.poll(client)] == [StopRequest()]
    server.close()


def test_a_folder_in_place_of_the_socket_leaves_the_supervisor_as_it_is_until_it_is_removed(tmp_path: Path) -> None:
    path = tmp_path / SOCKET_NAME
    server = ControlServer(tmp_path)
    path.unlink()
    path.mkdir()
    assert not server.keep()
    path.rmdir()
    assert server.keep()
    path.unlink()
    path.mkdir()
    with pytest.raises(StateUnwritableError, match="cannot listen there: Is a directory"):
        ControlServer(tmp_path)
    server.close()


@pytest.mark.parametrize(
    "request_line",
    [b"[" * 5000, b'{"type":"stop","now":' + b"[" * 990 + b"]" * 990 + b"}", b"\xff\xfe", b'{"type":"dance"}', b"9" * 400],
)
def test_what_is_no_request_is_told_to_its_client_and_concerns_nobody_else(tmp_path: Path, request_line: bytes) -> None:
    server = ControlServer(tmp_path)
    (door,) = server.filenos()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(tmp_path / SOCKET_NAME))
        connection.sendall(request_line + b"\n")
        server.poll(door)
        client = next(fileno for fileno in server.filenos() if fileno != door)
        assert server.poll(client) == []
        assert b"not understood: it is " in connection.recv(65536)
    assert server.filenos() == [door]
    server.close()


@pytest.mark.parametrize("answer", [b"[" * 5000, b'{"ok":tr', b"\xff\xfe"])
def test_an_answer_that_cannot_be_read_leaves_the_asker_where_no_answer_does(tmp_path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / SOCKET_NAME))
        listener.listen()

        def say() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        supervisor = threading.Thread(target=say)
        supervisor.start()
        with pytest.raises(NoAnswer, match="its supervisor's answer is"):
            ask(tmp_path, StopRequest())
        supervisor.join(30)


def answered(tmp_path: Path, request: Request, reply: Reply | None = None) -> tuple[Reply, int]:
    """What a client hears that asks a server here, which answers with `reply`; and how much of it the server kept at most."""
    answers: list[Reply] = []
    server = ControlServer(tmp_path)
    asker = threading.Thread(target=lambda: answers.append(ask(tmp_path, request, 30.0)))
    asker.start()
    kept = 0
    while asker.is_alive():
        for fileno in select.select(server.filenos(), [], [], 0.01)[0]:
            for client, _, _ in server.poll(fileno):
                server.answer(client, reply or Reply(True, "yes"))
            kept = max([kept, *(len(client.received) for client in server._clients.values())])
    asker.join()
    server.close()
    return answers[0], kept


def test_a_request_that_is_too_long_is_read_to_its_end_and_refused_in_words(tmp_path: Path) -> None:
    told, kept = answered(tmp_path, RetryRequest([("a", 0)], feedback="x" * (9 << 20)))
    assert told == Reply(False, "the request is longer than 8 MiB: ask for fewer items at a time")
    assert kept < 9 << 20


def test_an_answer_that_no_socket_has_room_for_arrives_whole(tmp_path: Path) -> None:
    long = Reply(True, "", waiting={f"a job with a long name {number}": number for number in range(40_000)})
    assert answered(tmp_path, CountWaiting(), long)[0] == long


def test_an_answer_for_which_there_is_no_thread_is_cut_and_the_next_client_is_served(tmp_path: Path) -> None:
    server = ControlServer(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        with reachable(tmp_path) as address:
            connection.connect(address)
        connection.sendall(msgspec.json.encode(CountWaiting()) + b"\n")
        asked: list[tuple[int, Request, Requester]] = []
        while not asked:
            asked = [each for fileno in select.select(server.filenos(), [], [], 30)[0] for each in server.poll(fileno)]
        with without_threads():
            server.answer(asked[0][0], Reply(True, "x" * (4 << 20)))
        connection.settimeout(30)
        heard = b"".join(iter(lambda: connection.recv(65536), b""))
    server.close()
    assert 0 < len(heard) < 4 << 20
    assert answered(tmp_path, StopRequest())[0] == Reply(True, "yes")


def test_a_supervisor_of_an_earlier_version_that_cuts_a_long_request_off_is_not_taken_for_dead(tmp_path: Path) -> None:
    lock = try_lock(tmp_path / "supervisor.lock")
    assert lock is not None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with reachable(tmp_path) as address:
        listener.bind(address)
    listener.listen()

    def cut_off() -> None:
        with listener.accept()[0] as connection:
            connection.recv(65536)

    supervisor = threading.Thread(target=cut_off)
    supervisor.start()
    with pytest.raises(UserError, match=r"its supervisor took no request of 2 MiB") as raised:
        ask(tmp_path, RetryRequest([("a", 0)], feedback="x" * (2 << 20)), 30.0)
    assert not isinstance(raised.value, NoSupervisor)
    supervisor.join(30)
    listener.close()
    os.close(lock)


def test_a_hundred_thousand_items_fit_into_a_request() -> None:
    every = [("port", index) for index in range(100_000)]
    assert len(msgspec.json.encode(CancelRequest.of(every))) < 100
    assert len(msgspec.json.encode(RetryRequest.of(every[::2]))) < 1 << 20


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), unique=True))
def test_items_are_named_one_by_one_or_as_ranges_and_are_the_same(items: list[tuple[str, int]]) -> None:
    ranges = NamedItems([], named_items._as_ranges(items)).ranges
    assert sorted(named_items.all_items([], ranges)) == sorted(items)
    few = CancelRequest.of(items)
    assert (few.items, few.ranges) == (items, {}), "a supervisor of an earlier version understands that"
