"""Few open files: told before a run begins, and never a loop that spins at a door that cannot be opened."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.control.address import SOCKET_NAME
from orchestrator.control.server import ControlServer
from orchestrator.errors import ExitCode, StateUnwritableError
from orchestrator.runs import locking
from orchestrator.runs.locking import lock_run
from orchestrator.store.run_dir import create_run_dir
from orchestrator.supervisor import session
from orchestrator.system.locks.holders import is_locked


@contextlib.contextmanager
def only_free(count: int) -> Iterator[None]:
    """This process may open `count` more descriptors."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The kernel gives the lowest numbers that are free: below the one after `count` of them exactly these are.
    lowest = [os.dup(0) for _ in range(count + 1)]
    for fd in lowest:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest[-1], old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


def test_who_may_open_too_few_files_is_told_before_anything_is_taken(tmp_path: Path) -> None:
    run_dir = create_run_dir(tmp_path, "run")

    with only_free(10), pytest.raises(StateUnwritableError) as raised:
        lock_run(run_dir)

    assert "may open 10 more files" in raised.value.message
    assert "ulimit -n" in raised.value.hint
    assert raised.value.exit_code is ExitCode.STATE_UNWRITABLE
    assert not is_locked(run_dir.supervisor_lock)


def test_enough_open_files_are_no_hindrance(tmp_path: Path) -> None:
    with only_free(locking._LEAST_DESCRIPTORS):
        lock = lock_run(create_run_dir(tmp_path, "run"))
        lock.release()


def test_who_cannot_be_let_in_makes_the_supervisor_deaf_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("orchestrator.control.server.time.monotonic", lambda: now)
    server = ControlServer(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(tmp_path / SOCKET_NAME))
        (door,) = server.filenos()

        with only_free(0):
            assert server.poll(door) == []
            assert server.filenos() == []

        now += 0.25
        assert server.filenos() == [door]
        server.poll(door)
        assert len(server.filenos()) == 2
    server.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_supervisor_that_finds_no_descriptor_says_so_and_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def short(*_: object) -> int:
        raise OSError(number, os.strerror(number), "/proc/1/stat")

    monkeypatch.setattr(session, "_run_session", short)
    store = type("Store", (), {"run_dir": create_run_dir(tmp_path, "run")})()

    with pytest.raises(StateUnwritableError, match=r"/proc/1/stat"):
        session._with_shortages_told(store, None, None, None, None)  # type: ignore[arg-type]
