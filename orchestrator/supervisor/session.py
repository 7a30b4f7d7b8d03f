"""One supervisor's time with a run: what it finds, what it runs, how it ends. The run's lock is held by the caller."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from orchestrator.attempts.agent.lost import LostAgents
from orchestrator.attempts.agent.work import finder
from orchestrator.attempts.child_runs import ChildRuns
from orchestrator.attempts.context import ItemContexts
from orchestrator.attempts.items.listing import choose_items, chosen_record
from orchestrator.attempts.items.selection import Chosen, Selector
from orchestrator.attempts.workspaces.notes import uncommitted_told
from orchestrator.core.events import Event
from orchestrator.core.initial_state import open_run
from orchestrator.core.scheduling import split_slots
from orchestrator.core.states import RestoredJob
from orchestrator.engines.choice import choose_engine
from orchestrator.errors import StateUnwritableError
from orchestrator.jobsfile.model import JobsFile
from orchestrator.reading.money.budgets import bounds_of
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_summary import run_summary
from orchestrator.reading.seen_statuses import job_counts
from orchestrator.shared.limits.parks import Parks
from orchestrator.shared.limits.trials import Trials
from orchestrator.shared.nesting.ancestors import Nesting
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.store.captures import CaptureMismatch, verify_capture
from orchestrator.store.durable_file import write_whole
from orchestrator.store.kept_outcome import kept_outcome
from orchestrator.store.outcomes import answer_of
from orchestrator.store.records import ItemsChosen, ItemSettled, Record, RunOptions, Status, SupervisorStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import RunStore
from orchestrator.supervisor.account_limits import accounts_of
from orchestrator.supervisor.admission import Admission
from orchestrator.supervisor.gates import Asker
from orchestrator.supervisor.job_rules import rules_of
from orchestrator.supervisor.loop import Supervisor
from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.restored_jobs import assign_slots, restore_job
from orchestrator.system.hosted_runs import hosting
from orchestrator.system.run_log import append_log
from orchestrator.system.stop_signals import SIGNALS, SignalInbox, StopSources
from orchestrator.views.listeners import Listeners
from orchestrator.workers.processes.identity import boot_id, start_ticks
from orchestrator.workers.processes.spawn import SHORTAGES


class RunReport(msgspec.Struct, frozen=True):
    """How a run went. `summary` is the object of `run --json`."""

    run_id: str
    status: str
    exit_code: int
    summary: dict[str, Any]


class SessionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`run`: what the command line chose. `nesting`: the items that this run is started by, if it is started by one.

    `first`: what is asked before anything starts (a cancel of a dead run). `replaced_by` (`RUN/ITEM`): on whose behalf that is.
    """

    run: RunOptions
    stops: StopSources = SIGNALS
    nesting: Nesting | None = None
    is_resumed: bool = False
    keep_failed: bool = False
    rerun_stale: bool = False
    is_update: bool = False
    """The run was just updated; so shall be its child runs that go on."""
    asker: Asker | None = None
    """Whom its gates can ask at once."""
    first: tuple[Event, ...] = ()
    replaced_by: str | None = None
    notes: tuple[str, ...] = ()
    """What a person should know before anything starts."""


def supervise(store: RunStore, jobs_file: JobsFile, listeners: Listeners, options: SessionOptions) -> RunReport:
    """Supervise a run to its end, or until it is stopped. Closes `store`.

    Raises StateUnwritableError, StateRefusedError, and what `hosting` raises.
    """
    run_dir = store.run_dir
    narrator = Narrator(listeners, run_dir.log)
    reader = RunReader(run_dir, store.history, alive=True)
    try:
        if store.history.header.options.replay:
            from orchestrator.attempts.replay.replay import as_replayed

            jobs_file = as_replayed(jobs_file)
        with hosting(is_inline=slots_of_run(options.run, jobs_file) == 0):
            exit_code = _supervised(store, reader, jobs_file, narrator, options)
    except StateUnwritableError as error:
        append_log(run_dir.log, f"{error.message}; what is recorded stays, and the run can be resumed")
        raise
    finally:
        store.close()
    reader.alive = False
    summary = run_summary(reader)
    narrator.run_finished(run_dir.run_id, summary, exit_code)
    return RunReport(run_dir.run_id, summary["status"], exit_code, summary)


def default_slots() -> int:
    """The CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def slots_of_run(options: RunOptions, jobs_file: JobsFile) -> int:
    """How many items run at once; 0: inline."""
    return next(each for each in (options.slots, jobs_file.run.slots, default_slots()) if each is not None)


def _supervised(store: RunStore, reader: RunReader, jobs_file: JobsFile, narrator: Narrator, options: SessionOptions) -> int:
    """`_supervise`, with a machine that ran out of descriptors or processes under the supervisor itself told as what it is."""
    try:
        return _supervise(store, reader, jobs_file, narrator, options)
    except OSError as error:
        if error.errno not in SHORTAGES:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise StateUnwritableError(
            f"{store.run_dir.path}: the supervisor cannot go on: {error.strerror}{where}",
            "see ulimit -n and ulimit -u, then resume the run: what is recorded stays",
        ) from error


def _supervise(store: RunStore, reader: RunReader, jobs_file: JobsFile, narrator: Narrator, options: SessionOptions) -> int:
    run_dir, history = store.run_dir, store.history
    slots = slots_of_run(options.run, jobs_file)
    starts = dict(history.open_starts)
    slots_of = assign_slots(starts.values(), max(slots, 1))
    selector = Selector(history.selection, jobs_file.jobs)
    restored = _restored(store, jobs_file, slots_of, options, _choose_again(store, reader, selector, jobs_file))
    asker = options.asker if options.nesting is None else None
    lanes: set[str] = {job.lane for job in jobs_file.jobs if not job.is_gate}
    state = open_run(
        rules_of(
            jobs_file.jobs,
            keep_going=options.run.keep_going,
            left_out=selector.left_out,
            budgets=history.budgets_set,
            accounts={} if history.header.options.replay else accounts_of(jobs_file, os.environ),
        ),
        slots=max(slots, 1),
        fast_slots=split_slots(slots, jobs_file.run.fast_slots, lanes),
        now=time.monotonic(),
        drain_timeout=jobs_file.run.drain_timeout,
        timeout=jobs_file.run.timeout,
        budget=bounds_of(jobs_file.run, "", history.budgets_set),
        is_attended=asker is not None,
        restored=restored,
    )
    now, ticks = time.time(), start_ticks(os.getpid())
    store.append([SupervisorStarted(pid=os.getpid(), start_ticks=-1 if ticks is None else ticks, boot_id=boot_id(), at=now)])
    append_log(run_dir.log, f"supervising {run_dir.run_id} with {slots} slots")
    write_whole(run_dir.slot_count, str(state.slots - state.fast_slots).encode())
    narrator.run_began(
        run_dir.run_id,
        history.header.name,
        [job.id for job in jobs_file.jobs],
        slots=slots,
        at=now,
        is_resumed=options.is_resumed,
    )
    if history.header.options.replay:
        narrator.note("this is a replay: what agents did is played from a capsule, and none is started")
    for note in options.notes:
        narrator.note(note)
    if not options.is_resumed and (told := uncommitted_told(jobs_file)) is not None:
        narrator.note(told)
    for order, past in restored.items():
        job_id = jobs_file.jobs[order].id
        narrator.restored(job_id, len(past.states), job_counts(reader, job_id))
    home = run_dir.home
    tokens = TokenDesk(
        home,
        run_dir.run_id,
        is_fresh=options.run.fresh,
        ancestors=options.nesting.marks if options.nesting is not None else (),
        done_here=reader.done_with,
        keep=lambda item, outcome: kept_outcome(run_dir, jobs_file.jobs[item[0]].id, item[1], outcome),
    )
    parks = Parks(home, narrator.note)
    trials = Trials(home, parks, options.nesting.marks if options.nesting is not None else ())
    with SignalInbox(options.stops) as signals:
        agent_task = LostAgents(reader, finder(jobs_file)).task
        engine = choose_engine(slots, run_dir, history.next_worker, agent_task)
        supervisor = Supervisor(
            store=store,
            reader=reader,
            jobs_file=jobs_file,
            selector=selector,
            state=state,
            engine=engine,
            admission=Admission(home, run_dir, jobs_file, engine, tokens, options.nesting, trials, narrator.note),
            parks=parks,
            trials=trials,
            tokens=tokens,
            nesting=options.nesting,
            children=ChildRuns(reader, options.run, is_update=options.is_update),
            is_inline=slots == 0,
            narrator=narrator,
            signals=signals,
            asker=asker,
            restore=lambda job_id, chosen: _restored_job(store, job_id, {}, options, chosen),
        )
        try:
            for key, start in starts.items():
                supervisor.resume_flight(start, slots_of[key])
            return supervisor.run(options.first, options.replaced_by)
        finally:
            supervisor.close()
            _remove_expired(run_dir, jobs_file, narrator)


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


def _choose_again(store: RunStore, reader: RunReader, selector: Selector, jobs_file: JobsFile) -> dict[str, Chosen]:
    """What is selected of each job that is listed, or left out, recorded where it is something else than before."""
    contexts = ItemContexts(reader, store.history.header.inputs)
    chosen: dict[str, Chosen] = {}
    changed: list[Record] = []
    for job in jobs_file.jobs:
        past = store.history.jobs[job.id]
        if past.count is None and job.id not in selector.left_out:
            if past.chosen is not None:
                changed.append(chosen_record(job.id, None, ""))
            continue
        chosen[job.id] = choose_items(reader, contexts, selector, job.id)
        record = chosen_record(job.id, chosen[job.id], selector.reason)
        if record != (past.chosen or ItemsChosen(job=job.id)):
            changed.append(record)
        for status in (Status.INTERRUPTED, Status.WAITING) if chosen[job.id] is not None else ():
            changed += [
                ItemSettled(job=job.id, index=index, status=Status.SKIPPED, message=selector.reason)
                for index in past.indices(status)
                if index not in (chosen[job.id] or ())
            ]
    if changed:
        store.append(changed)
    return chosen


def _restored(
    store: RunStore,
    jobs_file: JobsFile,
    slots_of: dict[tuple[str, int], int],
    options: SessionOptions,
    chosen: Mapping[str, Chosen],
) -> dict[int, RestoredJob]:
    history = store.history
    was_booted = history.supervisor is not None and history.supervisor.boot_id != boot_id()
    restored = {}
    for order, job in enumerate(jobs_file.jobs):
        past = history.jobs[job.id]
        if past.count is None:
            continue
        damaged = _damaged(store, job.id) if was_booted else {}
        if damaged:
            store.append(
                [
                    ItemSettled(job=job.id, index=index, status=Status.INTERRUPTED, message=message)
                    for index, message in damaged.items()
                ]
            )
        if not past.is_outdated:
            restored[order] = _restored_job(store, job.id, slots_of, options, chosen[job.id])
    return restored


def _restored_job(
    store: RunStore, job_id: str, slots_of: dict[tuple[str, int], int], options: SessionOptions, chosen: Chosen
) -> RestoredJob:
    history = store.history
    return restore_job(
        history.jobs[job_id],
        slots_of,
        history.open_starts,
        keep_failed=options.keep_failed,
        rerun_stale=options.rerun_stale,
        chosen=chosen,
    )


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
            verify_capture(answer_of(ended.outcome), store.run_dir)
        except CaptureMismatch as mismatch:
            damaged[index] = str(mismatch)
    return damaged
