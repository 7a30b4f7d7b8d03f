"""How a supervisor starts a worker: its command line, its descriptors, its session."""

from __future__ import annotations

import os
import socket
import sys

from workers import channel
from workers.protocol import WORKER_SOCKET_FD

CRASH_LOG_NAME = "crash.log"


def worker_argv(folder: str) -> list[str]:
    """The command line of a worker. It is told our module path: finding it anew (`site`) costs a fifth of Python's own start."""
    main = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    return [sys.executable, "-I", "-S", main, folder, *(os.path.abspath(entry) for entry in sys.path)]


def start_worker(folder: str) -> tuple[int, socket.socket]:
    """Start a worker that serves in `folder` (absolute, made already, 0700); returns its pid and our end of its socket.

    The worker leads its own session: the terminal's Ctrl-C does not reach it. What it says when it breaks is in
    `folder`/crash.log. The caller reaps it. Raises OSError.
    """
    ours, theirs = channel.socket_pair()
    with theirs:
        crash_log = os.open(f"{folder}/{CRASH_LOG_NAME}", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            actions = [
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, crash_log, 2),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), WORKER_SOCKET_FD),
            ]
            pid = os.posix_spawn(
                sys.executable, worker_argv(folder), os.environ, file_actions=actions, setsid=True, setsigmask=()
            )
        except OSError:
            ours.close()
            raise
        finally:
            os.close(crash_log)
            os.close(null)
    return pid, ours
