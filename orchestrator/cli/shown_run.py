"""What the commands that show a run share: how it is opened, and the parts of `status` that views put into words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.noting import tell_note
from orchestrator.errors import UserError
from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.seen_statuses import run_status
from orchestrator.store.records import Status
from orchestrator.views.end_report import ChildRun, RunningItem
from orchestrator.views.failures import MOST_FAILURES

if TYPE_CHECKING:
    from orchestrator.cli.invocation import Invocation
    from orchestrator.store.run_dir import RunDir


def open_run(invocation: Invocation, reference: str | None) -> RunReader:
    """A reader of the run that `reference` names (None: the newest). Raises UserError."""
    return RunReader.read(invocation.find(reference))


def open_run_to_show(invocation: Invocation, reference: str | None) -> RunReader:
    """As `open_run`; where the run's copy of the jobs file is lost, a note says so, and the records stand in for it."""
    return shown_reader(invocation.find(reference))


def shown_reader(run_dir: RunDir) -> RunReader:
    """As `open_run_to_show`, of a run that is found."""
    reader = RunReader.read(run_dir, tell_note)
    _ = reader.jobs_file  # told before anything is shown, whether or not it takes the file
    return reader


def running_items(reader: RunReader, now: float) -> list[RunningItem]:
    """The attempts that have started and not ended, the oldest first."""
    starts = sorted(reader.history.open_starts.values(), key=lambda start: start.at)
    return [
        RunningItem(reader.item_name(start.job, start.index), start.label, start.attempt, max(now - start.at, 0.0))
        for start in starts
    ]


def child_runs(reader: RunReader) -> list[ChildRun]:
    """The first child runs that have not completed, in order of the jobs and items."""
    from orchestrator.jobsfile.model import WorkflowAction

    history = reader.history
    found: list[ChildRun] = []
    for job_id, past in history.jobs.items():
        if not isinstance(reader.job(job_id).action, WorkflowAction):
            continue
        for index in range(past.known):
            if past.status(index) in (Status.PENDING, Status.SUCCEEDED, Status.SKIPPED) or len(found) > MOST_FAILURES:
                continue
            last = history.open_starts.get((job_id, index)) or past.unended.get(index) or past.last_end(index)
            run_dir = reader.run_dir.beside(last.child) if last is not None and last.child else None
            if run_dir is not None and run_dir.exists:
                found.append(ChildRun(reader.item_name(job_id, index), run_dir.run_id, _status_of_child(run_dir)))
    return found


def _status_of_child(run_dir: RunDir) -> str:
    """In a word; a child run whose records are damaged is no reason not to show this one."""
    try:
        return run_status(RunReader.read(run_dir))
    except UserError as error:
        return f"unreadable ({error.message})"
