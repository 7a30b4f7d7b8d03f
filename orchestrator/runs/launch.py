"""Which run a command means: a new one, an unfinished one that goes on, or none because the file already runs.

Promise: of two launches of the same file at the same moment one sees the other (`launch.lock`). A run that is returned is locked
for this process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import RunHeldError, StateRefusedError, StateUnwritableError, UserError
from orchestrator.jobsfile.model import JobsFile
from orchestrator.runs.locking import lock_run
from orchestrator.runs.new_run import AGAIN, Launched, NewRun, create_run
from orchestrator.runs.run_requests import RunRequest
from orchestrator.shared.nesting.inside import agents_item_around, refuse_inside
from orchestrator.store.checkpoint import read_header
from orchestrator.store.home import launch_lock
from orchestrator.store.load import read_history
from orchestrator.store.records import RunHeader
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.holders import SeenLocks, holder_pid, is_locked, is_stopped
from orchestrator.system.stop_signals import Stopper

WAIT_POLL_SECONDS = 0.5
"""How often `--overlap wait` looks whether the other run has ended."""

LAUNCH_PATIENCE_SECONDS = 10.0
"""How long one process may keep others from launching: it takes moments. One that is stopped (Ctrl-Z) would do so for ever."""

_LAUNCH_POLL_SECONDS = 0.05


def launch_run(
    home: Path, jobs_file: JobsFile, inputs: dict[str, Any], request: RunRequest, stopper: Stopper | None
) -> Launched | RunDir:
    """Hold the run that `request` means; a RunDir is a living run for which this one is skipped.

    Raises UserError, RunHeldError (also if `stopper` ends the wait for another run, or for a process that launches one).
    """
    path = os.path.realpath(request.jobs_file)
    work = _Work(path, inputs, os.path.realpath(jobs_file.folder), agents_item_around())
    heeds_others = request.resume or request.overlap != "allow"
    while True:
        with _launching(home, stopper):
            # Nobody runs the file: go on with the unfinished run that is asked for, else begin one.
            # With --resume alone a run with other inputs, or in another folder, is other work, which neither goes on nor stands
            # in the way.
            living = _living_run(home, path, work if request.overlap == "allow" else None) if heeds_others else None
            if living is None:
                unfinished = _unfinished_run(home, work, request) if request.resume else None
                if unfinished is not None:
                    refuse_inside(unfinished, "a resume")
                    return Launched(unfinished, lock_run(unfinished), None)
                new = NewRun(
                    jobs_file=jobs_file,
                    inputs=inputs,
                    options=request.options,
                    run_id=request.run_id,
                    within=work.within,
                    capsule=request.capsule,
                )
                return create_run(home, new)
            if request.overlap == "skip":
                return living
            if request.overlap != "wait" or (stopper is not None and stopper.is_stopped):
                raise RunHeldError(
                    f"{request.jobs_file}: run {living.run_id} of it goes on", f"orchestrate status {living.run_id} shows it"
                )
        # Wait without the lock: the others of this home must be able to launch.
        refuse_inside(living, "--overlap wait")
        _wait(stopper, WAIT_POLL_SECONDS)


def _wait(stopper: Stopper | None, seconds: float) -> None:
    """Wait that long, or until `stopper` stops."""
    if stopper is None:
        time.sleep(seconds)
    else:
        stopper.wait(seconds)


@contextmanager
def _launching(home: Path, stopper: Stopper | None) -> Iterator[None]:
    """One launch at a time in this home: of two cron jobs in the same second only one may find that nobody runs the file."""
    path = launch_lock(home)
    try:
        # Whoever starts a first run by a function has no home yet.
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = _launch_turn(path, stopper)
    except OSError as error:
        raise StateUnwritableError(f"{path}: cannot be locked: {error.strerror or error}", AGAIN) from error
    try:
        yield
    finally:
        os.close(fd)


def _launch_turn(path: Path, stopper: Stopper | None) -> int:
    """The locked launch.lock. Raises RunHeldError if `stopper` stops, or if one process keeps the lock and keeps it; OSError."""
    # Imported here: it takes 35 ms, which a command that only reads must not pay.
    from orchestrator.system.locks.travelling import try_lock

    keeper, give_up_at = None, time.monotonic() + LAUNCH_PATIENCE_SECONDS
    while (fd := try_lock(path)) is None:
        # In a crowd of launches the lock goes from one to the next, and each has its time.
        if (pid := holder_pid(path)) != keeper:
            keeper, give_up_at = pid, time.monotonic() + LAUNCH_PATIENCE_SECONDS
        if (stopper is not None and stopper.is_stopped) or time.monotonic() >= give_up_at:
            raise RunHeldError(*_keeper_in_words(path, keeper))
        _wait(stopper, _LAUNCH_POLL_SECONDS)
    return fd


def _keeper_in_words(path: Path, pid: int | None) -> tuple[str, str]:
    """Message and hint about a process that keeps others from launching."""
    who = "another process" if pid is None else f"process {pid}"
    if pid is not None and is_stopped(pid):
        return f"{path}: {who} holds it and is stopped (SIGSTOP)", f"kill -CONT {pid} lets it go on, then try again"
    return f"{path}: {who} holds it: it finds out which run to start", "wait for it, or end it, then try again"


class _Work(msgspec.Struct, frozen=True):
    """What is to be run: a file, with inputs, whose relative paths start from a folder. Both paths are real.

    `within`: the agent's item that it is begun in; what an agent began is its own, and no other run's to go on with.
    """

    jobs_file: str
    inputs: dict[str, Any]
    folder: str
    within: str

    def is_of(self, header: RunHeader) -> bool:
        """Whether a run does this work."""
        same = header.jobs_file == self.jobs_file and header.inputs == self.inputs and header.within == self.within
        return same and self.is_in(header)

    def is_in(self, header: RunHeader) -> bool:
        """Whether the paths of a run start from the same folder."""
        return header.folder == self.folder or os.path.realpath(header.folder) == self.folder


def _living_run(home: Path, jobs_file: str, work: _Work | None) -> RunDir | None:
    """The newest run of this file (that does `work`, unless None) that has a supervisor, and is no other run's child."""
    from orchestrator.store.known_runs import list_runs

    # Seen while nobody else launches. Of the others, thousands perhaps, nothing is read.
    locks = SeenLocks()
    for run_dir in list_runs(home, lambda each: is_locked(each.supervisor_lock, locks)):
        with suppress(StateRefusedError, FileNotFoundError):
            header = read_header(run_dir.checkpoint)
            if header.jobs_file == jobs_file and header.parent is None and (work is None or work.is_of(header)):
                return run_dir
    return None


def _check_same_work(run_dir: RunDir, work: _Work) -> None:
    """Raise UserError if the named run does not do `work`: it would go on with something else than was asked for."""
    header = read_header(run_dir.checkpoint)
    if header.parent is not None:
        raise UserError(f"run {run_dir.run_id} is the child run of {header.parent}", "choose another id")
    if header.within != work.within:
        begun = f"inside of item {header.within}" if header.within else "outside of the item that asks"
        raise UserError(f"run {run_dir.run_id} was begun {begun}", "choose another id")
    hint = "choose another id, or resume it by its id alone"
    if header.jobs_file != work.jobs_file:
        raise UserError(f"run {run_dir.run_id} is one of {header.jobs_file}", hint)
    if not work.is_in(header):
        raise UserError(f"run {run_dir.run_id} works in {header.folder}", hint)
    if header.inputs != work.inputs:
        different = sorted(key for key in {*header.inputs, *work.inputs} if header.inputs.get(key) != work.inputs.get(key))
        raise UserError(f"run {run_dir.run_id} has other inputs: {', '.join(different)}", hint)


def _unfinished_run(home: Path, work: _Work, request: RunRequest) -> RunDir | None:
    """The run that was named; else the newest that does this work, is unfinished and young enough."""
    from orchestrator.store.known_runs import list_runs

    for run_dir in list_runs(home):
        # A run that is named goes on whatever it came to, and only if it is that work.
        if request.run_id is not None:
            if run_dir.run_id == request.run_id:
                _check_same_work(run_dir, work)
                return run_dir
            continue
        try:
            header = read_header(run_dir.checkpoint)
            if header.parent is not None or not work.is_of(header):
                continue
            # The age first: it stands in the header, and all records are read for the rest.
            if request.max_age is not None and time.time() - header.created_at > request.max_age:
                continue
            ended = read_history(run_dir).ended
        except StateRefusedError:
            continue  # a run that cannot be read cannot go on; `status` tells why
        if ended is None or ended.status in ("interrupted", "paused"):
            return run_dir
    return None
