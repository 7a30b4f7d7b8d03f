"""The supervisor's side of the control socket.

Promise: no call blocks. A client that sends nothing, leaves, or does not read its answer is only a registered descriptor.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from pathlib import Path

import msgspec

from orchestrator.control.address import SOCKET_NAME, reachable
from orchestrator.control.messages import Reply, Request
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.foreign import ForeignBytesError, decode_struct
from orchestrator.workers.processes.spawn import SHORTAGES

_REQUEST_BYTES = 1 << 20
"""A client that sends more than that without the end of a line is let go."""
_DEAF_SECONDS = 0.25
"""How long the listener is not watched after a connection could not be taken: it stays readable, and the loop would spin."""

_decode = msgspec.json.Decoder(Request).decode


class ControlServer:
    """Of the run in `folder`. Whoever has it watches `filenos`, and calls `poll` for each that is readable."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SOCKET_NAME
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with reachable(folder) as address:
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
        # End of file before a whole line, or a line without end: nobody is there to answer.
        if not data or len(received) > _REQUEST_BYTES:
            self._drop(fileno)
            return []
        # The rest of the line comes later: this client is polled again.
        if not received.endswith(b"\n"):
            return []
        try:
            return [(fileno, decode_struct(_decode, bytes(received)))]
        except ForeignBytesError as error:
            # Perhaps a client of another version: it is told, and the run goes on.
            self.answer(fileno, Reply(False, f"not understood: it is {error}"))
            return []

    def answer(self, client: int, reply: Reply) -> None:
        """Answer and let the client go. A client that has left is no error."""
        connection, _ = self._clients[client]
        # A client that has left, or does not read, gets no answer: the run does not wait for it.
        with contextlib.suppress(ConnectionError, BlockingIOError):
            connection.sendall(msgspec.json.encode(reply))
        self._drop(client)

    def close(self) -> None:
        """Take no more requests."""
        for client in list(self._clients):
            self._drop(client)
        self._listener.close()
        # On a file system that can no longer be written the socket stays, and whoever connects is refused. That error must not
        # hide the one for which the supervisor ends.
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
            # No descriptor is left. The oldest client, which has not sent its request yet, makes room for the new one; without
            # clients to drop the new one waits at the door for a while.
            if self._clients:
                self._drop(next(iter(self._clients)))
            else:
                self._deaf_until = time.monotonic() + _DEAF_SECONDS
            return
        connection.setblocking(False)
        self._clients[connection.fileno()] = (connection, bytearray())

    def _drop(self, client: int) -> None:
        self._clients.pop(client)[0].close()
