"""A worker process: `__main__.py FOLDER [MARK SYS.PATH ENTRY…]`, as `launch` starts it, or `-m orchestrator.workers FOLDER`.

With `-` in place of the folder it is the warm process, from which workers are forked.
"""

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
    if folder == "-":
        from .protocol import WORKER_SOCKET_FD
        from .warm import serve_forks

        serve_forks(WORKER_SOCKET_FD, sys.orig_argv, [name + b"=" + value for name, value in os.environb.items()])
    from .life import live

    live(folder)


if __name__ == "__main__":
    main()
