"""Starting and resuming runs: what the commands `run`, `each`, `resume` and `cancel` stand on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.core.events import CancelAsked, Event, StopAsked
from orchestrator.core.states import Stop
from orchestrator.errors import ExitCode
from orchestrator.inside import refuse_inside
from orchestrator.launching import RunRequest, create, launch, lock_run, user_config
from orchestrator.locks.supervisor_lock import SupervisorLock
from orchestrator.nesting.ancestors import Nesting, find_ancestors
from orchestrator.results import RunReader
from orchestrator.session import RunReport, SessionOptions, supervise
from orchestrator.staleness import stale_count
from orchestrator.store.history import read_history
from orchestrator.store.records import RunOptions
from orchestrator.store.run_store import RunStore
from orchestrator.store.rundir import RunDir
from orchestrator.views.happenings import View

__all__ = ["RunReport", "RunRequest", "cancel_dead_run", "resume_run", "run_each", "run_file"]


def run_file(home: Path, request: RunRequest, view: View) -> RunReport:
    """Run a jobs file, or continue its newest unfinished run (`resume`). Raises UserError and its kinds."""
    from orchestrator.jobsfile.inputs import resolve_inputs
    from orchestrator.jobsfile.load import load

    nesting = find_ancestors(os.environ)
    jobs_file = load(request.jobs_file, folder=request.folder, user_config=user_config())
    launched = launch(home, jobs_file, resolve_inputs(jobs_file.inputs, request.inputs), request)
    if isinstance(launched, RunDir):
        return RunReport(launched.run_id, "skipped", ExitCode.COMPLETED, RunReader.read(launched).summary())
    with _releasing(launched.lock):
        if launched.store is None:
            return _resume(launched.run_dir, view, request.options, nesting)
        return supervise(launched.store, jobs_file, view, SessionOptions(run=request.options, nesting=nesting))


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

    nesting = find_ancestors(os.environ)
    jobs_file = load_text(jobs_text, path=os.path.join(folder, "each.toml"), folder=folder)
    launched = create(home, jobs_file, {}, options, run_id, lines=lines)
    assert launched.store is not None
    with _releasing(launched.lock):
        return supervise(launched.store, jobs_file, view, SessionOptions(run=options, nesting=nesting))


def resume_run(
    run_dir: RunDir,
    view: View,
    *,
    keep_failed: bool = False,
    rerun_stale: bool = False,
    slots: int | None = None,
    keep_going: bool = False,
    fresh: bool = False,
) -> RunReport:
    """Continue a run: what has not succeeded. Raises RunHeldError if somebody supervises it."""
    # It would adopt the attempt that it runs in, and wait for it.
    refuse_inside(run_dir, "a resume")
    nesting = find_ancestors(os.environ)
    options = RunOptions(slots=slots, keep_going=keep_going, fresh=fresh)
    with _releasing(lock_run(run_dir)):
        report = _resume(run_dir, view, options, nesting, keep_failed=keep_failed, rerun_stale=rerun_stale)
        # Running one job again may make those after it stale: each pass comes one job further.
        while rerun_stale and report.exit_code == ExitCode.COMPLETED and stale_count(read_history(run_dir)):
            report = _resume(run_dir, view, options, nesting, keep_failed=keep_failed, rerun_stale=True)
        return report


def cancel_dead_run(
    run_dir: RunDir, items: list[tuple[str, int]] | None, view: View, *, replaced_by: str | None = None
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
            return _resume(run_dir, view, RunOptions(), None, keep_failed=True, first=(CancelAsked(None),))
        refs = tuple((orders[job_id], index) for job_id, index in items)
        first = (CancelAsked(refs), StopAsked(Stop.DRAIN))
        return _resume(run_dir, view, RunOptions(), None, keep_failed=True, first=first, replaced_by=replaced_by)


def _resume(
    run_dir: RunDir,
    view: View,
    options: RunOptions,
    nesting: Nesting | None,
    *,
    keep_failed: bool = False,
    rerun_stale: bool = False,
    first: tuple[Event, ...] = (),
    replaced_by: str | None = None,
) -> RunReport:
    store = RunStore.open(run_dir)
    past = store.history.header.options
    session = SessionOptions(
        run=RunOptions(
            slots=next((each for each in (options.slots, store.history.slots_set, past.slots) if each is not None), None),
            keep_going=options.keep_going or past.keep_going,
            fresh=options.fresh or past.fresh,
        ),
        nesting=nesting,
        is_resumed=True,
        keep_failed=keep_failed,
        rerun_stale=rerun_stale,
        first=first,
        replaced_by=replaced_by,
    )
    return supervise(store, RunReader(run_dir, store.history).jobs_file, view, session)


@contextmanager
def _releasing(lock: SupervisorLock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()
