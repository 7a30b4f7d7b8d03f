"""One lock file of the state folder: take it by a try, note who holds it, see whether it is free.

What a lock file says (a note of who took it) is for people and is never believed: the lock alone counts, and the kernel frees
it with its holder. Who waits for a lock holds nothing and waits nowhere: the loop looks at the file's stamp ten times a second,
and once a second really tries, because a killed holder touches nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.errors import StateUnwritableError
from orchestrator.system.locks.holders import is_locked
from orchestrator.system.locks.travelling import try_lock
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.opening import read_file
from orchestrator.workers.files.syncing import GoneFolderError, make_folder
from orchestrator.workers.processes.spawn import SHORTAGES

LOOK_SECONDS = 0.1
"""How often a lock that somebody waits for is looked at: one `stat`, however many wait."""

REAL_LOOK_SECONDS = 1.0
"""How often the lock is really tried: that of a holder that was killed is freed without a touch."""

Stamp = tuple[int | None, ...]
"""What tells that somebody let go: compare for inequality only, clocks jump."""


def try_lock_in_state(path: str | Path, run_folder: Path | None = None) -> int | None:
    """As `try_lock`, of a lock file in the state folder, whose folder is made if it is missing; but never `run_folder`, the one
    of the run whose lock it is.

    Raises StateUnwritableError where locking is impossible (never a soft lock: a mere file would outlive its holder), OSError
    for a shortage of the machine, which passes.
    """
    try:
        try:
            return try_lock(path)
        except FileNotFoundError:
            # Durably: a verdict on a token is only as durable as the folder that it lies in.
            make_folder(str(Path(path).parent), None if run_folder is None else str(run_folder))
            return try_lock(path)
    except OSError as error:
        raise _in_words(path, error) from error


def note_holder(fd: int, note: str, path: str | Path) -> None:
    """Write into the lock file who holds it now: only a cache, for people. The lock stays if this raises.

    Raises StateUnwritableError, OSError for a shortage.
    """
    try:
        fault_point("lock.noting")
        # The rest of a longer note stays behind the line: to cut it off costs every start one more call of the system.
        os.pwrite(fd, f"{note}\n".encode(), 0)
    except OSError as error:
        raise _in_words(path, error) from error


def try_take(path: str | Path, note: str, run_folder: Path | None = None) -> int | None:
    """`try_lock_in_state`, and `note_holder`; if this raises, nothing is held."""
    fd = try_lock_in_state(path, run_folder)
    if fd is None:
        return None
    try:
        note_holder(fd, note, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_free(path: Path, run_folder: Path | None = None) -> bool:
    """Whether the lock could be had just now; it is tried and let go at once, so a lock that a kill has freed is free."""
    fd = try_lock_in_state(path, run_folder)
    if fd is None:
        return False
    os.close(fd)
    return True


def note_of_holder(path: Path) -> str | None:
    """What the holder of the lock has noted; None if nobody holds it. Takes no lock."""
    return read_file(path).partition(b"\n")[0].decode(errors="replace") if is_locked(path) else None


def stamp_of(path: str | Path) -> int | None:
    """When the lock file was touched last (nanoseconds); None if there is none."""
    try:
        return os.lstat(path).st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None


def _in_words(path: str | Path, error: OSError) -> OSError | StateUnwritableError:
    if error.errno in SHORTAGES:
        return error
    if isinstance(error, GoneFolderError):
        return StateUnwritableError(f"{error.filename}: {error.strerror}", "put it back, then resume the run")
    return StateUnwritableError(f"{path}: cannot be locked: {error.strerror or error}", "mend that, then resume the run")
