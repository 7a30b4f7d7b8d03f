"""The environment that attempts start from: it comes to a worker by its socket, once, before the first start.

What a process was started with stands in `/proc/PID/environ` as long as it lives, for every process of the same user. The worker
is its agent's parent, so it starts with a bare environment, has the rest in its memory alone, and lets nobody look into that. Of
such a process the kernel goes on telling that it lives, since when, its state, its parent, its session, its command line.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping

from . import channel
from .processes.variables import passed_of
from .protocol import MARK_VARIABLE, WORKER_FOLDER_VARIABLE

BARE = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "LANGUAGE", "LC_*", "LD_LIBRARY_PATH", "DYLD_*")
"""What a program needs to start and to write its words: no variable of a service among them."""
EVIDENCE = (MARK_VARIABLE, WORKER_FOLDER_VARIABLE)
"""By these whoever ends what a killed worker left finds the workers of a run that was nested in its attempt."""
_MESSAGE = b"environment"
_PR_SET_DUMPABLE = 4
_is_unreadable = False


def become_unreadable() -> None:
    """Let only root look into this process, and what it forks, until either starts another program. Nothing where no prctl is.

    There is no core dump of it any more: that is its memory, too.
    """
    global _is_unreadable
    _is_unreadable = _set_dumpable(0)


def become_readable() -> None:
    """Undo `become_unreadable`; a process that was made so by others stays as it is."""
    global _is_unreadable
    if _is_unreadable:
        _is_unreadable = not _set_dumpable(1)


def bare_environment() -> dict[bytes, bytes]:
    """What a worker's interpreter needs of this process's environment, and by what the worker is found."""
    return passed_of(os.environb, (*BARE, *EVIDENCE))


def hand_over_environment(sock: socket.socket) -> None:
    """Send this process's environment, of whatever size. Raises OSError.

    By a file without a name, whose descriptor travels: a message has a largest size, and a file with a name could be read.
    """
    variables = [name + b"=" + value for name, value in os.environb.items() if name]
    descriptor = _nameless_file()
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(b"\0".join(variables))
        channel.send(sock, _MESSAGE, [descriptor], folder="")
    finally:
        os.close(descriptor)


def take_over_environment(sock: socket.socket) -> None:
    """Receive what `hand_over_environment` sent; it is this process's environment from now on.

    Nothing if the other end is gone: then there will be no start. Raises OSError, ChannelError.
    """
    received = channel.receive(sock)
    if received is None:
        return
    message, descriptors = received
    if message != _MESSAGE or len(descriptors) != 1:
        raise channel.ChannelError(f"the first message is not the environment, but {message[:40]!r}")
    with open(descriptors[0], "rb") as file:
        file.seek(0)
        content = file.read()
    _become(dict(variable.split(b"=", 1) for variable in content.split(b"\0") if variable))


def _become(environment: Mapping[bytes, bytes]) -> None:
    for name in os.environb.keys() - environment.keys():
        del os.environb[name]
    # A worker that was forked has most of it.
    os.environb.update({name: value for name, value in environment.items() if os.environb.get(name) != value})


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("environment", os.MFD_CLOEXEC)
    import tempfile  # Not where Linux is, nor in a worker.

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _set_dumpable(value: int) -> bool:
    """Whether the kernel knows this, and did it."""
    if sys.platform != "linux":
        return False
    import ctypes

    return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, value, 0, 0, 0) == 0)
