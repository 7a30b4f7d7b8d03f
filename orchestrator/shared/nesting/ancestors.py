"""Which attempts this process runs in: those of the runs that this run is nested in.

The nearest one is told by the environment; where that was taken away (`env -i`), by the parent processes: one of them holds the
liveness lock of its worker folder (a worker is a subreaper, so `setsid` and a double fork do not lead away from it). The worker's
log says what the attempt holds, and which worker's attempt its own run is nested in, and so on up to the outermost run.

Promise: a nesting that is told is true now: each worker lives, each attempt has begun and not ended. One that was true once is
refused in words. It refuses to handle: a process in another pid namespace without the environment (a container of its own).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from orchestrator.errors import UserError
from orchestrator.store.home import home_of
from orchestrator.system.locks.holders import is_locked
from orchestrator.workers.log import LOG_NAME, read_log
from orchestrator.workers.processes.identity import HAS_PROC
from orchestrator.workers.protocol import LIVENESS_LOCK_NAME, MARK_VARIABLE, WORKER_FOLDER_VARIABLE, Begun, Ended, Holding

_LIVENESS_SUFFIX = f"/{LIVENESS_LOCK_NAME}"
_WALKS = 3


class Lender(msgspec.Struct, frozen=True):
    """An attempt that lends what it holds: the folder of its worker, and the pools of `home` of which it has a slot."""

    worker: Path
    home: Path
    pools: frozenset[str]


class Nesting(msgspec.Struct, frozen=True):
    """Where a run is nested. `marks`: of the attempts it is in, outermost first; `lenders`: the same attempts, nearest first.

    `root` is the folder of the outermost run. `depth` is this run's own, at least 1 and at most `max_depth`.
    """

    marks: tuple[str, ...]
    lenders: tuple[Lender, ...]
    root: Path
    depth: int
    max_depth: int

    @property
    def parent(self) -> str:
        """The folder of the worker whose attempt starts this run, for the `Holding` of this run's own attempts."""
        return str(self.lenders[0].worker)


def find_ancestors(environ: Mapping[str, str]) -> Nesting | None:
    """The attempts that this process is in; None if it is in none.

    Raises UserError: the attempt has ended already, is in the fast lane, or the run would be nested too deep.
    """
    told = environ.get(WORKER_FOLDER_VARIABLE)
    mark = environ.get(MARK_VARIABLE)
    folder = Path(told) if told else worker_above()
    if folder is None:
        if mark:
            raise _ended(f"attempt {mark}")
        return None
    nearest_mark, nearest = _running_attempt(folder, mark)
    if nearest.lane == "fast":
        hint = 'give its job lane = "main"'
        raise UserError(f"item {nearest.item} is in the fast lane: a fast item never starts a nested run", hint)
    if nearest.depth >= nearest.max_depth:
        message = f"item {nearest.item} is in a run at depth {nearest.depth}, and max_depth is {nearest.max_depth}"
        raise UserError(f"{message}: no run may be nested in it", "raise max_depth in [run] of the outermost run, or nest less")
    marks = [nearest_mark]
    lenders = [_lender(folder, nearest)]
    parent = nearest.parent
    while parent is not None:
        above = Path(parent)
        above_mark, holding = _running_attempt(above, None)
        if not marks[-1].startswith(f"{above_mark}/"):
            raise _ended(f"an attempt above {nearest.item}")
        marks.append(above_mark)
        lenders.append(_lender(above, holding))
        parent = holding.parent
    return Nesting(tuple(reversed(marks)), tuple(lenders), Path(nearest.root), nearest.depth + 1, nearest.max_depth)


def worker_above() -> Path | None:
    """The folder of the nearest worker (or inline supervisor) among this process's ancestors; None if there is none.

    Told by the liveness lock that each keeps open and no agent inherits.
    """
    for open_files in _files_of_ancestors() if HAS_PROC else _files_of_ancestors_by_psutil():
        for name in open_files:
            if name.endswith(_LIVENESS_SUFFIX) and is_locked(Path(name)):
                return Path(name).parent
    return None


def _running_attempt(folder: Path, mark: str | None) -> tuple[str, Holding]:
    """Mark and holding of the attempt that the worker runs. Raises UserError if it runs none, or not the one with `mark`."""
    running: Begun | None = None
    for line in read_log(str(folder / LOG_NAME)):
        if isinstance(line, Begun):
            running = line
        elif isinstance(line, Ended) and running is not None and line.sequence == running.sequence:
            running = None
    if running is None or running.holding is None or mark not in (None, running.mark):
        raise _ended(f"attempt {mark}" if mark else f"the attempt of worker {folder}")
    if not is_locked(folder / LIVENESS_LOCK_NAME):
        raise _ended(f"attempt {running.mark}", "its worker was killed")
    return running.mark, running.holding


def _ended(attempt: str, why: str = "it has ended") -> UserError:
    message = f"this process says that it is part of {attempt}, but {why}"
    return UserError(message, f"for a run of its own: env -u {MARK_VARIABLE} -u {WORKER_FOLDER_VARIABLE} orchestrate …")


def _lender(folder: Path, holding: Holding) -> Lender:
    return Lender(folder, home_of(Path(holding.run)), frozenset(holding.pools))


def _files_of_ancestors() -> Iterator[list[str]]:
    """The files that each ancestor of this process has open, nearest first."""
    for pid in _ancestor_pids():
        folder = f"/proc/{pid}/fd"
        found = []
        # Another user's process does not tell, and is none of ours.
        with contextlib.suppress(PermissionError, FileNotFoundError):
            for number in os.listdir(folder):
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    found.append(os.readlink(f"{folder}/{number}"))
        yield found


def _ancestor_pids() -> list[int]:
    pids: list[int] = []
    # When an ancestor ends during the walk its children get another parent: once more. Where other users' processes are hidden
    # (hidepid) the walk ends at the first of them, each time.
    for _ in range(_WALKS):
        pids.clear()
        pid = os.getppid()
        try:
            while pid > 0:
                pids.append(pid)
                pid = _parent_of(pid)
            break
        except (FileNotFoundError, ProcessLookupError):
            continue
    return pids


def _parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        line = file.read()
    # The command name stands in parentheses and may hold any byte: count from the last one.
    return int(line[line.rindex(b")") + 2 :].split(b" ", 2)[1])


def _files_of_ancestors_by_psutil() -> Iterator[list[str]]:
    import psutil

    for process in psutil.Process().parents():
        try:
            yield [file.path for file in process.open_files()]
        except psutil.Error:
            # It has ended, or it is another user's.
            continue
