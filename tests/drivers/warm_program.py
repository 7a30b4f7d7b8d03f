"""`python -m orchestrator` without the time that Python takes to start: a fork of a process that has imported the program.

One server (`warm_server`) for each process that runs tests, begun with the first call. A `WarmProcess` is used as a
`subprocess.Popen`; its pid is that of the process itself, so it is killed and looked at as any other.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from drivers.warm_server import LENGTH, NUMBER

SERVER = f"import sys; sys.path[0] = {str(Path(__file__).parents[1])!r}; from drivers.warm_server import main; main()"
ROOM = 32 * 1024
"""Bytes that the arguments and the environment of a process may have to be seen in `/proc`."""


class WarmProcess:
    """A process that was forked for one call. `returncode`: None before its end, negative for a signal."""

    def __init__(self, connection: socket.socket, args: Sequence[str]) -> None:
        self.args = args
        self.returncode: int | None = None
        self._connection = connection
        self._lock = threading.Lock()
        self.pid = self._read_number()

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if (code := self._look(timeout)) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._connection], [], [], timeout)[0]:
                self.returncode = self._read_number()
                # From now on nobody needs its number any more; gone is the process when the other side closes.
                self._connection.shutdown(socket.SHUT_WR)
                self._connection.recv(1)
                self._connection.close()
            return self.returncode

    def _read_number(self) -> int:
        data = self._connection.recv(NUMBER.size)
        assert len(data) == NUMBER.size, "the server of warm processes is gone"
        return int(NUMBER.unpack(data)[0])

    def __del__(self) -> None:
        self._connection.close()  # of one that nobody waits for


class WarmProgram:
    """The server, and how to have it fork."""

    def __init__(self) -> None:
        # Nothing of the test that comes first: its home, its folder.
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATE_", "XDG_"))}
        self._control, theirs = socket.socketpair()
        with theirs:
            argv = [sys.executable, "-c", SERVER, str(theirs.fileno()), " " * ROOM]
            environment = {**self._environment, "ROOM": " " * ROOM}
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/", env=environment, pass_fds=[theirs.fileno()]
            )

    def start(
        self,
        words: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        streams: tuple[int, int, int],
        own_session: bool = False,
        module: str = "orchestrator",
    ) -> WarmProcess:
        """`python -m MODULE WORDS`. `streams`: descriptors for stdin, stdout and stderr, which stay open here."""
        call = {"module": module, "words": list(words), "cwd": str(cwd), "environment": dict(env), "own_session": own_session}
        data = json.dumps(call).encode()
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"+"], [theirs.fileno()])
        socket.send_fds(ours, [LENGTH.pack(len(data))], list(streams))
        ours.sendall(data)
        return WarmProcess(ours, [sys.executable, "-m", module, *words])

    def needs_own_interpreter(self, env: Mapping[str, str]) -> bool:
        """Whether `env` says something that Python reads when it starts: its own variables, the locale."""
        return any(
            name.startswith(("PYTHON", "LC_", "LANG")) and env.get(name) != self._environment.get(name)
            for name in {*env, *self._environment}
        )

    def close(self) -> None:
        """End the server. What it has forked goes on."""
        self._control.close()
        self._process.wait(60)


_begun: list[WarmProgram] = []


def warm_program() -> WarmProgram:
    """The one of this process."""
    if not _begun:
        _begun.append(WarmProgram())
        atexit.register(_begun[0].close)
    return _begun[0]
