"""One socket carries the locks of one attempt after another: none is held longer than its own attempt."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.workers.processes.carried_locks import LockCarrier


@pytest.fixture
def carrier() -> Iterator[LockCarrier]:
    carrier = LockCarrier()
    yield carrier
    carrier.close()


def locked(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def is_locked(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def carry_one(carrier: LockCarrier, path: Path) -> int:
    """What a process inherits for a lock of which nobody else has a copy any more."""
    lock = locked(path)
    [inherited] = carrier.carry([lock])
    os.close(lock)
    return inherited


def test_each_lock_is_held_until_its_own_attempt_has_ended(carrier: LockCarrier, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    inherited = carry_one(carrier, first)
    assert is_locked(first)
    carrier.let_go()
    assert not is_locked(first)
    assert carry_one(carrier, second) == inherited, "the same socket"
    assert is_locked(second)
    assert not is_locked(first)


def test_a_process_holds_the_locks_though_its_worker_is_gone(carrier: LockCarrier, tmp_path: Path) -> None:
    agents = os.dup(carry_one(carrier, tmp_path / "lock"))
    carrier.close()
    assert is_locked(tmp_path / "lock")
    os.close(agents)
    assert not is_locked(tmp_path / "lock")


def shut(agents: socket.socket) -> None:
    agents.shutdown(socket.SHUT_RDWR)


def fill(agents: socket.socket) -> None:
    agents.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            agents.send(b"x" * 4096)


def receive(agents: socket.socket) -> None:
    _, descriptors, _, _ = socket.recv_fds(agents, 16, 8)
    for fd in descriptors:
        os.close(fd)


@pytest.mark.parametrize("spoil", [shut, fill, receive])
def test_what_an_agent_does_to_the_socket_harms_no_later_attempt(
    carrier: LockCarrier, tmp_path: Path, spoil: Callable[[socket.socket], None]
) -> None:
    with socket.socket(fileno=os.dup(carry_one(carrier, tmp_path / "first"))) as agents:
        spoil(agents)
    carrier.let_go()
    assert not is_locked(tmp_path / "first")
    carry_one(carrier, tmp_path / "second")
    assert is_locked(tmp_path / "second")
    carrier.let_go()
    assert not is_locked(tmp_path / "second")
