"""How a supervisor starts a worker: its command line, its descriptors, its session, the lock that tells whether it lives."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys

from . import channel
from .command_line import worker_argv
from .environment import bare_environment, hand_over_environment
from .files.opening import open_file
from .locks import lock_descriptor
from .log import LOG_NAME, begin_log
from .protocol import LIVENESS_LOCK_NAME, WORKER_LIVENESS_FD, WORKER_SOCKET_FD
from .warm_process import fork_worker

CRASH_LOG_NAME = "crash.log"


def lock_liveness(folder: str) -> int:
    """Lock the liveness lock of the worker that will serve in `folder`; the descriptor (close-on-exec) is its holder.

    Raises OSError: EAGAIN as long as an earlier worker lives there, one that was started and not recorded before a kill.
    """
    fd = open_file(f"{folder}/{LIVENESS_LOCK_NAME}", os.O_RDWR | os.O_CREAT)
    try:
        if not lock_descriptor(fd):
            raise BlockingIOError(errno.EAGAIN, "an earlier worker still lives there", folder)
    except BaseException:
        os.close(fd)
        raise
    return fd


def start_worker(folder: str) -> tuple[int, socket.socket]:
    """Start a worker that serves in `folder` (absolute, made already, 0700); returns its pid and our end of its socket.

    The worker leads its own session: the terminal's Ctrl-C does not reach it. It holds the liveness lock of the folder. What
    it says when it breaks is in `folder`/crash.log. Its attempts start from the environment of this process. The caller reaps it.
    Raises OSError, and then nothing is left of it.
    """
    # Every descriptor of ours is closed below, whatever happens: the worker has copies under fixed numbers.
    given: list[int] = []
    ours, theirs = channel.socket_pair()
    try:
        given.append(_above_the_targets(theirs.detach()))
        hand_over_environment(ours)
        given.append(_above_the_targets(lock_liveness(folder)))
        begin_log(f"{folder}/{LOG_NAME}")
        crash_log = open_file(f"{folder}/{CRASH_LOG_NAME}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        given.append(_above_the_targets(crash_log))
        connection, liveness, crash_log = given
        argv, bare = worker_argv(folder), bare_environment()
        # A fork costs a twentieth of a start.
        if (pid := fork_worker(argv, bare, (crash_log, connection, liveness), folder)) is not None:
            return pid, ours
        # The order counts: a descriptor must not be overwritten before it is copied, so all of them lie above the targets.
        given.append(null := _above_the_targets(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)))
        actions = [
            (os.POSIX_SPAWN_DUP2, null, 0),
            (os.POSIX_SPAWN_DUP2, null, 1),
            (os.POSIX_SPAWN_DUP2, crash_log, 2),
            (os.POSIX_SPAWN_DUP2, connection, WORKER_SOCKET_FD),
            (os.POSIX_SPAWN_DUP2, liveness, WORKER_LIVENESS_FD),
        ]
        pid = os.posix_spawn(sys.executable, argv, bare, file_actions=actions, setsid=True, setsigmask=())
    except BaseException:
        ours.close()
        raise
    finally:
        for fd in given:
            os.close(fd)
    return pid, ours


def _above_the_targets(fd: int) -> int:
    """The same descriptor under a number that no earlier action of the spawn overwrites."""
    if fd > WORKER_LIVENESS_FD:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, WORKER_LIVENESS_FD + 1)
    finally:
        os.close(fd)
