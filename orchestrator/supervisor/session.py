"""One supervisor's time with a run: what it finds, what it runs, how it ends. The caller holds the run's lock."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import Any

import msgspec

from orchestrator.attempts.agent.lost import LostAgents
from orchestrator.attempts.agent.work import finder
from orchestrator.attempts.workspaces.place import uses_repository
from orchestrator.core.events import CancelAsked
from orchestrator.core.view import CoreView
from orchestrator.engines.choice import choose_engine
from orchestrator.errors import StateUnwritableError
from orchestrator.jobsfile.model import JobsFile
from orchestrator.jobsfile.warnings import warnings_about, warnings_about_typed
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_summary import run_summary
from orchestrator.reading.seen_statuses import job_counts
from orchestrator.reading.told_items import told_of
from orchestrator.shared.nesting.borrowing import tell_slot_count_again
from orchestrator.store.kept_summary import keep_summary
from orchestrator.store.known_secrets import remember_secrets
from orchestrator.store.records import CancelTold, SupervisorStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import RunStore
from orchestrator.supervisor.loop import Loop
from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.opening import Opened, open_session
from orchestrator.supervisor.options import SessionOptions, slots_of_run
from orchestrator.supervisor.parts import Brought, Parts
from orchestrator.supervisor.run import Run
from orchestrator.system.hosted_runs import hosting
from orchestrator.system.redaction import remember
from orchestrator.system.run_log import append_log
from orchestrator.system.stop_signals import SignalInbox
from orchestrator.views.listeners import Listeners
from orchestrator.workers.processes.identity import boot_id, start_ticks
from orchestrator.workers.processes.spawn import SHORTAGES


class RunReport(msgspec.Struct, frozen=True):
    """How a run went. `summary` is the object of `run --json`."""

    run_id: str
    status: str
    exit_code: int
    summary: dict[str, Any]


def supervise(store: RunStore, jobs_file: JobsFile, listeners: Listeners, options: SessionOptions) -> RunReport:
    """Supervise a run to its end, or until it is stopped. Closes `store`.

    Raises StateUnwritableError, StateRefusedError, and what `hosting` raises.
    """
    # The listeners hear from the first note on, also of a run that cannot begin.
    run_dir = store.run_dir
    narrator = Narrator(listeners, run_dir.log)
    reader = RunReader(run_dir, store.history, alive=True)
    try:
        if store.history.header.options.replay:
            from orchestrator.attempts.replay.replay import as_replayed

            jobs_file = as_replayed(jobs_file)
        with hosting(is_inline=slots_of_run(options.run, jobs_file) == 0):
            exit_code = _with_shortages_told(store, reader, jobs_file, narrator, options)
    except StateUnwritableError as error:
        append_log(run_dir.log, f"{error.message}; what is recorded stays, and the run can be resumed")
        raise
    finally:
        store.close()
    reader.alive = False
    summary = run_summary(reader)
    # Its last checkpoint is written: whoever lists the runs need not read all of it again.
    told = told_of(reader, jobs_file)
    keep_summary(run_dir, store.history, summary, None if told is None else msgspec.to_builtins(told))
    narrator.run_finished(run_dir.run_id, summary, exit_code, store.history.ended)
    return RunReport(run_dir.run_id, summary["status"], exit_code, summary)


def _with_shortages_told(
    store: RunStore, reader: RunReader, jobs_file: JobsFile, narrator: Narrator, options: SessionOptions
) -> int:
    """Run the session. A machine without descriptors or processes for the supervisor is the user's to mend, not our bug."""
    try:
        return _run_session(store, reader, jobs_file, narrator, options)
    except MemoryError as error:
        raise StateUnwritableError(
            f"{store.run_dir.path}: the supervisor cannot go on: it finds no memory",
            "see free and ulimit -v, then resume the run: what is recorded stays",
        ) from error
    except OSError as error:
        if error.errno not in SHORTAGES:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise StateUnwritableError(
            f"{store.run_dir.path}: the supervisor cannot go on: {error.strerror}{where}",
            "see ulimit -n and ulimit -u, then resume the run: what is recorded stays",
        ) from error


def _run_session(store: RunStore, reader: RunReader, jobs_file: JobsFile, narrator: Narrator, options: SessionOptions) -> int:
    run_dir = store.run_dir
    _require_place(run_dir, options)
    slots = slots_of_run(options.run, jobs_file)
    begun = open_session(store, reader, jobs_file, options, slots)
    core = CoreView(begun.state)
    now, ticks = time.time(), start_ticks(os.getpid())
    begins = SupervisorStarted(pid=os.getpid(), start_ticks=-1 if ticks is None else ticks, boot_id=boot_id(), at=now)
    # A cancel of the run that is killed on its way leaves a cancelled run.
    store.append([begins, CancelTold(at=now)] if CancelAsked(None) in options.first else [begins])
    # Before an item may make another repository there.
    if any(map(uses_repository, jobs_file.jobs)):
        from orchestrator.attempts.workspaces.used_repository import keep_repository

        keep_repository(run_dir, jobs_file, store.history.header.parent)
    # Before anything is written that may hold them: whoever looks later has another environment.
    known = remember_secrets(run_dir, os.environ)
    if options.is_resumed:
        remember(known)
    append_log(run_dir.log, f"supervising {run_dir.run_id} with {slots} slots")
    narrator.run_began(
        run_dir.run_id,
        store.history.header.name,
        [job.id for job in jobs_file.jobs],
        slots=slots,
        at=now,
        is_resumed=options.is_resumed,
    )
    run = Run(store, reader, jobs_file, core, narrator, is_inline=slots == 0)
    _tell_beginning(run, begun, options)
    with SignalInbox(options.stops) as signals, ExitStack() as opened:
        # Let go of in whatever way the session ends, each whatever becomes of the others: the program around us may go on.
        opened.callback(_remove_expired, run_dir, jobs_file, run.tell)
        agent_task = LostAgents(reader, finder(jobs_file)).task
        engine = choose_engine(slots, run_dir, store.history.next_worker, agent_task)
        opened.callback(engine.close)
        parts = Parts(run, Brought(options, engine, signals, begun.selector, begun.relisted), opened)
        loop = Loop(begun.state, parts)
        # What was told as cancelled while it ran stays so, whatever has become of its worker.
        for item, told in store.history.cancelling.items():
            run.happened(CancelAsked((run.ref(*item),), told.message))
        for start, slot in begun.resumed:
            for happened in parts.starts.resume(start, slot):
                loop.take_in(happened)
        # Runs that are nested in this one may take its slots when they are free: not those in which an attempt is seen to run.
        held = [flight.start.slot for flight in parts.flights if engine.has_living_worker(flight.slot)]
        tell_slot_count_again(run_dir, core.main_slots, held)
        return loop.run(options.first, options.replaced_by, options.ended)


def _require_place(run_dir: RunDir, options: SessionOptions) -> None:
    """Raise StateUnwritableError if no output could be kept: each session would run, and pay for, what is lost then."""
    outputs = run_dir.path / "outputs"
    starts = not any(isinstance(event, CancelAsked) for event in options.first)
    if starts and os.path.lexists(outputs) and not outputs.is_dir():
        raise StateUnwritableError(
            f"{outputs} is no folder any more: move away what stands there", "then resume the run: what is recorded stays"
        )


def _of_repository(run: Run) -> list[str]:
    if all(job.workspace.kind != "worktree" for job in run.jobs_file.jobs):
        return []
    from orchestrator.attempts.workspaces.repository_notes import repository_notes

    return repository_notes(run.jobs_file, run.store.run_dir)


def _tell_beginning(run: Run, opened: Opened, options: SessionOptions) -> None:
    """What a person should know before anything starts."""
    if run.history.header.options.replay:
        run.tell.note("this is a replay: what agents did is played from a capsule, and none is started")
    for note in options.notes:
        run.tell.note(note)
    if not options.is_resumed:
        file = run.jobs_file
        is_typed = run.history.header.each
        for words in warnings_about_typed(file) if is_typed else warnings_about(file, os.path.basename(file.path)):
            run.tell.note(words)
        for told in _of_repository(run):
            run.tell.note(told)
    for order, past in opened.restored.items():
        job_id = run.jobs[order].id
        run.tell.counted(job_id, len(past.states), job_counts(run.reader, job_id))


def _remove_expired(run_dir: RunDir, jobs_file: JobsFile, narrator: Narrator) -> None:
    """Remove the workspaces whose `keep` is over."""
    if all(job.workspace.keep is None for job in jobs_file.jobs):
        return
    from orchestrator.attempts.workspaces.expiry import remove_expired

    try:
        for words in remove_expired(run_dir, time.time()):
            narrator.note(words)
    except OSError as error:
        narrator.note(f"a workspace could not be removed: {error}")
