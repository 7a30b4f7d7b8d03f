"""Asking a living supervisor from another process: one JSON line each way, then the connection is closed.

Promise: an asker is told whether the supervisor took the request: `NoSupervisor` if it never did, `NoAnswer` if nobody knows,
`RunHeldError` if the supervisor is alive and silent. Nobody waits longer than `timeout_seconds` for it.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.control.address import reachable
from orchestrator.control.messages import Reply, Request
from orchestrator.errors import RunHeldError, UserError
from orchestrator.system.locks.holders import holder_pid, is_locked, is_stopped
from orchestrator.workers.byte_text import encode_json, json_decoder
from orchestrator.workers.foreign import ForeignBytesError, decode_struct
from orchestrator.workers.processes.spawn import SHORTAGES

_SOON_SECONDS = 1.0
"""A supervisor that has not answered by then may be stopped: that is looked at."""

_ONCE_TOO_LONG_BYTES = 1 << 20
"""What supervisors of earlier versions took at most."""

_QUEUE_SECONDS = 0.05
"""Between two tries to connect to a supervisor that begins, ends, or has too many at its door."""

_decode: Callable[[bytes], Reply] = json_decoder(Reply)


class NoSupervisor(UserError):
    """Nobody supervises the run."""


class NoAnswer(NoSupervisor):
    """The supervisor ended, or was killed, before it answered: what was asked may be done or not."""


def ask(folder: Path, request: Request, timeout_seconds: float = 30.0) -> Reply:
    """Send `request` to the supervisor of the run in `folder` and wait for its answer. Raises NoSupervisor, RunHeldError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_seconds)
        is_heard = False
        answer = bytearray()
        line = b""
        try:
            _connect(connection, folder, timeout_seconds)
            # From here on a broken connection no longer means that there is no supervisor: it may have read the request.
            is_heard = True
            line = encode_json(request) + b"\n"
            # Who does not read on may have answered all the same.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(line)
            # A stopped supervisor would keep the asker for the whole timeout: look whether it is one as soon as it is slow.
            if not select.select([connection], [], [], min(timeout_seconds, _SOON_SECONDS))[0]:
                _refuse_stopped(folder)
            while data := connection.recv(65536):
                answer += data
        except TimeoutError as error:
            raise RunHeldError(f"run {folder.name}: its supervisor does not answer", "ask again later") from error
        except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError) as error:
            if not is_heard:
                raise NoSupervisor(f"run {folder.name} has no living supervisor", f"orchestrate resume {folder.name}") from error
        except OSError as error:
            # What stands there is no socket, and no supervisor can have put it there.
            if is_heard or error.errno in SHORTAGES:
                raise
            raise NoSupervisor(
                f"run {folder.name}: its supervisor cannot be asked: {error.strerror}", f"orchestrate resume {folder.name}"
            ) from error
    # The connection ended without a line: the supervisor died after it had taken the request, and nobody knows what it did.
    if not answer:
        # A supervisor of an earlier version lets go of who sends it so much, and lives.
        if len(line) > _ONCE_TOO_LONG_BYTES and is_locked(folder / "supervisor.lock"):
            raise UserError(
                f"run {folder.name}: its supervisor took no request of {len(line) >> 20} MiB",
                "ask for fewer items at a time",
            )
        raise NoAnswer(f"run {folder.name}: its supervisor ended before it answered", "orchestrate status tells where it stands")
    try:
        return decode_struct(_decode, bytes(answer))
    except ForeignBytesError as error:
        # Cut off by its end; or the supervisor is of another version.
        raise NoAnswer(
            f"run {folder.name}: its supervisor's answer is {error}", "orchestrate status tells where it stands"
        ) from error


def _connect(connection: socket.socket, folder: Path, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            with reachable(folder) as address:
                return connection.connect(address)
        except (BlockingIOError, FileNotFoundError, ConnectionRefusedError) as error:
            # BlockingIOError: the queue at the socket is full. Else nobody listens: if a supervisor holds the lock of the run, it
            # begins or ends just now, and is asked again; if none does, there is nobody to ask.
            if not isinstance(error, BlockingIOError) and not is_locked(folder / "supervisor.lock"):
                raise
            _refuse_stopped(folder)
            if time.monotonic() >= deadline:
                raise TimeoutError from error
            time.sleep(_QUEUE_SECONDS)


def stopped_supervisor(folder: Path) -> int | None:
    """The process that supervises the run in `folder`, if it is stopped: it hears nothing before it goes on."""
    pid = holder_pid(folder / "supervisor.lock")
    return pid if pid is not None and is_stopped(pid) else None


def _refuse_stopped(folder: Path) -> None:
    """Raise RunHeldError if the supervisor of the run in `folder` is stopped: it cannot answer before it goes on.

    What was asked already it does not do then: who is gone by that time is not known, and steers nothing (`permits`).
    """
    if (pid := stopped_supervisor(folder)) is not None:
        raise RunHeldError(
            f"run {folder.name}: its supervisor does not answer: process {pid} is stopped (SIGSTOP)",
            f"kill -CONT {pid} lets it go on, then ask again",
        )
