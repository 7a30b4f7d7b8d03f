"""The supervisor's side of the control socket.

Promise: no call blocks, and each request is answered, in words if it cannot be done. A client that sends nothing, leaves, or does
not read its answer is only a registered descriptor. Each request comes with who asks, looked at while the client stood there.
It refuses to handle: who may ask what (`permits`).
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from orchestrator.control.address import SOCKET_NAME, reachable
from orchestrator.control.messages import Reply, Request
from orchestrator.control.requester import Requester, requester_of
from orchestrator.errors import StateUnwritableError
from orchestrator.system.threads import begin_thread
from orchestrator.workers.byte_text import encode_json, json_decoder
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.foreign import ForeignBytesError, decode_struct
from orchestrator.workers.processes.spawn import SHORTAGES

_REQUEST_BYTES = 8 << 20
"""A longer request is not kept, but read to its end: who is cut off in the middle of it would take that for our death."""
_ANSWER_SECONDS = 10.0
"""How long a client may take to read an answer that no socket has room for at once."""
_DEAF_SECONDS = 0.25
"""How long the listener is not watched after a connection could not be taken: it stays readable, and the loop would spin."""

_decode: Callable[[bytes], Request] = json_decoder(Request)


class _Client(msgspec.Struct):
    connection: socket.socket
    requester: Requester
    received: bytearray = msgspec.field(default_factory=bytearray)
    is_too_long: bool = False
    """Its request is longer than any that is taken."""


class ControlServer:
    """Of the run in `folder`. Whoever has it watches `filenos`, and calls `poll` for each that is readable."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SOCKET_NAME
        self._file = (0, 0)
        try:
            self._listener = self._listen()
        except OSError as error:
            if error.errno in SHORTAGES:
                raise
            # A folder stands there, or the file system has no sockets: nobody could steer the run.
            words = f"{self._path}: cannot listen there: {error.strerror}"
            raise StateUnwritableError(words, "remove what stands there, then resume the run") from error
        self._clients: dict[int, _Client] = {}
        self._deaf_until = -math.inf
        self._spare: int | None = None
        """A descriptor in reserve: clients are looked at also where no other is left, or nobody could stop the run any more."""
        self._keep_spare()

    def keep(self) -> bool:
        """Listen anew if somebody has removed or replaced the socket: then True. Costs one `stat` otherwise.

        False too if that cannot be done now: without its socket the run goes on, and the next call tries again.
        """
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = os.lstat(self._path)
            if (found.st_dev, found.st_ino) == self._file:
                return False
        try:
            listener = self._listen()
        except OSError:
            return False
        # Who stands at the old door came before it was lost: it is let in.
        while self._accept():
            pass
        self._listener.close()
        self._listener = listener
        return True

    def filenos(self) -> list[int]:
        """Descriptors to wait for. They change by themselves, too: ask again at least every second."""
        if time.monotonic() < self._deaf_until:
            return list(self._clients)
        return [self._listener.fileno(), *self._clients]

    def poll(self, fileno: int) -> list[tuple[int, Request, Requester]]:
        """Requests that have arrived whole on `fileno`, each with the client to `answer` and who that is.

        New clients change `filenos`.
        """
        if fileno == self._listener.fileno():
            self._accept()
            return []
        client = self._clients[fileno]
        received = client.received
        try:
            data = client.connection.recv(65536)
        except BlockingIOError:
            return []
        except ConnectionError:
            data = b""
        # End of file before a whole line: nobody is there to answer.
        if not data:
            self._drop(fileno)
            return []
        received += data
        if len(received) > _REQUEST_BYTES:
            # Of what is too long only its end is waited for.
            client.is_too_long = True
            del received[:-1]
        # The rest of the line comes later: this client is polled again.
        if not received.endswith(b"\n"):
            return []
        if client.is_too_long:
            most = _REQUEST_BYTES >> 20
            self.answer(fileno, Reply(False, f"the request is longer than {most} MiB: ask for fewer items at a time"))
            return []
        try:
            return [(fileno, decode_struct(_decode, bytes(received)), client.requester)]
        except ForeignBytesError as error:
            # Perhaps a client of another version: it is told, and the run goes on.
            self.answer(fileno, Reply(False, f"not understood: it is {error}"))
            return []

    def answer(self, client: int, reply: Reply) -> None:
        """Answer and let the client go. A client that has left is no error."""
        connection = self._clients[client].connection
        rest = memoryview(encode_json(reply))
        # A client that has left gets no answer. The run waits for none: what the socket has no room for is sent beside it.
        with contextlib.suppress(ConnectionError, BlockingIOError):
            while rest:
                rest = rest[connection.send(rest) :]
        if rest and not _has_left(connection):
            _send_beside(connection, rest)
        self._drop(client)

    def close(self) -> None:
        """Take no more requests."""
        for client in list(self._clients):
            self._drop(client)
        self._listener.close()
        self._let_spare_go()
        # On a file system that can no longer be written the socket stays, and whoever connects is refused. That error must not
        # hide the one for which the supervisor ends.
        with contextlib.suppress(OSError):
            fault_point("control.closing")
            self._path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        """A listener at the path, in place of what stands there. Raises OSError."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.unlink(missing_ok=True)
            with reachable(self._path.parent) as address:
                listener.bind(address)
            os.chmod(self._path, 0o600)
            found = os.lstat(self._path)
            listener.listen(128)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        self._file = (found.st_dev, found.st_ino)
        return listener

    def _accept(self) -> bool:
        """Let one client in; False: nobody could be."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            # No descriptor is left. The oldest client, which has not sent its request yet, makes room for the new one; without
            # clients to drop the new one waits at the door for a while.
            if self._clients:
                self._drop(next(iter(self._clients)))
            else:
                self._deaf_until = time.monotonic() + _DEAF_SECONDS
            return False
        connection.setblocking(False)
        self._let_spare_go()
        self._clients[connection.fileno()] = _Client(connection, requester_of(connection))
        self._keep_spare()
        return True

    def _keep_spare(self) -> None:
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _let_spare_go(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _drop(self, client: int) -> None:
        self._clients.pop(client).connection.close()


def _has_left(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def _send_beside(connection: socket.socket, rest: memoryview) -> None:
    """Without room for a descriptor or a thread the client gets a part of its answer: no request may end the run."""
    try:
        copy = connection.dup()
    except OSError:
        return
    if begin_thread(partial(_send_rest, copy, rest), "answer") is None:
        copy.close()


def _send_rest(connection: socket.socket, rest: memoryview) -> None:
    """The thread of one long answer: its client reads while it is sent, or leaves, or has had its time."""
    with connection, contextlib.suppress(OSError):
        connection.settimeout(_ANSWER_SECONDS)
        connection.sendall(rest)
