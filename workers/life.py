"""What a worker process does once it is one, however it came to be: started as a program, or forked from the warm process."""

from __future__ import annotations

import os
from typing import NoReturn


def live(folder: str) -> NoReturn:
    """Serve in `folder` to the end, and end this process. The socket and the liveness lock stand open under their numbers.

    What breaks is told on standard error, which is the worker's crash log.
    """
    code = 70
    try:
        import gc
        import signal
        import socket

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

        from . import faultpoints
        from .environment import become_unreadable, take_over_environment
        from .loop import STATE_UNWRITABLE, serve
        from .protocol import WORKER_LIVENESS_FD, WORKER_SOCKET_FD

        gc.freeze()
        gc.enable()
        # Before it knows anything that agents must not.
        become_unreadable()
        # Started by hand it is in the terminal's session still, and Ctrl-C would reach its agents.
        if os.getsid(0) != os.getpid():
            os.setsid()
        # An agent must hold neither: the supervisor would not see that its worker is gone.
        os.set_inheritable(WORKER_SOCKET_FD, False)
        os.set_inheritable(WORKER_LIVENESS_FD, False)
        # A descriptor that the supervisor's own parent leaked (a pipe that somebody waits on) must not live as long as a worker.
        os.closerange(WORKER_LIVENESS_FD + 1, 1 << 20)
        connection = socket.socket(fileno=WORKER_SOCKET_FD)
        take_over_environment(connection)
        faultpoints.arm(os.environ.get("ORCHESTRATE_WORKER_FAULT"))
        try:
            code = serve(connection, folder)
        except OSError:
            code = STATE_UNWRITABLE
            raise
    except BaseException as error:
        end_by(error, code)
    # Not sys.exit: an exit handler of some library could let go of what an agent may hold still.
    os._exit(code)


def end_by(error: BaseException, code: int) -> NoReturn:
    """Tell on standard error what this process broke by, and end it with `code`."""
    try:
        # One line first: where no file can be opened there is no traceback either, and the supervisor looks here for the reason.
        _tell(f"{type(error).__name__}: {error}\n")
        import traceback

        _tell("".join(traceback.format_exception(error)))
    finally:
        os._exit(code)


def _tell(words: str) -> None:
    # By the descriptor: `sys.stderr` of a fork is whatever its supervisor had.
    os.write(2, words.encode(errors="backslashreplace"))
