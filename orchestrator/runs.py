"""Starting and resuming runs: what the commands `run`, `each`, `resume` and `cancel` stand on."""

from __future__ import annotations

import os
import secrets
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.core.events import CancelAsked, Event, StopAsked
from orchestrator.core.opening import open_run
from orchestrator.core.states import RestoredJob, Stop
from orchestrator.engines.engine import Engine
from orchestrator.errors import ExitCode, RunHeldError, StateUnwritableError, UserError
from orchestrator.jobsfile.model import JobsFile
from orchestrator.locks.holders import SupervisorLock, is_locked
from orchestrator.narrator import Narrator
from orchestrator.restoring import assign_slots, restore_job
from orchestrator.results import RunReader
from orchestrator.rules import rules_of
from orchestrator.run_log import append_log
from orchestrator.signals import SignalInbox
from orchestrator.staleness import stale_count
from orchestrator.store.durable_file import write_durably
from orchestrator.store.history import read_history
from orchestrator.store.itemlist import write_item_list
from orchestrator.store.outputs import CaptureMismatch, verify_capture
from orchestrator.store.records import (
    ItemSettled,
    RunHeader,
    RunOptions,
    Status,
    SupervisorStarted,
)
from orchestrator.store.run_store import RunStore
from orchestrator.store.rundir import RunDir, create_run_dir, list_runs, new_run_id
from orchestrator.supervisor import Supervisor
from orchestrator.views import happenings
from orchestrator.views.happenings import View
from workers.faultpoints import arm
from workers.identity import boot_id, start_ticks

Overlap = Literal["allow", "skip", "wait", "fail"]
WAIT_POLL_SECONDS = 0.5
DEFAULT_OPTIONS = RunOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What `orchestrate run FILE` was asked for. `max_age` in seconds: older unfinished runs are not continued."""

    jobs_file: str
    inputs: tuple[str, ...] = ()
    options: RunOptions = DEFAULT_OPTIONS
    folder: str | None = None
    run_id: str | None = None
    resume: bool = False
    max_age: float | None = None
    overlap: Overlap = "allow"


@dataclass(frozen=True, slots=True)
class RunReport:
    """How a run went. `summary` is the object of `run --json`."""

    run_id: str
    status: str
    exit_code: int
    summary: dict[str, Any]


def run_file(home: Path, request: RunRequest, view: View) -> RunReport:
    """Run a jobs file, or continue its newest unfinished run (`resume`). Raises UserError and its kinds."""
    from orchestrator.jobsfile.inputs import resolve_inputs
    from orchestrator.jobsfile.load import load

    path = os.path.realpath(request.jobs_file)
    jobs_file = load(request.jobs_file, folder=request.folder, user_config=user_config())
    inputs = resolve_inputs(jobs_file.inputs, request.inputs)
    while True:
        with _launching(home):
            living = _living_run(home, path)
            if living is not None and (request.resume or request.overlap != "allow"):
                if request.overlap == "skip":
                    return _skipped(living)
                if request.overlap != "wait":
                    raise RunHeldError(
                        f"{request.jobs_file}: run {living.run_id} of it goes on", f"orchestrate status {living.run_id} shows it"
                    )
            else:
                unfinished = _unfinished_run(home, path, inputs, request) if request.resume else None
                if unfinished is not None:
                    lock = _lock(unfinished)
                    store = None
                else:
                    lock, store = _create(home, jobs_file, inputs, request.options, request.run_id)
                break
        time.sleep(WAIT_POLL_SECONDS)
    with _releasing(lock):
        if store is not None:
            return _supervise(store, jobs_file, view, options=request.options)
        assert unfinished is not None
        return _resume(unfinished, view, options=request.options)


def run_each(
    home: Path,
    jobs_text: str,
    lines: Iterable[str],
    options: RunOptions,
    view: View,
    *,
    folder: str,
    run_id: str | None = None,
) -> RunReport:
    """Run the jobs file that `orchestrate each` made; its one job `each` runs over `lines`."""
    from orchestrator.jobsfile.load import load_text

    jobs_file = load_text(jobs_text, path=os.path.join(folder, "each.toml"), folder=folder)
    lock, store = _create(home, jobs_file, {}, options, run_id, lines=lines)
    with _releasing(lock):
        return _supervise(store, jobs_file, view, options=options)


def resume_run(
    _home: Path,
    run_dir: RunDir,
    view: View,
    *,
    keep_failed: bool = False,
    rerun_stale: bool = False,
    slots: int | None = None,
    keep_going: bool | None = None,
) -> RunReport:
    """Continue a run: what has not succeeded. Raises RunHeldError if somebody supervises it."""
    with _releasing(_lock(run_dir)):
        options = RunOptions(slots=slots, keep_going=bool(keep_going))
        report = _resume(run_dir, view, options=options, keep_failed=keep_failed, rerun_stale=rerun_stale)
        # Running one job again may make those after it stale: each pass comes one job further.
        while rerun_stale and report.exit_code == ExitCode.COMPLETED and stale_count(read_history(run_dir)):
            report = _resume(run_dir, view, options=options, keep_failed=keep_failed, rerun_stale=True)
        return report


def cancel_dead_run(run_dir: RunDir, items: list[tuple[str, int]] | None, view: View) -> RunReport:
    """Cancel a run that nobody supervises, or some items of it: its workers are ended, nothing is started."""
    with _releasing(_lock(run_dir)):
        return _resume(run_dir, view, options=RunOptions(), keep_failed=True, cancel=True, cancel_items=items)


def user_config() -> str | None:
    """The user's config.toml, if there is one."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    path = os.path.join(base, "orchestrate", "config.toml")
    return path if os.path.exists(path) else None


def default_slots() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def _launching(home: Path) -> Iterator[None]:
    """One launch at a time in this home: two cron jobs of the same second must not both find that nobody runs the file."""
    import filelock

    try:
        with filelock.FileLock(home / "launch.lock", mode=0o600, fallback_to_soft=False, is_singleton=False):
            yield
    except OSError as error:
        raise StateUnwritableError(f"{home}: cannot be locked: {error.strerror or error}") from error


@contextmanager
def _releasing(lock: SupervisorLock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()


def _lock(run_dir: RunDir) -> SupervisorLock:
    lock = SupervisorLock(run_dir)
    lock.try_acquire()
    return lock


def _living_run(home: Path, jobs_file: str) -> RunDir | None:
    """The newest run of this file that has a supervisor."""
    for run_dir in list_runs(home):
        if is_locked(run_dir.supervisor_lock) and read_history(run_dir).header.jobs_file == jobs_file:
            return run_dir
    return None


def _unfinished_run(home: Path, jobs_file: str, inputs: dict[str, Any], request: RunRequest) -> RunDir | None:
    """The newest run of this file with these inputs, if it is unfinished (interrupted or paused) and young enough."""
    for run_dir in list_runs(home):
        if request.run_id is not None and run_dir.run_id != request.run_id:
            continue
        history = read_history(run_dir)
        header = history.header
        if request.run_id is None and (header.jobs_file != jobs_file or header.inputs != inputs):
            continue
        if request.run_id is None and request.max_age is not None and time.time() - header.created_at > request.max_age:
            return None
        is_unfinished = history.ended is None or history.ended.status in ("interrupted", "paused")
        return run_dir if is_unfinished or request.run_id is not None else None
    return None


def _skipped(living: RunDir) -> RunReport:
    reader = RunReader(living, read_history(living))
    return RunReport(living.run_id, "skipped", ExitCode.COMPLETED, reader.summary())


def _create(
    home: Path,
    jobs_file: JobsFile,
    inputs: dict[str, Any],
    options: RunOptions,
    run_id: str | None,
    *,
    lines: Iterable[str] | None = None,
) -> tuple[SupervisorLock, RunStore]:
    arm(os.environ.get("ORCHESTRATE_FAULT"))
    now = time.time()
    run_dir = create_run_dir(home, run_id or new_run_id(now))
    for name in ("items", "slots", "workers", "outputs"):
        (run_dir.path / name).mkdir(mode=0o700, exist_ok=True)
    lock = _lock(run_dir)
    try:
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
        )
        config = user_config()
        if config is not None:
            # A later resume reads the defaults that held then.
            write_durably(run_dir.config_toml, Path(config).read_bytes())
        if lines is not None:
            write_item_list(run_dir.items("each"), lines)
        return lock, RunStore.create(run_dir, header, jobs_file.text)
    except BaseException:
        lock.release()
        raise


def _resume(
    run_dir: RunDir,
    view: View,
    *,
    options: RunOptions,
    keep_failed: bool = False,
    rerun_stale: bool = False,
    cancel: bool = False,
    cancel_items: list[tuple[str, int]] | None = None,
) -> RunReport:
    arm(os.environ.get("ORCHESTRATE_FAULT"))
    store = RunStore.open(run_dir)
    header = store.history.header
    jobs_file = RunReader(run_dir, store.history).jobs_file
    merged = RunOptions(
        slots=options.slots if options.slots is not None else header.options.slots,
        keep_going=options.keep_going or header.options.keep_going,
    )
    first: list[Event] = []
    if cancel:
        orders = {job.id: order for order, job in enumerate(jobs_file.jobs)}
        refs = None if cancel_items is None else tuple((orders[job_id], index) for job_id, index in cancel_items)
        first = [CancelAsked(refs)] if refs is None else [CancelAsked(refs), StopAsked(Stop.DRAIN)]
    return _supervise(
        store,
        jobs_file,
        view,
        options=merged,
        is_resumed=True,
        keep_failed=keep_failed,
        rerun_stale=rerun_stale,
        first=first,
    )


def _supervise(
    store: RunStore,
    jobs_file: JobsFile,
    view: View,
    *,
    options: RunOptions,
    is_resumed: bool = False,
    keep_failed: bool = False,
    rerun_stale: bool = False,
    first: Iterable[Event] = (),
) -> RunReport:
    """Supervise a run whose lock this process holds, to its end or until it is stopped."""
    run_dir, history = store.run_dir, store.history
    reader = RunReader(run_dir, history, alive=True)
    slots = next(each for each in (options.slots, jobs_file.run.slots, default_slots()) if each is not None)
    now = time.time()
    try:
        starts = dict(history.open_starts)
        slots_of = assign_slots(starts.values(), max(slots, 1))
        restored = _restored(store, jobs_file, slots_of, keep_failed=keep_failed, rerun_stale=rerun_stale)
        state = open_run(
            rules_of(jobs_file.jobs, keep_going=options.keep_going),
            slots=max(slots, 1),
            now=time.monotonic(),
            drain_timeout=jobs_file.run.drain_timeout,
            timeout=jobs_file.run.timeout,
            restored=restored,
        )
        store.append([SupervisorStarted(pid=os.getpid(), start_ticks=start_ticks(os.getpid()) or -1, boot_id=boot_id(), at=now)])
        append_log(run_dir.log, f"supervising {run_dir.run_id} with {slots} slots")
        view.show(
            happenings.RunBegan(
                run_id=run_dir.run_id,
                name=history.header.name,
                jobs=[job.id for job in jobs_file.jobs],
                slots=slots,
                at=now,
                is_resumed=is_resumed,
            )
        )
        for order, past in restored.items():
            job_id = jobs_file.jobs[order].id
            view.show(happenings.JobListed(job=job_id, count=len(past.states), counts=reader.job_counts(job_id)))
        with SignalInbox() as signals:
            supervisor = Supervisor(
                store=store,
                reader=reader,
                jobs_file=jobs_file,
                state=state,
                engine=_engine(run_dir, slots, signals, jobs_file.run.drain_timeout),
                narrator=Narrator(view, run_dir.log),
                signals=signals,
            )
            try:
                for key, start in starts.items():
                    supervisor.resume_flight(start, slots_of[key])
                exit_code = supervisor.run(first)
            finally:
                supervisor.close()
    except StateUnwritableError as error:
        append_log(run_dir.log, f"{error.message}; what is recorded stays, and the run can be resumed")
        raise
    except UserError:
        raise
    except Exception:
        append_log(run_dir.log, traceback.format_exc())
        raise
    finally:
        store.close()
    reader.alive = False
    summary = reader.summary()
    view.show(
        happenings.RunFinished(
            run_id=run_dir.run_id, status=summary["status"], exit_code=exit_code, summary=summary, at=time.time()
        )
    )
    return RunReport(run_dir.run_id, summary["status"], exit_code, summary)


def _engine(run_dir: RunDir, slots: int, signals: SignalInbox, drain_seconds: float) -> Engine:
    if slots == 0:
        from orchestrator.engines.inline import InlineEngine

        return InlineEngine(run_dir.worker_folder, signals, drain_seconds)
    from orchestrator.engines.local import LocalEngine

    return LocalEngine(run_dir.worker_folder)


def _restored(
    store: RunStore, jobs_file: JobsFile, slots_of: dict[tuple[str, int], int], *, keep_failed: bool, rerun_stale: bool
) -> dict[int, RestoredJob]:
    history = store.history
    was_booted = history.supervisor is not None and history.supervisor.boot_id != boot_id()
    restored = {}
    for order, job in enumerate(jobs_file.jobs):
        past = history.jobs.get(job.id)
        if past is None or past.count is None:
            continue
        damaged = _damaged(store, job.id) if was_booted else {}
        if damaged:
            store.append(
                [
                    ItemSettled(job=job.id, index=index, status=Status.INTERRUPTED, message=message)
                    for index, message in damaged.items()
                ]
            )
        restored[order] = restore_job(
            past, slots_of, history.open_starts, keep_failed=keep_failed, rerun_stale=rerun_stale, damaged=frozenset(damaged)
        )
    return restored


def _damaged(store: RunStore, job_id: str) -> dict[int, str]:
    """Succeeded items whose large output did not survive what ended the last boot: index -> what is wrong."""
    past = store.history.jobs[job_id]
    damaged = {}
    for index in past.indices(Status.SUCCEEDED):
        ended = past.last_end(index)
        if ended is None:
            continue
        try:
            verify_capture(ended.outcome.stdout, store.run_dir)
            verify_capture(ended.outcome.stderr, store.run_dir)
        except CaptureMismatch as mismatch:
            damaged[index] = str(mismatch)
    return damaged
