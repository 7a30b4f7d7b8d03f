"""The right to write a run's records, taken by a command, and what its process must have for that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from resource import RLIMIT_NOFILE, getrlimit

from orchestrator.errors import StateUnwritableError
from orchestrator.store.run_dir import RunDir
from orchestrator.store.supervisor_lock import SupervisorLock
from orchestrator.workers.faultpoints import arm
from orchestrator.workers.processes.spawn import SHORTAGES

_LEAST_DESCRIPTORS = 32
"""A supervisor with one worker has two dozen open at most. With fewer it could begin an item and not record what came of it."""
_GENEROUS_LIMIT = 1024


def lock_run(run_dir: RunDir) -> SupervisorLock:
    """Become the supervisor of a run. Raises RunHeldError after a second, naming the supervisor; StateUnwritableError."""
    require_descriptors()
    arm(os.environ.get("ORCHESTRATE_FAULT"))
    lock = SupervisorLock(run_dir)
    lock.try_acquire()
    return lock


@contextmanager
def holding(lock: SupervisorLock) -> Iterator[SupervisorLock]:
    """Let the lock go at the end, however that comes."""
    try:
        yield lock
    finally:
        lock.release()


def require_descriptors() -> None:
    """Raise StateUnwritableError if this process may open too few files to record a run: before anything of the run begins."""
    taken = []
    try:
        # Try it. A limit says nothing of the files that are open already.
        taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        while len(taken) < _LEAST_DESCRIPTORS:
            taken.append(os.dup(taken[0]))
    except OSError as error:
        if error.errno not in SHORTAGES:
            raise
        limit, _ = getrlimit(RLIMIT_NOFILE)
        message = f"this process may open {len(taken)} more files, of {limit} in all, and a run needs {_LEAST_DESCRIPTORS}"
        raise StateUnwritableError(message, f"raise the limit, then try again: ulimit -n {_GENEROUS_LIMIT}") from error
    finally:
        for fd in taken:
            os.close(fd)
