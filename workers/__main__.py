"""A worker process: `__main__.py FOLDER [MARK SYS.PATH ENTRY…]`, as `launch` starts it, or `-m orchestrator.workers FOLDER`."""

from __future__ import annotations

import gc
import os
import sys

if not __package__:
    # Started by its path: this folder is the package, whatever `workers` or `orchestrator` there may be on the path of modules.
    __package__ = "orchestrate_workers"
    sys.modules[__package__] = type(sys)(__package__)
    sys.modules[__package__].__path__ = [os.path.dirname(os.path.abspath(__file__))]


def main() -> None:
    folder, path = sys.argv[1], sys.argv[3:]
    if path:
        # The supervisor says where modules are, so that no start pays for finding them (`-S`).
        sys.path[:] = path
    # What is imported stays: looking through it for garbage costs a start a twentieth of its time.
    gc.disable()
    # msgspec takes from there, if there is one, what it finds in `typing` just so; that module loads compilers and inspectors.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    code = 70
    try:
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
        # One line first: where no file can be opened there is no traceback either, and the supervisor looks here for the reason.
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        # Not sys.exit: exit handlers, filelock's among them, would unlock descriptors that an agent may hold still.
        os._exit(code)


if __name__ == "__main__":
    main()
