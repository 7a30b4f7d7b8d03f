"""Workers of a warm program: each is forked from its supervisor, and no Python of its own is started. `warm_server` sets this up.

Promise: such a worker finds what `posix_spawn` of its command line would have given it: descriptors, session, signals, and its
arguments in `/proc`. Its modules were loaded before any fork, under the name that a started worker gives them, and no supervisor
has used them. When the start returns, the worker has let go of all that was its supervisor's.
Invariant: nothing of the supervisor runs in the worker. Its objects are kept for ever, so none is taken apart there (a socket
that was would close a descriptor that is by then another's), and the worker ends by `os._exit`.

The workers of a started program, of the library and of `worker_driver` are started, as users' are.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

from drivers.forked_process import reset_signals, show_in_proc
from orchestrator.workers import launch
from orchestrator.workers.environment import become_readable

PACKAGE = "orchestrate_workers"
"""As the worker's `__main__.py` calls its own folder."""
_MARK = "WORKER"
_BEFORE_ITS_FOLDER = launch.worker_argv(_MARK)[: launch.worker_argv(_MARK).index(_MARK)]
"""How the command line of each worker begins."""

_spawn = os.posix_spawn


def load_workers() -> None:
    """Import all that a worker may ever import."""
    package = sys.modules[PACKAGE] = ModuleType(PACKAGE)
    package.__path__ = [os.path.dirname(launch.__file__)]
    for module in pkgutil.walk_packages(package.__path__, f"{PACKAGE}."):
        importlib.import_module(module.name)


def fork_workers() -> None:
    """From now on `os.posix_spawn` of a worker's command line forks this process; all else is started."""
    os.posix_spawn = _spawn_or_fork  # type: ignore[assignment]


def _spawn_or_fork(path: str, argv: Sequence[str], env: Mapping[bytes, bytes], **settings: Any) -> int:
    if list(argv[: len(_BEFORE_ITS_FOLDER)]) != _BEFORE_ITS_FOLDER:
        return _spawn(path, argv, env, **settings)
    reading, writing = os.pipe()
    # A signal that comes before the worker handles signals as a new process does waits for that.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _be_worker(argv, env, **settings)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(writing)
    # The end of the pipe: the worker has closed all that is not its own, as a start has when it returns.
    os.read(reading, 1)
    os.close(reading)
    return pid


def _be_worker(
    argv: Sequence[str],
    env: Mapping[bytes, bytes],
    *,
    file_actions: Sequence[tuple[int, int, int]],
    setsid: bool,
    setsigmask: Any,
) -> None:
    """In the forked process: never returns."""
    try:
        gc.freeze()
        os.posix_spawn = _spawn
        assert setsid
        os.setsid()
        for action, source, target in file_actions:
            assert action == os.POSIX_SPAWN_DUP2
            os.dup2(source, target)
        # A new program can be looked into, whoever starts it.
        become_readable()
        os.environb.clear()
        os.environb.update(env)
        show_in_proc(list(argv), dict(os.environ))
        sys.argv = list(argv[argv.index(_BEFORE_ITS_FOLDER[-1]) :])
        os.closerange(launch.WORKER_LIVENESS_FD + 1, 1 << 20)
        reset_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, setsigmask)
        main: Callable[[], None] = sys.modules[f"{PACKAGE}.__main__"].main  # type: ignore[attr-defined]
        main()
    finally:
        os._exit(127)
