"""Processes that carry an attempt's mark while neither supervisor nor worker of that run lives to end them."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orchestrator.engines.onlookers import living_process
from orchestrator.errors import UserError
from orchestrator.store.known_runs import list_runs
from orchestrator.store.load import read_history
from orchestrator.store.records import WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import is_locked
from orchestrator.workers.processes.tree import mark_of

_GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process that nobody will end. `age_s`: how long ago it started."""

    pid: int
    mark: str
    command: str
    age_s: float
    process: psutil.Process = field(repr=False, compare=False)


def find_orphans(home: Path) -> list[Orphan]:
    """The orphans of the runs in `home`. Never this process nor its ancestors; runs of another home are not judged."""
    abandoned = {mark for run_dir in list_runs(home) if (mark := _mark_if_abandoned(run_dir)) is not None}
    spared = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in spared:
            continue
        try:
            mark = mark_of(process)
            # RUN.NONCE/ITEM/ATTEMPT, and such a group for each nested run: the innermost stands last.
            if innermost_run(mark) in abandoned:
                age = max(time.time() - process.create_time(), 0.0)
                found.append(Orphan(process.pid, mark, " ".join(process.cmdline()) or process.name(), age, process))
        except psutil.Error:  # gone meanwhile, or another user's
            continue
    return found


def end(orphans: list[Orphan]) -> set[int]:
    """SIGTERM, some seconds, SIGKILL; the pids of those that are still there. A pid that was used again is not touched."""
    processes = [orphan.process for orphan in orphans]
    for orphan in orphans:
        # A child that has shed the mark is lost from sight once its parent is gone.
        with contextlib.suppress(psutil.Error):
            processes += [child for child in orphan.process.children(recursive=True) if child not in processes]
    _, living = psutil.wait_procs(_signalled(processes, kill=False), timeout=_GRACE_SECONDS)
    _, living = psutil.wait_procs(_signalled(living, kill=True), timeout=_GRACE_SECONDS)
    return {process.pid for process in living}


def _signalled(processes: list[psutil.Process], *, kill: bool) -> list[psutil.Process]:
    for process in processes:
        try:
            # psutil compares the start time first: a pid that is another process by now raises NoSuchProcess.
            process.kill() if kill else process.terminate()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return processes


def innermost_run(mark: str) -> str:
    """`RUN.NONCE` of the run that started the process. Raises nothing: what is no mark belongs to no run."""
    parts = mark.split("/")
    return parts[-3] if len(parts) >= 3 else ""


def _mark_if_abandoned(run_dir: RunDir) -> str | None:
    """`RUN.NONCE` of a run that has neither a supervisor nor a worker; None if one lives, or if that cannot be told."""
    if is_locked(run_dir.supervisor_lock):
        return None
    try:
        history = read_history(run_dir)
    except (UserError, FileNotFoundError):
        return None
    if any(_is_living(worker) for worker in history.workers.values()):
        return None
    return history.header.mark


def _is_living(worker: WorkerStarted) -> bool:
    """A zombie is dead: in a container whose first process waits for nobody it would stay for ever."""
    pid = living_process(worker)
    if pid is None:
        return False
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
