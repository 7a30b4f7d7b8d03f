"""Which run a command means: a new one, an unfinished one that goes on, or none because the file already runs.

Promise: of two launches of the same file at the same moment one sees the other (`launch.lock`); a run that is handed out is
locked for this process.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import msgspec

from orchestrator.errors import RunHeldError, StateRefusedError, StateUnwritableError, UserError
from orchestrator.jobsfile.input_values import Ask
from orchestrator.jobsfile.load import user_config
from orchestrator.jobsfile.model import JobsFile
from orchestrator.runs.locking import _require_descriptors, lock_run
from orchestrator.shared.nesting.inside import refuse_inside
from orchestrator.store.checkpoint import read_header
from orchestrator.store.durable_file import unwritable, write_durably
from orchestrator.store.home import launch_lock
from orchestrator.store.item_list import write_item_list
from orchestrator.store.known_runs import list_runs
from orchestrator.store.load import read_history
from orchestrator.store.records import RunHeader, RunOptions
from orchestrator.store.run_dir import RunDir, create_run_dir, new_run_id
from orchestrator.store.run_store import RunStore
from orchestrator.store.supervisor_lock import SupervisorLock
from orchestrator.system.locks.holders import is_locked
from orchestrator.system.stop_signals import Stopper

Overlap = Literal["allow", "skip", "wait", "fail"]
WAIT_POLL_SECONDS = 0.5
DEFAULT_OPTIONS = RunOptions()

_AGAIN = "free some space there or mend that, then run it again"


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What `orchestrate run FILE` was asked for. `max_age` in seconds: older unfinished runs are not continued.

    `inputs`: pairs `KEY=VALUE`; the environment may give others. `ask_input`: asks for what is then missing. A program gives the
    `values` themselves, and the file as it has `loaded` it.
    """

    jobs_file: str
    loaded: JobsFile | None = None
    values: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()
    inputs_file: str | None = None
    ask_input: Ask | None = None
    options: RunOptions = DEFAULT_OPTIONS
    folder: str | None = None
    run_id: str | None = None
    resume: bool = False
    max_age: float | None = None
    overlap: Overlap = "allow"
    capsule: str | None = None
    """The archive that is replayed: agents are not started, what it recorded of them is played."""


class Launched(msgspec.Struct, frozen=True):
    """A run that this process now holds. `store` is open if the run is new."""

    run_dir: RunDir
    lock: SupervisorLock
    store: RunStore | None


def launch(
    home: Path, jobs_file: JobsFile, inputs: dict[str, Any], request: RunRequest, stopper: Stopper | None = None
) -> Launched | RunDir:
    """Hold the run that `request` means; a RunDir is a living run for which this one is skipped.

    Raises UserError, RunHeldError (also if `stopper` ends the wait for another run).
    """
    path = os.path.realpath(request.jobs_file)
    heeds_others = request.resume or request.overlap != "allow"
    while True:
        with _launching(home):
            living = _living_run(home, path) if heeds_others else None
            if living is None:
                unfinished = _unfinished_run(home, path, inputs, request) if request.resume else None
                if unfinished is not None:
                    refuse_inside(unfinished, "a resume")
                    return Launched(unfinished, lock_run(unfinished), None)
                return create(home, jobs_file, inputs, request.options, request.run_id, capsule=request.capsule)
            if request.overlap == "skip":
                return living
            if request.overlap != "wait" or (stopper is not None and stopper.is_stopped):
                raise RunHeldError(
                    f"{request.jobs_file}: run {living.run_id} of it goes on", f"orchestrate status {living.run_id} shows it"
                )
        refuse_inside(living, "--overlap wait")
        if stopper is None:
            time.sleep(WAIT_POLL_SECONDS)
        else:
            stopper.wait(WAIT_POLL_SECONDS)


def create(
    home: Path,
    jobs_file: JobsFile,
    inputs: dict[str, Any],
    options: RunOptions,
    run_id: str | None,
    *,
    lines: Iterable[str] | None = None,
    parent: str | None = None,
    capsule: str | None = None,
) -> Launched:
    """Make a new run. `lines`: the items of the one job `each`; `parent` (`RUN/ITEM`): whose child it is.
    `capsule`: the archive that is replayed.

    Raises UserError (the id is taken), StateUnwritableError.
    """
    _require_descriptors()
    now = time.time()
    run_dir = create_run_dir(home, new_run_id(now) if run_id is None else run_id)
    with _unborn(run_dir):
        lock = lock_run(run_dir)
        try:
            for name in ("items", "slots", "workers", "outputs"):
                (run_dir.path / name).mkdir(mode=0o700, exist_ok=True)
            config = user_config()
            if config is not None:
                # A later resume reads the defaults that held then.
                write_durably(run_dir.config_toml, Path(config).read_bytes())
            if lines is not None:
                write_item_list(run_dir.items("each", 0), lines)
            if capsule is not None:
                _take(Path(capsule), run_dir)
            header = RunHeader(
                run_id=run_dir.run_id,
                nonce=secrets.token_hex(6),
                name=jobs_file.name,
                jobs_file=jobs_file.path,
                folder=jobs_file.folder,
                created_at=now,
                jobs={job.id: job.for_each is not None for job in jobs_file.jobs},
                inputs=inputs,
                options=options,
                each=lines is not None,
                parent=parent,
            )
            return Launched(run_dir, lock, RunStore.create(run_dir, header, jobs_file.text))
        except BaseException:
            lock.release()
            raise


def _take(capsule: Path, run_dir: RunDir) -> None:
    """Unpack what the run replays. Survives SIGKILL, not power loss: then the archive is replayed once more."""
    from orchestrator.attempts.replay.archive import unpack  # only a replay pays for what reads archives

    try:
        unpack(capsule, run_dir.capsule)
    except OSError as error:
        raise unwritable(run_dir.capsule, error) from error


@contextmanager
def _unborn(run_dir: RunDir) -> Iterator[None]:
    """What cannot be written is told with what to do about it: there is nothing to resume before the first checkpoint stands."""
    try:
        yield
    except OSError as error:
        raise StateUnwritableError(f"{run_dir.path}: {error.strerror}", _AGAIN) from error
    except StateUnwritableError as error:
        if run_dir.checkpoint.exists():
            raise
        raise StateUnwritableError(error.message, _AGAIN) from error


@contextmanager
def _launching(home: Path) -> Iterator[None]:
    """One launch at a time in this home: two cron jobs of the same second must not both find that nobody runs the file."""
    import filelock

    try:
        with filelock.FileLock(launch_lock(home), mode=0o600, fallback_to_soft=False, is_singleton=False):
            yield
    except OSError as error:
        raise StateUnwritableError(f"{home}: cannot be locked: {error.strerror or error}", _AGAIN) from error


def _living_run(home: Path, jobs_file: str) -> RunDir | None:
    """The newest run of this file that has a supervisor, and is no other run's child."""
    for run_dir in list_runs(home):
        with suppress(StateRefusedError, FileNotFoundError):
            if not is_locked(run_dir.supervisor_lock):
                continue
            header = read_header(run_dir.checkpoint)
            if header.jobs_file == jobs_file and header.parent is None:
                return run_dir
    return None


def _check_same_work(run_dir: RunDir, jobs_file: str, inputs: dict[str, Any]) -> None:
    """Raise UserError if the named run has another file or other inputs: what it would go on with is not what was asked for."""
    header = read_header(run_dir.checkpoint)
    if header.parent is not None:
        raise UserError(f"run {run_dir.run_id} is the child run of {header.parent}", "choose another id")
    if header.jobs_file != jobs_file:
        raise UserError(f"run {run_dir.run_id} is one of {header.jobs_file}", "choose another id, or resume it by its id alone")
    if header.inputs != inputs:
        different = sorted(key for key in {*header.inputs, *inputs} if header.inputs.get(key) != inputs.get(key))
        raise UserError(
            f"run {run_dir.run_id} has other inputs: {', '.join(different)}", "choose another id, or resume it by its id alone"
        )


def _unfinished_run(home: Path, jobs_file: str, inputs: dict[str, Any], request: RunRequest) -> RunDir | None:
    """The run that was named, or the newest of this file with these inputs, if it is unfinished and young enough."""
    for run_dir in list_runs(home):
        if request.run_id is not None:
            if run_dir.run_id == request.run_id:
                _check_same_work(run_dir, jobs_file, inputs)
                return run_dir
            continue
        try:
            header = read_header(run_dir.checkpoint)
            if header.jobs_file != jobs_file or header.inputs != inputs or header.parent is not None:
                continue
            ended = read_history(run_dir).ended
        except StateRefusedError:
            continue  # that run cannot be continued, whatever it is; `status` tells why
        is_young = request.max_age is None or time.time() - header.created_at <= request.max_age
        is_unfinished = ended is None or ended.status in ("interrupted", "paused")
        if is_young and is_unfinished:
            return run_dir
    return None
