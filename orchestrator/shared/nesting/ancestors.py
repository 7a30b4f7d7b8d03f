"""The ancestors of this process: the attempts that it runs in, from the nearest one up to the outermost run.

The environment names the nearest attempt. Where the environment was taken away (`env -i`) the parent processes do: one of them
holds the liveness lock of its worker folder. (A worker is a subreaper, so `setsid` and a double fork do not lead away from it.)
The worker's log says what the attempt holds, and in which worker's attempt its own run is nested; and so on upwards.

Promise: a nesting that is returned is true now: each worker lives, each attempt has begun and has not ended. A nesting that was
true once is refused in words.
It refuses to handle: a process in another pid namespace without the environment (a container of its own).
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
"""How often the parents of this process are read, at most, while some of them end."""


class Lender(msgspec.Struct, frozen=True):
    """An attempt that lends what it holds: the folder of its worker, and the pools of `home` of which it holds a slot."""

    worker: Path
    home: Path
    pools: frozenset[str]


class Nesting(msgspec.Struct, frozen=True):
    """The place of a nested run. `marks`: of the attempts that it is in, outermost first; `lenders`: the same, nearest first.

    `root`: the folder of the outermost run. `depth`: of this run, at least 1 and at most `max_depth`.
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
    # Which worker runs the nearest attempt: the environment says so, or the parent processes do.
    told = environ.get(WORKER_FOLDER_VARIABLE)
    mark = environ.get(MARK_VARIABLE)
    folder = Path(told) if told else worker_above()
    if folder is None:
        if mark:
            raise _ended(f"attempt {mark}")
        return None
    # What this attempt may not start is refused at once, in words.
    nearest_mark, nearest = _running_attempt(folder, mark)
    if nearest.lane == "fast":
        hint = 'give its job lane = "main"'
        raise UserError(f"item {nearest.item} is in the fast lane: a fast item never starts a nested run", hint)
    if nearest.depth >= nearest.max_depth:
        message = f"item {nearest.item} is in a run at depth {nearest.depth}, and max_depth is {nearest.max_depth}"
        raise UserError(f"{message}: no run may be nested in it", "raise max_depth in [run] of the outermost run, or nest less")
    # From attempt to attempt upwards. A mark begins with that of the attempt above: else that one has ended.
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
    """The folder of the nearest worker (or inline supervisor) among this process's ancestors; None if there is none."""
    # Each worker keeps its liveness lock open, and no agent inherits it: the open files of a process tell that it is a worker.
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
        # The open files of another user's process cannot be seen, and it is no worker of ours.
        with contextlib.suppress(PermissionError, FileNotFoundError):
            for number in os.listdir(folder):
                with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                    found.append(os.readlink(f"{folder}/{number}"))
        yield found


def _ancestor_pids() -> list[int]:
    pids: list[int] = []
    # When an ancestor ends during the walk its children get another parent: walk once more. Where other users' processes are
    # hidden (hidepid) each walk ends at the first of them.
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
            continue  # it has ended, or it is another user's
