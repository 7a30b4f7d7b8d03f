"""`orchestrate retry` of a run that nobody supervises: items run one more time, perhaps with a change.

Promise: what was asked for is recorded before anything acts on it, so after a kill a resume does it. An item's child run goes on
with the item: what was cancelled or failed there runs again as well.
It refuses to handle: a run that is supervised (its supervisor records the same, `supervisor/requests`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.control.messages import RetryRequest
from orchestrator.errors import UserError
from orchestrator.runs.offline_recorder import OfflineRecorder
from orchestrator.store.load import read_history
from orchestrator.store.records import Record, Reopened, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.supervisor.reopenings import retries

_NOT_DONE = (Status.FAILED, Status.CANCELLED)
_ENDED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.SKIPPED, Status.INTERRUPTED)


def failed_or_cancelled(history: RunHistory) -> list[tuple[str, int]]:
    """The items, each (job id, index), that come to something only if they run once more."""
    return [
        (job_id, index)
        for job_id in history.header.jobs
        for index in range(history.jobs[job_id].known)
        if history.jobs[job_id].status(index) in _NOT_DONE
    ]


def record_retry(run_dir: RunDir, asked: RetryRequest) -> None:
    """Have the next session of the run, which the caller holds, run the items. Survives power loss.

    Raises UserError for an item that a worker of the last session may still run, or in whose workspace it may run another.
    """
    with OfflineRecorder.open(run_dir) as recorder:
        history = recorder.history
        # Two attempts in one workspace would destroy each other's work: the next resume adopts what runs, so that comes first.
        items = asked.all_items
        running = [other for item in items for other in _running_in_its_place(history, item)]
        if running:
            job_id, index = running[0]
            raise UserError(
                f"{job_id}:{index} of run {run_dir.run_id} was running when its supervisor ended",
                f"orchestrate cancel {run_dir.run_id} {job_id}:{index} ends it first"
                if running[0] in history.cancelling
                else f"orchestrate resume {run_dir.run_id} takes it over, or runs it again",
            )
        recorder.record_group([*retries(history, asked), *_reopened(history, items)])
        recorder.make_durable()


def _running_in_its_place(history: RunHistory, item: tuple[str, int]) -> list[tuple[str, int]]:
    """The items that had not ended when the supervisor did: the item itself, or one that goes on in its workspace."""
    last = history.jobs[item[0]].last_end(item[1])
    place = last.workspace if last is not None else ""
    return [other for other, start in history.starts_without_end.items() if other == item or (place and start.workspace == place)]


def reopen_children(run_dir: RunDir, items: Iterable[tuple[str, int]]) -> None:
    """Have what failed or was cancelled in the child runs of these items, and in their child runs, run again when those go on.

    Raises RunHeldError if one of these runs is supervised.
    """
    history = read_history(run_dir)
    children = set()
    for job_id, index in items:
        past = history.jobs[job_id]
        last = past.unended.get(index) or past.last_end(index)
        if past.status(index) is not Status.RUNNING and last is not None and last.child:
            children.add(last.child)
    for child_id in sorted(children):
        child = run_dir.beside(child_id)
        if child.exists:
            _reopen_child(child)


def _reopen_child(child: RunDir) -> None:
    with OfflineRecorder.lock_and_open(child, RetryRequest([])) as recorder:
        items = failed_or_cancelled(recorder.history)
        if items:
            recorder.record_group(_reopened(recorder.history, items))
            recorder.make_durable()
    reopen_children(child, items)


def _reopened(history: RunHistory, items: Sequence[tuple[str, int]]) -> list[Record]:
    """The records that make these items pending again, a job each. Those that have not ended are."""
    indices: dict[str, list[int]] = {}
    for job_id, index in items:
        if history.jobs[job_id].status(index) in _ENDED:
            indices.setdefault(job_id, []).append(index)
    return [Reopened(job=job_id, indices=sorted(each)) for job_id, each in indices.items()]
