"""Starting runs and going on with them: the functions that the library and the commands stand on.

Each of them goes the same way:

1. Refuse what cannot be done: a run inside an item of the run itself, a child run whose parent goes on, what steers from inside.
2. Hold the run: `launch` makes a new one or finds the unfinished one, `lock_run` takes one that is named.
3. Record what was asked for, while nobody supervises the run: an update, a retry, a selection.
4. Supervise it: `supervise` for a new run, `begin_next_session` for one that goes on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orchestrator.attempts.items.selection import check_patterns
from orchestrator.attempts.staleness import stale_count
from orchestrator.control.messages import CancelRequest, RetryRequest
from orchestrator.control.permits import check_own_permit, may_steer, refuse_in_attempts
from orchestrator.core.events import CancelAsked, Event, StopAsked
from orchestrator.core.states import Stop
from orchestrator.errors import ExitCode, RunHeldError, UserError
from orchestrator.jobsfile.load import user_config
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_summary import run_summary
from orchestrator.runs.launch import launch_run
from orchestrator.runs.locking import holding, lock_run
from orchestrator.runs.new_run import NewRun, create_run
from orchestrator.runs.next_session import begin_next_session, need_secrets, refuse_while_parent_lives
from orchestrator.runs.run_requests import DEFAULT_OPTIONS, ChildRequest, EachRequest, ResumeRequest, RunRequest, UpdateRequest
from orchestrator.runs.selection_check import check_selection, check_selection_again
from orchestrator.shared.nesting.ancestors import find_ancestors
from orchestrator.shared.nesting.inside import agents_item_around, refuse_inside, refuse_others_run
from orchestrator.store.checkpoint import read_header
from orchestrator.store.load import read_history
from orchestrator.store.records import OVER, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.store.settings_records import RunOptions
from orchestrator.supervisor.gates import Asker
from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.options import SessionOptions, slots_of_run
from orchestrator.supervisor.session import RunReport, supervise
from orchestrator.system.hosted_runs import check_hosting
from orchestrator.system.locks.holders import is_locked
from orchestrator.system.stop_signals import SIGNALS, StopSources
from orchestrator.views.listeners import Listeners
from orchestrator.workers.faultpoints import fault_point

if TYPE_CHECKING:
    from orchestrator.runs.update_plan import UpdatePlan
    from orchestrator.supervisor.growth import Incoming

_PATIENCE_SECONDS = 0.05
"""After which a run over lines that still come begins with those that have come."""

__all__ = [
    "ChildRequest",
    "EachRequest",
    "ResumeRequest",
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
    """Run a jobs file, or continue its newest unfinished run (`request.resume`). Raises UserError and its kinds.

    `asker`: whom its gates can ask at once; without one the run pauses when only gates are left.
    """
    from orchestrator.jobsfile.input_values import resolve_inputs
    from orchestrator.jobsfile.load import load

    # Everything that can be refused is refused before a run exists: mistakes of the file first, then of the command line.
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
    check_selection(selection, jobs_file, inputs)
    launched = launch_run(home, jobs_file, inputs, request, stops.stopper)
    if isinstance(launched, RunDir):
        return RunReport(launched.run_id, "skipped", ExitCode.COMPLETED, run_summary(RunReader.read(launched)))
    session = SessionOptions(run=request.options, stops=stops, nesting=nesting, asker=asker)
    with holding(launched.lock):
        if launched.store is None:
            return begin_next_session(launched.run_dir, launched.lock, session, listeners, selection)
        return supervise(launched.store, jobs_file, listeners, session)


def run_each(home: Path, request: EachRequest, listeners: Listeners, *, stops: StopSources = SIGNALS) -> RunReport:
    """Run the jobs file that `orchestrate each` made. Raises UserError and its kinds."""
    from orchestrator.jobsfile.load import load_text

    nesting = find_ancestors(os.environ)
    path = os.path.join(request.folder, "each.toml")
    jobs_file = load_text(request.jobs_text, path=path, folder=request.folder, user_config=user_config(), is_recorded=False)
    incoming = _incoming(request)
    new = NewRun(
        jobs_file=jobs_file,
        options=request.options,
        run_id=request.run_id,
        is_each=True,
        lines=request.lines if incoming is None else None,
        within=agents_item_around(),
    )
    session = SessionOptions(run=request.options, stops=stops, nesting=nesting, incoming=incoming)
    return _supervise_new(home, new, listeners, session)


def _incoming(request: EachRequest) -> Incoming | None:
    """The items, if they still come; None: they are read whole, and the run is as any other."""
    coming = request.coming
    if coming is None:
        return None
    if coming.read_ahead(_PATIENCE_SECONDS):
        coming.release()
        return None
    from orchestrator.supervisor.growth import Incoming

    return Incoming(request.lines, coming)


def run_child(home: Path, request: ChildRequest, listeners: Listeners) -> RunReport:
    """Run a jobs file as the child of an item, or go on with that run. Raises UserError and its kinds."""
    from orchestrator.jobsfile.child_files import values_of
    from orchestrator.jobsfile.load import load
    from orchestrator.jobsfile.secret_inputs import require_secrets

    nesting = find_ancestors(os.environ)
    if nesting is None:
        raise UserError("a child run is only started by its item", f"run the file itself: orchestrate run {request.path}")
    session = SessionOptions(run=request.options, nesting=nesting)
    run_dir = RunDir.of(home, request.run_id)
    # The run that an earlier attempt of the item began goes on. One that happens to have its id is never touched.
    if run_dir.exists:
        if read_header(run_dir.checkpoint).parent != request.parent:
            raise UserError(
                f"run {request.run_id} exists, and is not the child run of {request.parent}",
                f"remove or rename {run_dir.path}",
            )
        with holding(lock_run(run_dir)) as lock:
            if request.is_update:
                _update_run(run_dir, UpdateRequest(kept=request.kept), listeners)
            return begin_next_session(run_dir, lock, session, listeners)
    # As its parent has kept it: an agent of the parent may have written to the file since.
    jobs_file = load(request.path, user_config=user_config(), kept=request.kept)
    require_secrets(jobs_file.inputs, "a child run")
    new = NewRun(
        jobs_file=jobs_file,
        inputs=values_of(request.given, jobs_file.inputs),
        options=request.options,
        run_id=request.run_id,
        parent=request.parent,
        within=agents_item_around(),
    )
    return _supervise_new(home, new, listeners, session)


def resume_run(
    run_dir: RunDir,
    request: ResumeRequest,
    listeners: Listeners,
    *,
    stops: StopSources = SIGNALS,
    asker: Asker | None = None,
) -> RunReport:
    """Continue a run: what has not succeeded, of what is selected. `asker`: as of `run_file`.

    Raises RunHeldError if somebody supervises it; JobsFileError with every mistake of an edited file: then nothing was changed.
    """
    # The run would adopt the attempt that this process is part of, and wait for it.
    refuse_inside(run_dir, "a resume")
    if request.update is not None:
        refuse_in_attempts("resume --update")
    refuse_others_run(read_header(run_dir.checkpoint))
    refuse_while_parent_lives(run_dir)
    session = SessionOptions(
        run=request.options,
        stops=stops,
        nesting=find_ancestors(os.environ),
        keep_failed=request.keep_failed,
        rerun_stale=request.rerun_stale,
        asker=asker,
    )
    with holding(lock_run(run_dir)) as lock:
        if request.update is not None:
            _update_run(run_dir, request.update, listeners)
        # After the update: its file may have other jobs.
        if request.selection is not None:
            check_selection_again(request.selection, run_dir)
        first = msgspec.structs.replace(session, is_update=request.update is not None)
        report = begin_next_session(run_dir, lock, first, listeners, request.selection)
        # Running one job again may make those after it stale: each pass comes one job further.
        while request.rerun_stale and report.exit_code == ExitCode.COMPLETED and stale_count(read_history(run_dir)):
            report = begin_next_session(run_dir, lock, session, listeners)
        return report


def retry_items(
    run_dir: RunDir, asked: RetryRequest, options: RunOptions, listeners: Listeners, *, asker: Asker | None
) -> RunReport:
    """Run items of a run that nobody supervises one more time, and go on with it; what else has failed stays so.

    Raises RunHeldError if somebody supervises it, UserError for an item that may still run.
    """
    from orchestrator.runs.retry import record_retry

    refuse_inside(run_dir, "a retry")
    check_own_permit(asked, run_dir.path)
    refuse_while_parent_lives(run_dir)
    session = SessionOptions(run=options, nesting=find_ancestors(os.environ), keep_failed=True, asker=asker)
    with holding(lock_run(run_dir)) as lock:
        # What a session would refuse is refused before anything is recorded.
        need_secrets(RunReader.read(run_dir).jobs_file, run_dir.run_id)
        record_retry(run_dir, asked)
        fault_point("runs.retry_recorded")
        return begin_next_session(run_dir, lock, session, listeners)


def plan_update(run_dir: RunDir, request: UpdateRequest) -> UpdatePlan:
    """What `resume_run` with this `update` would do; changes nothing. Errors as of `resume_run`."""
    from orchestrator.runs.edited_file import read_edited
    from orchestrator.runs.update_draft import draft_update

    if is_locked(run_dir.supervisor_lock):
        raise RunHeldError(f"run {run_dir.run_id} goes on", f"end it first: orchestrate stop {run_dir.run_id}")
    return draft_update(run_dir, read_edited(run_dir, request)).plan


def cancel_dead_run(
    run_dir: RunDir, items: list[tuple[str, int]] | None, listeners: Listeners, *, replaced_by: str | None = None
) -> RunReport | None:
    """Cancel a run that nobody supervises, or some items of it: its workers are ended, nothing is started.

    None if there is nothing to cancel: it is completed, or cancelled, or the items have all ended.
    `replaced_by` (`RUN/ITEM`): who takes the items' token.
    """
    requester = check_own_permit(CancelRequest.of(items, replaced_by), run_dir.path)
    with holding(lock_run(run_dir)) as lock:
        # Read under the lock: the supervisor may have completed the run just now, and then that is what it came to.
        history = read_history(run_dir)
        is_over = history.ended is not None and history.ended.status in ("completed", "cancelled")
        # Its supervisor may have been killed in the midst of a cancel: then what runs still is ended now.
        if is_over and not history.starts_without_end:
            return None
        # As a living supervisor does: for a token alone.
        for job_id, index in items or () if replaced_by is not None and not may_steer(requester) else ():
            if not history.holds_token(job_id, index):
                raise UserError(f"run {run_dir.run_id}: {job_id}:{index} has no token that {replaced_by} could take")
        # What a cancel leaves as it is.
        if items is not None and all(history.jobs[job].status(index) in OVER for job, index in items):
            return None
        session = SessionOptions(
            run=DEFAULT_OPTIONS,
            keep_failed=True,
            first=_cancels_of(history, items),
            replaced_by=replaced_by if items is not None else None,
            ended=history.ended if items is not None else None,
        )
        return begin_next_session(run_dir, lock, session, listeners)


def _cancels_of(history: RunHistory, items: list[tuple[str, int]] | None) -> tuple[Event, ...]:
    """What a session is asked first of all so that it cancels these items, or the run, and starts nothing."""
    orders = {job_id: order for order, job_id in enumerate(history.header.jobs)}
    if items is not None:
        return CancelAsked(tuple((orders[job_id], index) for job_id, index in items)), StopAsked(Stop.DRAIN)
    # What waits or was interrupted is restored as pending, which a cancel of the run leaves so: the next resume would ask a gate
    # again, and go on with what had begun. So these are cancelled by name.
    begun = tuple(
        (orders[job_id], index)
        for job_id in orders
        for status in (Status.WAITING, Status.INTERRUPTED)
        for index in history.jobs[job_id].indices(status)
    )
    return CancelAsked(begun), CancelAsked(None)


def _supervise_new(home: Path, new: NewRun, listeners: Listeners, session: SessionOptions) -> RunReport:
    launched = create_run(home, new)
    assert launched.store is not None, "a new run has its records open"
    with holding(launched.lock):
        return supervise(launched.store, new.jobs_file, listeners, session)


def _update_run(run_dir: RunDir, request: UpdateRequest, listeners: Listeners) -> None:
    """Let the run, which this process holds, have the jobs file as it is now. Raises JobsFileError, StateUnwritableError."""
    from orchestrator.runs.update import update_run

    update_run(run_dir, request, Narrator(listeners, run_dir.log).note)
