"""Asking a living supervisor from another process: stop, pause, flush, cancel, other slots, why an item waits.

A Unix stream socket in the run's folder (0700, so that only its owner can connect); one JSON line each way, then closed.
The socket's path may be longer than the kernel's 108 bytes: it is reached through an open descriptor of the folder.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from orchestrator.errors import RunHeldError, UserError
from orchestrator.system.locks.holders import holder_pid, is_locked, is_stopped
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.processes.spawn import SHORTAGES

SOCKET_NAME = "control.sock"

_SAFE_PATH_BYTES = 90
_SOON_SECONDS = 1.0
"""A supervisor that has not answered by then may be stopped: that is looked at."""
_QUEUE_SECONDS = 0.05
_REQUEST_BYTES = 1 << 20
_DEAF_SECONDS = 0.25
"""How long nobody is let in after that was impossible: who waits at the door keeps it readable, and the loop would spin."""


class StopRequest(msgspec.Struct, frozen=True, tag="stop"):
    """Drain the run, or (`now`) end what runs at once."""

    now: bool = False


class Flush(msgspec.Struct, frozen=True, tag="flush"):
    """Make durable what has ended; disturb nothing."""


class CancelRequest(msgspec.Struct, frozen=True, tag="cancel"):
    """Cancel the run (None) or some items, each as (job id, index).

    `replaced_by` (`RUN/ITEM`): on behalf of an item that takes the token of these (`if_running = "replace"`).
    """

    items: list[tuple[str, int]] | None = None
    replaced_by: str | None = None


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Start nothing more, let what runs finish however long it takes, and end `paused`."""


class SetSlots(msgspec.Struct, frozen=True, tag="set_slots"):
    """From now on so many items at once (at least 1), also in resumes."""

    slots: int


class SetBudget(msgspec.Struct, frozen=True, tag="set_budget"):
    """From now on the run (`job` ""), or this job, may cost so much: dollars (`budget_usd`) or tokens; also in resumes."""

    kind: Literal["budget_usd", "budget_tokens"]
    amount: float
    job: str = ""


class Explain(msgspec.Struct, frozen=True, tag="explain"):
    """Why these items, each (job id, index), wait. The reply's `waits` has one entry for each, in this order."""

    items: list[tuple[str, int]]


class CountWaiting(msgspec.Struct, frozen=True, tag="count_waiting"):
    """How many items of each job wait, holding nothing, of which the records tell only some; and which accounts are spared."""


class Approve(msgspec.Struct, frozen=True, tag="approve"):
    """The choice that somebody made at these gates, each (job id, index). `choice` None: the one that approves."""

    items: list[tuple[str, int]]
    choice: str | None = None
    message: str = ""


class GoOn(msgspec.Struct, frozen=True, tag="go_on"):
    """The child run of this item, (job id, index), has the answer that it waited for."""

    item: tuple[str, int]


class RetryRequest(msgspec.Struct, frozen=True, tag="retry"):
    """Run these items, each (job id, index), one more time; `feedback`, `model` and `prompt` as in `records.RetryAsked`."""

    items: list[tuple[str, int]]
    feedback: str = ""
    model: str | None = None
    prompt: str | None = None


Request = (
    StopRequest | Flush | CancelRequest | Pause | SetSlots | SetBudget | Explain | CountWaiting | Approve | GoOn | RetryRequest
)


class WhyItWaits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an item that has not ended waits for: `words`, empty if it waits for nothing (it runs), and who holds it.

    `holders` are processes, as far as they are known; whether one of them is stopped is for the asker to find out.
    `is_waiting`: it was tried, and holds nothing; else it stands in the line.
    """

    words: str = ""
    holders: list[int] = []
    is_waiting: bool = False


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the supervisor said: whether it does it, and a line for the user.

    `waits`: the answer to `Explain`; `waiting`, job id -> items, and `spared`, a line an account: to `CountWaiting`.
    """

    ok: bool
    message: str
    waits: list[WhyItWaits] = []
    waiting: dict[str, int] = {}
    spared: list[str] = []


class NoSupervisor(UserError):
    """Nobody supervises the run."""


class NoAnswer(NoSupervisor):
    """The supervisor ended, or was killed, before it answered: what was asked may be done or not."""


def ask(folder: Path, request: Request, timeout_seconds: float = 30.0) -> Reply:
    """Send `request` to the supervisor of the run in `folder` and wait for its answer. Raises NoSupervisor, RunHeldError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_seconds)
        is_heard = False
        answer = b""
        try:
            _connect(connection, folder, timeout_seconds)
            is_heard = True
            connection.sendall(msgspec.json.encode(request) + b"\n")
            if not select.select([connection], [], [], min(timeout_seconds, _SOON_SECONDS))[0]:
                _refuse_stopped(folder, "then it does what was asked")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except TimeoutError as error:
            raise RunHeldError(f"run {folder.name}: its supervisor does not answer", "ask again later") from error
        except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError, BrokenPipeError) as error:
            if not is_heard:
                raise NoSupervisor(f"run {folder.name} has no living supervisor", f"orchestrate resume {folder.name}") from error
    if not answer:
        raise NoAnswer(f"run {folder.name}: its supervisor ended before it answered", "orchestrate status tells where it stands")
    return msgspec.json.decode(answer, type=Reply)


def _connect(connection: socket.socket, folder: Path, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            with _reachable(folder) as address:
                return connection.connect(address)
        except (BlockingIOError, FileNotFoundError, ConnectionRefusedError) as error:
            # As many wait there as the kernel lets wait; or nobody listens: while somebody holds the run he begins or ends.
            if not isinstance(error, BlockingIOError) and not is_locked(folder / "supervisor.lock"):
                raise
            _refuse_stopped(folder, "then ask again")
            if time.monotonic() >= deadline:
                raise TimeoutError from error
            time.sleep(_QUEUE_SECONDS)


def _refuse_stopped(folder: Path, then: str) -> None:
    """Raise RunHeldError if the supervisor of the run in `folder` is stopped: it answers no sooner than it goes on."""
    pid = holder_pid(folder / "supervisor.lock")
    if pid is not None and is_stopped(pid):
        raise RunHeldError(
            f"run {folder.name}: its supervisor does not answer: process {pid} is stopped (SIGSTOP)",
            f"kill -CONT {pid} lets it go on, {then}",
        )


class ControlServer:
    """The supervisor's side. It never blocks: a client that sends nothing is only a registered descriptor."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SOCKET_NAME
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _reachable(folder) as address:
            self._listener.bind(address)
        os.chmod(self._path, 0o600)
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        self._deaf_until = -math.inf

    def filenos(self) -> list[int]:
        """Descriptors to wait for. They change by themselves, too: ask again at least every quarter of a second."""
        if time.monotonic() < self._deaf_until:
            return list(self._clients)
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
        # Where nothing can be written any more the socket stays, and whoever connects is refused: that must not hide why we end.
        with contextlib.suppress(OSError):
            fault_point("control.closing")
            self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            if self._clients:
                self._drop(next(iter(self._clients)))  # who has not asked since it came makes room for who may
            else:
                self._deaf_until = time.monotonic() + _DEAF_SECONDS
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
