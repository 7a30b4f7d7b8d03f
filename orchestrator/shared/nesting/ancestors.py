"""The ancestors of this process: the attempts that it runs in, from the nearest one up to the outermost run.

The environment names the nearest attempt. Where the environment was taken away (`env -i`) the parent processes do
(`system.enclosing`).
The worker's log says what the attempt holds, and in which worker's attempt its own run is nested; and so on upwards.

Promise: a nesting that is returned is true now: each worker lives, each attempt has begun and has not ended. A nesting that was
true once is refused in words.
It refuses to handle: a process in another pid namespace without the environment (a container of its own).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from orchestrator.errors import UserError
from orchestrator.store.home import home_of
from orchestrator.system.enclosing import worker_folder_of
from orchestrator.system.locks.holders import is_locked
from orchestrator.system.process_chain import ChainUnknownError, chain_of
from orchestrator.workers.log import LOG_NAME, read_log, running_attempt
from orchestrator.workers.protocol import LIVENESS_LOCK_NAME, MARK_VARIABLE, WORKER_FOLDER_VARIABLE, Holding


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
    with contextlib.suppress(ChainUnknownError):
        for process in chain_of(os.getpid())[1:]:
            if (folder := worker_folder_of(process.pid)) is not None:
                return Path(folder)
    return None


def _running_attempt(folder: Path, mark: str | None) -> tuple[str, Holding]:
    """Mark and holding of the attempt that the worker runs. Raises UserError if it runs none, or not the one with `mark`."""
    running = running_attempt(read_log(str(folder / LOG_NAME)))
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
