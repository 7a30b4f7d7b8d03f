"""The warm process as its supervisor has it: made early or when the first worker is needed, asked for each worker, let go.

Promise: a worker that comes of it is this process's child, as one that was started. Whatever becomes of the warm process, the
caller gets a worker, hears that it has to start one itself, or hears of a shortage; never are there two for one request.
Invariant: a process has one warm process at most, for all its runs; a fork of this process does not use it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from . import channel
from .byte_text import encode_message
from .command_line import WARM, worker_argv
from .environment import bare_environment
from .processes.siblings import can_fork_siblings
from .protocol import WORKER_SOCKET_FD
from .warm import ANSWER, Request, serve_forks

_LONGEST_WAIT_MS = 20_000
"""For an answer. A warm process that is stopped, by whomever, must not hold its supervisor for ever."""


class _WarmProcess:
    """The end of its socket that asks. `has_served`: it has made a worker already. `is_ending`: it makes no more."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.owner = os.getpid()
        self.has_served = False
        self.is_ending = False
        self._pid = pid
        self._connection = connection

    def fork_worker(self, request: bytes, descriptors: Sequence[int], folder: str) -> int | None:
        """The pid of a new worker; None: it can make none. Raises OSError for a shortage."""
        try:
            channel.send(self._connection, request, descriptors, folder=folder)
        except (BrokenPipeError, ConnectionResetError):
            return None
        answer = self._answer()
        if answer is None:
            # It does not answer. Killed, it makes no worker any more; one that it has just made still holds the socket.
            self._kill()
            answer = self._answer()
        if answer is None:
            raise BlockingIOError(errno.EAGAIN, "a worker is neither there nor gone", folder)
        if not answer:
            return None
        pid, error = ANSWER.unpack(answer)
        if pid and error:
            # It could not be shown as what it is, and has ended.
            os.waitpid(pid, 0)
            return None
        if error:
            raise OSError(error, os.strerror(error))
        self.has_served = True
        return int(pid)

    def end(self) -> None:
        """Have it end, without waiting for it."""
        self.is_ending = True
        with suppress(OSError):  # it is gone
            self._connection.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """End it. The workers that it has made go on."""
        if self.owner == os.getpid():
            self._kill()
        self._connection.close()

    def _answer(self) -> bytes | None:
        """What it says; empty at the end of the socket, None if nothing comes."""
        waiting = select.poll()
        waiting.register(self._connection.fileno(), select.POLLIN)
        if not waiting.poll(_LONGEST_WAIT_MS):
            return None
        try:
            return self._connection.recv(ANSWER.size)
        except ConnectionResetError:
            return b""

    def _kill(self) -> None:
        # Not waited for yet, so no other process has its number; unless the program around us reaps what is not its own.
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


_lock = threading.Lock()
_current: list[_WarmProcess] = []
_is_refused = not can_fork_siblings()
"""It cannot be had here, or was tried and died before its first worker."""


def fork_warm_process() -> None:
    """Make it as a fork of this process, which has one thread and holds no lock and no descriptor of a run yet.

    For a process that is ours alone. Nothing happens where it cannot be had: then workers are started.
    """
    if _is_refused or _current or threading.active_count() != 1:
        return
    with suppress(OSError):
        ours, theirs = channel.socket_pair()
        with theirs:
            if (pid := os.fork()) == 0:
                serve_forks(theirs.fileno(), _argv(), _shown(bare_environment()))
        _current.append(_WarmProcess(pid, ours))


def fork_worker(argv: Sequence[str], environment: dict[bytes, bytes], descriptors: Sequence[int], folder: str) -> int | None:
    """The pid of a new worker, forked; None: the caller has to start one. Raises OSError for a shortage.

    `argv` and `environment`: how it looks in `/proc`. `descriptors`: its standard error, its socket, its liveness lock.
    """
    global _is_refused
    request = encode_message(Request([os.fsencode(word) for word in argv], _shown(environment)))
    with _lock:
        if _current and (_current[0].is_ending or _current[0].owner != os.getpid()):
            _current.pop().let_go()
        # One that has died is made anew once.
        for _ in range(2):
            if _is_refused:
                return None
            if not _current:
                _current.append(_started())
            if (pid := _current[0].fork_worker(request, descriptors, folder)) is not None:
                return pid
            died = _current.pop()
            died.let_go()
            _is_refused = not died.has_served
    return None


def end_warm_process() -> None:
    """Have the warm process end, if there is one. It is still to be let go of."""
    with _lock:
        if _current and _current[0].owner == os.getpid():
            _current[0].end()


def let_go_of_warm_process() -> None:
    """End the warm process, if there is one. The next worker makes a new one."""
    with _lock:
        if _current:
            _current.pop().let_go()


def _started() -> _WarmProcess:
    """As a program of its own: this process may have threads, and holds what no worker may have. Raises OSError."""
    ours, theirs = channel.socket_pair()
    try:
        # Above the numbers that are overwritten before it is copied.
        given = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, WORKER_SOCKET_FD + 1)
        try:
            streams = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in range(WORKER_SOCKET_FD)]
            actions = [*streams, (os.POSIX_SPAWN_DUP2, given, WORKER_SOCKET_FD)]
            bare = bare_environment()
            pid = os.posix_spawn(sys.executable, _argv(), bare, file_actions=actions, setsid=True, setsigmask=())
        finally:
            os.close(given)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return _WarmProcess(pid, ours)


def _argv() -> list[str]:
    return worker_argv(WARM)


def _shown(environment: dict[bytes, bytes]) -> list[bytes]:
    return [name + b"=" + value for name, value in environment.items()]
