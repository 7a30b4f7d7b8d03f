"""The next session of a run that exists: its options are settled, its records are opened, and it is supervised.

A session that would find nothing to do is told as it would have been, and nothing is read, begun or recorded: a million items
that have succeeded take no time. What was kept of the run (`store.kept_summary`) tells so, and is believed only in the boot in
which the run ended: a power cut since may have taken outputs, which a session looks for.

The caller holds the run's lock, and has recorded what was asked for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import msgspec

from orchestrator.errors import ExitCode, RunHeldError, UserError
from orchestrator.jobsfile.model import JobsFile
from orchestrator.reading.run_reader import RunReader, own_jobs_file
from orchestrator.store.checkpoint import read_header
from orchestrator.store.kept_summary import kept_summary
from orchestrator.store.records import RunHeader
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import RunStore
from orchestrator.store.settings_records import RunOptions, Selection
from orchestrator.store.supervisor_lock import SupervisorLock
from orchestrator.supervisor.narrator import Narrator
from orchestrator.supervisor.options import SessionOptions, slots_of_run
from orchestrator.supervisor.session import RunReport, supervise
from orchestrator.system.locks.holders import is_locked
from orchestrator.views.listeners import Listeners
from orchestrator.workers.processes.identity import boot_id


def begin_next_session(
    run_dir: RunDir,
    lock: SupervisorLock,
    wanted: SessionOptions,
    listeners: Listeners,
    selection: Selection | None = None,
) -> RunReport:
    """Supervise the run, whose lock is `lock`, to its end, or until it is stopped. `selection`: its new one; None: as before.

    `wanted.run`: what of the run's own options is to be other now. Raises as `supervise` does.
    """
    if (report := _tell_nothing_to_do(run_dir, wanted, listeners, selection)) is not None:
        return report
    store = RunStore.open(run_dir, lock)
    try:
        # First what may be refused: then nothing is changed.
        jobs_file = RunReader(run_dir, store.history).jobs_file
        if not wanted.first:
            need_secrets(jobs_file, run_dir.run_id)
        # From now on every session has this selection, also one that is not told of it.
        if selection is not None and selection != store.history.selection:
            from orchestrator.runs.offline_recorder import OfflineRecorder

            OfflineRecorder(store).record_group([selection])
        session = msgspec.structs.replace(
            wanted,
            run=_settled_options(wanted.run, store.history.slots_set, store.history.header.options),
            is_resumed=True,
            # A cancel goes on with nothing: what became of the file is of no interest there.
            notes=(*_cut_notes(store), *(() if wanted.first else _file_notes(store.history.header, jobs_file))),
        )
    except BaseException:
        store.close()
        raise
    return supervise(store, jobs_file, listeners, session)


def need_secrets(jobs_file: JobsFile, run_id: str) -> None:
    """Raise UserError if the run has a secret input that nobody gave to this process."""
    # Few files have one, and need the module.
    if any(spec.is_secret for spec in jobs_file.inputs.values()):
        from orchestrator.jobsfile.secret_inputs import require_secrets

        require_secrets(jobs_file.inputs, f"run {run_id}")


def _cut_notes(store: RunStore) -> list[str]:
    """What was recorded last may be lost, and its items run again: nobody else would tell."""
    if not store.cut_tail:
        return []
    return [f"the last group of the journal was damaged and is cut off; what it told may be done again; kept: {store.cut_tail}"]


def refuse_while_parent_lives(run_dir: RunDir) -> None:
    """Raise RunHeldError for a child run whose parent goes on: the item goes on with it, and two would be in each other's way."""
    parent = read_header(run_dir.checkpoint).parent
    if parent is None:
        return
    above, _, item = parent.partition("/")
    if is_locked(run_dir.beside(above).supervisor_lock):
        raise RunHeldError(
            f"run {run_dir.run_id} is the child run of {item} of run {above}, which goes on",
            f"it goes on with that item; see orchestrate why {above} {item}",
        )


def _tell_nothing_to_do(
    run_dir: RunDir, wanted: SessionOptions, listeners: Listeners, selection: Selection | None
) -> RunReport | None:
    """Tell of a run of which all has succeeded; None: there is something to do, or only a session can find out.

    Raises StateRefusedError: the run's own copy of its jobs file is lost.
    """
    kept = kept_summary(run_dir)
    asks_for_more = wanted.first or wanted.is_update or wanted.rerun_stale or selection is not None
    if kept is None or kept.boot_id != boot_id() or asks_for_more:
        return None
    summary = kept.summary
    jobs = summary["jobs"]
    has_succeeded = all(job["status"] == "succeeded" and job["counts"].keys() <= {"succeeded"} for job in jobs)
    if summary["status"] != "completed" or summary["selection"] is not None or not has_succeeded:
        return None
    header = read_header(run_dir.checkpoint)
    # A session would remove workspaces whose time is over, and tell that it is a replay.
    if os.path.lexists(run_dir.workspaces) or header.options.replay:
        return None
    jobs_file = own_jobs_file(run_dir, header)
    slots = slots_of_run(_settled_options(wanted.run, kept.slots_set, header.options), jobs_file)
    narrator = Narrator(listeners, run_dir.log)
    narrator.run_began(run_dir.run_id, header.name, list(header.jobs), slots=slots, at=time.time(), is_resumed=True)
    for note in _file_notes(header, jobs_file):
        narrator.note(note)
    for job in jobs:
        narrator.counted(job["id"], sum(job["counts"].values()), job["counts"])
    for job in jobs:
        narrator.closed(job["id"], job["status"], "")
    narrator.run_finished(run_dir.run_id, summary, ExitCode.COMPLETED, None)
    return RunReport(run_dir.run_id, summary["status"], ExitCode.COMPLETED, summary)


def _settled_options(wanted: RunOptions, slots_set: int | None, past: RunOptions) -> RunOptions:
    """The options of a session: what is wanted now, what was set since the run began, what it began with, in this order."""
    return RunOptions(
        slots=next((each for each in (wanted.slots, slots_set, past.slots) if each is not None), None),
        keep_going=wanted.keep_going or past.keep_going,
        fresh=wanted.fresh or past.fresh,
    )


def _file_notes(header: RunHeader, jobs_file: JobsFile) -> Iterator[str]:
    """One note if the jobs file has changed since the run took its copy. A file that cannot be read is no reason for one."""
    if header.each:
        return
    from orchestrator.jobsfile.language.toml_text import read_text

    try:
        text = read_text(header.jobs_file)
    except UserError:
        return
    if text != jobs_file.text:
        yield f"{header.jobs_file} has changed: this run goes on as it began (resume --update takes the file as it is now)"
