"""Asking a living supervisor from another process: stop, flush, cancel.

A Unix stream socket in the run's folder (0700, so that only its owner can connect); one JSON line each way, then closed.
The socket's path may be longer than the kernel's 108 bytes: it is reached through an open descriptor of the folder.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from orchestrator.errors import UserError

SOCKET_NAME = "control.sock"

_SAFE_PATH_BYTES = 90
_REQUEST_BYTES = 1 << 20


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Drain the run, or (`now`) end what runs at once."""

    now: bool = False


class Flush(msgspec.Struct, frozen=True, tag="flush"):
    """Make durable what has ended; disturb nothing."""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Cancel the run (None) or some items, each as (job id, index)."""

    items: list[tuple[str, int]] | None = None


Request = Stop | Flush | Cancel


class Reply(msgspec.Struct, frozen=True):
    """What the supervisor said: whether it does it, and a line for the user."""

    ok: bool
    message: str


class NoSupervisor(UserError):
    """Nobody supervises the run."""


class NoAnswer(NoSupervisor):
    """The supervisor ended, or was killed, before it answered: what was asked may be done or not."""


def ask(folder: Path, request: Request, timeout_seconds: float = 30.0) -> Reply:
    """Send `request` to the supervisor of the run in `folder` and wait for its answer. Raises NoSupervisor, UserError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_seconds)
        is_heard = False
        answer = b""
        try:
            with _reachable(folder) as address:
                connection.connect(address)
            is_heard = True
            connection.sendall(msgspec.json.encode(request) + b"\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except TimeoutError as error:
            raise UserError(
                f"run {folder.name}: its supervisor does not answer", "is it stopped (SIGSTOP)? `ps` tells; ask again later"
            ) from error
        except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError) as error:
            if not is_heard:
                raise NoSupervisor(f"run {folder.name} has no living supervisor", f"orchestrate resume {folder.name}") from error
    if not answer:
        raise NoAnswer(f"run {folder.name}: its supervisor ended before it answered", "orchestrate status tells where it stands")
    return msgspec.json.decode(answer, type=Reply)


class ControlServer:
    """The supervisor's side. It never blocks: a client that sends nothing is only a registered descriptor."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SOCKET_NAME
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _reachable(folder) as address:
            self._listener.bind(address)
        os.chmod(self._path, 0o600)
        self._listener.listen(16)
        self._listener.setblocking(False)
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}

    def filenos(self) -> list[int]:
        """Descriptors to wait for."""
        return [self._listener.fileno(), *self._clients]

    def poll(self, fileno: int) -> list[tuple[int, Request]]:
        """Requests that have arrived whole on `fileno`, each with the client to `answer`. New clients change `filenos`."""
        if fileno == self._listener.fileno():
            self._accept()
            return []
        connection, received = self._clients[fileno]
        try:
            data = connection.recv(65536)
        except BlockingIOError:
            return []
        except ConnectionError:
            data = b""
        received += data
        if not data or len(received) > _REQUEST_BYTES:
            self._drop(fileno)
            return []
        if not received.endswith(b"\n"):
            return []
        try:
            return [(fileno, msgspec.json.decode(bytes(received), type=Request))]
        except msgspec.DecodeError as error:
            self.answer(fileno, Reply(False, f"not understood: {error}"))
            return []

    def answer(self, client: int, reply: Reply) -> None:
        """Answer and let the client go. A client that has left is no error."""
        connection, _ = self._clients[client]
        # A client that left, or will not read: its own loss, and never ours to wait for.
        with contextlib.suppress(ConnectionError, BlockingIOError):
            connection.sendall(msgspec.json.encode(reply))
        self._drop(client)

    def close(self) -> None:
        """Take no more requests."""
        for client in list(self._clients):
            self._drop(client)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection.setblocking(False)
        self._clients[connection.fileno()] = (connection, bytearray())

    def _drop(self, client: int) -> None:
        self._clients.pop(client)[0].close()


@contextmanager
def _reachable(folder: Path) -> Iterator[str]:
    path = str(folder / SOCKET_NAME)
    if len(os.fsencode(path)) < _SAFE_PATH_BYTES or not os.path.isdir("/proc/self/fd"):
        yield path
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)
