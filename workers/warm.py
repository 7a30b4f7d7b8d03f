"""The warm process: it has imported and made what workers need, has one thread, holds nothing, and forks one for each request.

Promise: a worker that was forked finds what a started one would: descriptors, session, signals, limits, arguments and environment
in `/proc`. It is the child of the supervisor (`processes.siblings`), so the warm process may end at any time, and nothing is lost
but the next worker's quick start. It ends when its supervisor lets go of it, or is gone.
Invariant: nothing but the socket to the supervisor is open here, so a worker inherits no lock of anybody's.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

import msgspec

from . import channel
from .byte_text import encode_message, message_decoder
from .command_line import folder_of
from .environment import become_unreadable
from .life import end_by, live
from .processes.siblings import fork_sibling, show_in_proc
from .protocol import WORKER_LIVENESS_FD, WORKER_SOCKET_FD

ANSWER = struct.Struct("=ii")
"""What the supervisor is told: the pid of the worker (0: there is none), and an error number (0: it serves)."""
_CONTROL_FD = WORKER_LIVENESS_FD + 1


class Request(msgspec.Struct, frozen=True, gc=False):
    """Of a worker that looks so in `/proc`. Its standard error, its socket and its liveness lock come with it."""

    argv: list[bytes]
    environment: list[bytes]


_decode: Callable[[bytes], Request] = message_decoder(Request)


def serve_forks(control: int, argv: Sequence[str], environment: Sequence[bytes]) -> NoReturn:
    """Serve requests that come by the socket `control`, and end this process. `argv`, `environment`: how it looks in `/proc`."""
    try:
        # First of all, for it may be a fork of the supervisor: Ctrl-C is not meant for it, and nobody looks into it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        become_unreadable()
        if os.getsid(0) != os.getpid():
            os.setsid()
        _hold_only(control)
        # All that a worker would import and make: as it begins, while its first attempt runs, as that ends.
        from . import loop

        loop.make_ready()
        _decode(encode_message(Request([], [])))
        # Refused here it is refused to each worker: then it is of no use.
        show_in_proc([os.fsencode(word) for word in argv], environment)
        gc.disable()
        gc.freeze()
        connection = socket.socket(fileno=_CONTROL_FD)
        while (received := channel.receive(connection)) is not None:
            _fork(connection, *received)
    except BaseException:
        # Nobody would read why. Its supervisor sees that it is gone.
        os._exit(70)
    os._exit(0)


def _hold_only(control: int) -> None:
    """Close all but the socket, and keep the numbers taken that a worker's own descriptors get."""
    kept = os.dup(control)
    while kept <= _CONTROL_FD:
        kept = os.dup(kept)
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(_CONTROL_FD):
        os.dup2(null, number, inheritable=False)
    os.dup2(kept, _CONTROL_FD, inheritable=False)
    os.closerange(_CONTROL_FD + 1, 1 << 20)


def _fork(connection: socket.socket, request: bytes, descriptors: list[int]) -> None:
    pid, error = 0, 0
    try:
        pid = fork_sibling()
        if pid == 0:
            _become_worker(connection, request, descriptors)
    except OSError as failure:
        error = failure.errno or errno.EAGAIN
    for descriptor in descriptors:
        os.close(descriptor)
    # The worker answers itself: were this process killed right behind the fork, the supervisor would not know of it.
    if error:
        with suppress(OSError):
            connection.send(ANSWER.pack(0, error))


def _become_worker(connection: socket.socket, request: bytes, descriptors: list[int]) -> NoReturn:
    try:
        wanted = _decode(request)
        for descriptor, number in zip(descriptors, (2, WORKER_SOCKET_FD, WORKER_LIVENESS_FD), strict=True):
            os.dup2(descriptor, number, inheritable=number == 2)
        os.setsid()
        _take_after_parent()
        error = 0
        try:
            show_in_proc(wanted.argv, wanted.environment)
        except OSError as failure:
            error = failure.errno or errno.ENOSYS
        # From now on the supervisor counts on this worker, or knows that it has to start one.
        with suppress(OSError):  # it is gone, and the worker will see that
            connection.send(ANSWER.pack(os.getpid(), error))
        if error:
            os._exit(0)
        folder = folder_of(wanted.argv)
    except BaseException as failure:
        end_by(failure, 70)
    live(folder)


def _take_after_parent() -> None:
    """Have the limits, the niceness and the processors that the supervisor has now: a process that it starts has those."""
    import resource

    parent = os.getppid()
    # It may be gone by now; a hard limit that was raised meanwhile stays out of reach.
    for kind in (getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")):
        with suppress(OSError, ValueError):
            limits = resource.prlimit(parent, kind)
            if limits != resource.getrlimit(kind):
                resource.setrlimit(kind, limits)
    with suppress(OSError):
        niceness = os.getpriority(os.PRIO_PROCESS, parent)
        if niceness > os.getpriority(os.PRIO_PROCESS, 0):
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
    with suppress(OSError):
        if (processors := os.sched_getaffinity(parent)) != os.sched_getaffinity(0):
            os.sched_setaffinity(0, processors)
