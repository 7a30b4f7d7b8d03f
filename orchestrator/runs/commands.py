"""Starting and resuming runs: what the library and the commands `run`, `each`, `resume` and `cancel` stand on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from orchestrator.attempts.items.selection import check_patterns
from orchestrator.attempts.staleness import stale_count
from orchestrator.control.messages import RetryRequest
from orchestrator.core.events import CancelAsked, Event, StopAsked
from orchestrator.core.states import Stop
from orchestrator.errors import ExitCode, RunHeldError, UserError
from orchestrator.jobsfile.load import user_config
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_summary import run_summary
from orchestrator.runs.launch import RunRequest, create, launch
from orchestrator.runs.locking import lock_run
from orchestrator.runs.update_plan import UpdatePlan, UpdateRequest
from orchestrator.shared.nesting.ancestors import Nesting, find_ancestors
from orchestrator.shared.nesting.inside import refuse_inside
from orchestrator.store.checkpoint import read_header
from orchestrator.store.load import read_history
from orchestrator.store.records import RunHeader, RunOptions, Selection, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import RunStore
from orchestrator.store.supervisor_lock import SupervisorLock
from orchestrator.supervisor.gates import Asker
from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.options import SessionOptions, slots_of_run
from orchestrator.supervisor.session import RunReport, supervise
from orchestrator.system.hosted_runs import check_hosting
from orchestrator.system.locks.holders import is_locked
from orchestrator.system.stop_signals import SIGNALS, StopSources
from orchestrator.views.listeners import Listeners
from orchestrator.workers.faultpoints import fault_point

__all__ = [
    "RunReport",
    "RunRequest",
    "UpdateRequest",
    "cancel_dead_run",
    "plan_update",
    "resume_run",
    "retry_items",
    "run_child",
    "run_each",
    "run_file",
]


def run_file(
    home: Path, request: RunRequest, listeners: Listeners, *, stops: StopSources = SIGNALS, asker: Asker | None = None
) -> RunReport:
    """Run a jobs file, or continue its newest unfinished run (`resume`). Raises UserError and its kinds.

    `asker`: whom its gates can ask at once; without one the run pauses when only gates are left.
    """
    from orchestrator.jobsfile.input_values import resolve_inputs
    from orchestrator.jobsfile.load import load

    nesting = find_ancestors(os.environ)
    jobs_file = request.loaded or load(request.jobs_file, folder=request.folder, user_config=user_config())
    if request.capsule is not None:
        from orchestrator.attempts.replay.replay import check_replay

        check_replay(jobs_file)
    check_hosting(is_inline=slots_of_run(request.options, jobs_file) == 0)
    selection = request.options.selection
    check_patterns(selection.only, [job.id for job in jobs_file.jobs])
    inputs = resolve_inputs(
        jobs_file.inputs,
        request.inputs,
        values=request.values,
        file=request.inputs_file,
        environment=os.environ,
        ask=request.ask_input,
    )
    launched = launch(home, jobs_file, inputs, request, stops.stopper)
    if isinstance(launched, RunDir):
        return RunReport(launched.run_id, "skipped", ExitCode.COMPLETED, run_summary(RunReader.read(launched)))
    with _releasing(launched.lock):
        if launched.store is None:
            return _resume(launched.run_dir, listeners, request.options, nesting, selection=selection, stops=stops, asker=asker)
        session = SessionOptions(run=request.options, stops=stops, nesting=nesting, asker=asker)
        return supervise(launched.store, jobs_file, listeners, session)


def run_each(
    home: Path,
    jobs_text: str,
    lines: Iterable[str],
    options: RunOptions,
    listeners: Listeners,
    *,
    folder: str,
    run_id: str | None = None,
) -> RunReport:
    """Run the jobs file that `orchestrate each` made; its one job `each` runs over `lines`."""
    from orchestrator.jobsfile.load import load_text

    nesting = find_ancestors(os.environ)
    jobs_file = load_text(jobs_text, path=os.path.join(folder, "each.toml"), folder=folder, is_recorded=False)
    launched = create(home, jobs_file, {}, options, run_id, lines=lines)
    assert launched.store is not None
    with _releasing(launched.lock):
        return supervise(launched.store, jobs_file, listeners, SessionOptions(run=options, nesting=nesting))


def run_child(
    home: Path,
    path: str,
    given: dict[str, Any],
    options: RunOptions,
    listeners: Listeners,
    *,
    run_id: str,
    parent: str,
    is_update: bool = False,
) -> RunReport:
    """Run a jobs file as the child of an item (`parent`: `RUN/ITEM`), or go on with that run. `given`: its inputs, typed.

    `is_update`: if it goes on, by the file as it is now. Raises UserError and its kinds.
    """
    from orchestrator.jobsfile.child_files import values_of
    from orchestrator.jobsfile.load import load

    nesting = find_ancestors(os.environ)
    if nesting is None:
        raise UserError("a child run is only started by its item", f"run the file itself: orchestrate run {path}")
    run_dir = RunDir.of(home, run_id)
    if run_dir.checkpoint.exists():
        if read_header(run_dir.checkpoint).parent != parent:
            raise UserError(f"run {run_id} exists, and is not the child run of {parent}", f"remove or rename {run_dir.path}")
        with _releasing(lock_run(run_dir)):
            if is_update:
                _update(run_dir, UpdateRequest(), Narrator(listeners, run_dir.log).note)
            return _resume(run_dir, listeners, options, nesting)
    jobs_file = load(path, user_config=user_config())
    launched = create(home, jobs_file, values_of(given, jobs_file.inputs), options, run_id, parent=parent)
    assert launched.store is not None
    with _releasing(launched.lock):
        return supervise(launched.store, jobs_file, listeners, SessionOptions(run=options, nesting=nesting))


def resume_run(
    run_dir: RunDir,
    listeners: Listeners,
    *,
    keep_failed: bool = False,
    rerun_stale: bool = False,
    slots: int | None = None,
    keep_going: bool = False,
    fresh: bool = False,
    selection: Selection | None = None,
    update: UpdateRequest | None = None,
    stops: StopSources = SIGNALS,
    asker: Asker | None = None,
) -> RunReport:
    """Continue a run: what has not succeeded, of what is selected (`selection`; None: as before). `asker` as of `run_file`.

    `update`: by the jobs file as it is now. Raises RunHeldError if somebody supervises it; JobsFileError that has every mistake
    of an edited file: then nothing was changed.
    """
    # It would adopt the attempt that it runs in, and wait for it.
    refuse_inside(run_dir, "a resume")
    _refuse_while_parent_lives(run_dir)
    nesting = find_ancestors(os.environ)
    options = RunOptions(slots=slots, keep_going=keep_going, fresh=fresh)
    with _releasing(lock_run(run_dir)):
        if update is not None:
            _update(run_dir, update, Narrator(listeners, run_dir.log).note)
        if selection is not None:
            check_patterns(selection.only, read_history(run_dir).header.jobs)
        report = _resume(
            run_dir,
            listeners,
            options,
            nesting,
            keep_failed=keep_failed,
            rerun_stale=rerun_stale,
            is_update=update is not None,
            selection=selection,
            stops=stops,
            asker=asker,
        )
        # Running one job again may make those after it stale: each pass comes one job further.
        while rerun_stale and report.exit_code == ExitCode.COMPLETED and stale_count(read_history(run_dir)):
            report = _resume(
                run_dir, listeners, options, nesting, keep_failed=keep_failed, rerun_stale=True, stops=stops, asker=asker
            )
        return report


def retry_items(
    run_dir: RunDir,
    asked: RetryRequest,
    listeners: Listeners,
    *,
    slots: int | None = None,
    keep_going: bool = False,
    asker: Asker | None = None,
) -> RunReport:
    """Run items of a run that nobody supervises one more time, and go on with it; what else has failed stays so.

    Raises RunHeldError if somebody supervises it, UserError for an item that may still run.
    """
    from orchestrator.runs.retry import record_retry

    refuse_inside(run_dir, "a retry")
    _refuse_while_parent_lives(run_dir)
    nesting = find_ancestors(os.environ)
    with _releasing(lock_run(run_dir)):
        record_retry(run_dir, asked)
        fault_point("runs.retry_recorded")
        options = RunOptions(slots=slots, keep_going=keep_going)
        return _resume(run_dir, listeners, options, nesting, keep_failed=True, asker=asker)


def plan_update(run_dir: RunDir, request: UpdateRequest) -> UpdatePlan:
    """What `resume_run` with this `update` would do; changes nothing. Errors as of `resume_run`."""
    from orchestrator.runs.update import draft_update, read_edited

    if is_locked(run_dir.supervisor_lock):
        raise RunHeldError(f"run {run_dir.run_id} goes on", f"end it first: orchestrate stop {run_dir.run_id}")
    return draft_update(run_dir, read_edited(run_dir, request)).plan


def _update(run_dir: RunDir, request: UpdateRequest, note: Callable[[str], None]) -> None:
    """Let the run, which is locked, have the jobs file as it is now."""
    from orchestrator.runs.end_old_attempts import end_attempts
    from orchestrator.runs.update import commit_update, draft_update, read_edited

    edited = read_edited(run_dir, request)
    draft = draft_update(run_dir, edited)
    for line in draft.plan.lines():
        note(line)
    with closing(RunStore.open(run_dir)) as store:
        if draft.to_end:
            note(f"ending what still runs and would do something else now ({len(draft.to_end)})")
            end_attempts(store, draft.to_end, note)
            draft = draft_update(run_dir, edited)
        commit_update(store, draft)


def cancel_dead_run(
    run_dir: RunDir, items: list[tuple[str, int]] | None, listeners: Listeners, *, replaced_by: str | None = None
) -> RunReport | None:
    """Cancel a run that nobody supervises, or some items of it: its workers are ended, nothing is started.

    None if there is nothing to cancel: it is completed, or cancelled. `replaced_by` (`RUN/ITEM`): who takes the items' token.
    """
    with _releasing(lock_run(run_dir)):
        # Read under the lock: its supervisor may have completed it only just now, and then that is what it came to.
        history = read_history(run_dir)
        if history.ended is not None and history.ended.status in ("completed", "cancelled"):
            return None
        orders = {job_id: order for order, job_id in enumerate(history.header.jobs)}
        if items is None:
            # What waits is restored as pending, which a cancel of the run leaves: a gate would be asked again by the next resume.
            waiting = tuple(
                (orders[job_id], index) for job_id in orders for index in history.jobs[job_id].indices(Status.WAITING)
            )
            first: tuple[Event, ...] = (CancelAsked(waiting), CancelAsked(None))
            return _resume(run_dir, listeners, RunOptions(), None, keep_failed=True, first=first)
        refs = tuple((orders[job_id], index) for job_id, index in items)
        first = (CancelAsked(refs), StopAsked(Stop.DRAIN))
        return _resume(run_dir, listeners, RunOptions(), None, keep_failed=True, first=first, replaced_by=replaced_by)


def _resume(
    run_dir: RunDir,
    listeners: Listeners,
    options: RunOptions,
    nesting: Nesting | None,
    *,
    stops: StopSources = SIGNALS,
    keep_failed: bool = False,
    rerun_stale: bool = False,
    is_update: bool = False,
    first: tuple[Event, ...] = (),
    replaced_by: str | None = None,
    selection: Selection | None = None,
    asker: Asker | None = None,
) -> RunReport:
    store = RunStore.open(run_dir)
    if selection is not None and selection != store.history.selection:
        store.append([selection])
    past = store.history.header.options
    session = SessionOptions(
        run=RunOptions(
            slots=next((each for each in (options.slots, store.history.slots_set, past.slots) if each is not None), None),
            keep_going=options.keep_going or past.keep_going,
            fresh=options.fresh or past.fresh,
        ),
        stops=stops,
        nesting=nesting,
        is_resumed=True,
        keep_failed=keep_failed,
        rerun_stale=rerun_stale,
        is_update=is_update,
        asker=asker,
        first=first,
        replaced_by=replaced_by,
        notes=() if first else tuple(_file_notes(run_dir, store.history.header)),
    )
    return supervise(store, RunReader(run_dir, store.history).jobs_file, listeners, session)


def _refuse_while_parent_lives(run_dir: RunDir) -> None:
    """A child run goes on with its item: two who resume it would be in each other's way."""
    parent = read_header(run_dir.checkpoint).parent
    if parent is None:
        return
    above, _, item = parent.partition("/")
    if is_locked(run_dir.beside(above).supervisor_lock):
        raise RunHeldError(
            f"run {run_dir.run_id} is the child run of {item} of run {above}, which goes on",
            f"it goes on with that item; see orchestrate why {above} {item}",
        )


def _file_notes(run_dir: RunDir, header: RunHeader) -> Iterator[str]:
    """One note if the jobs file is not what the run has of it. One that cannot be read is none of ours: the run has its copy."""
    if header.each:
        return
    from orchestrator.jobsfile.language.toml_text import read_text

    try:
        text = read_text(header.jobs_file)
    except UserError:
        return
    if text.encode() != run_dir.jobs_toml(header.revision).read_bytes():
        yield f"{header.jobs_file} has changed: this run goes on as it began (resume --update takes the file as it is now)"


@contextmanager
def _releasing(lock: SupervisorLock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()
