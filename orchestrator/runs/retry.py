"""`orchestrate retry`: items run one more time, perhaps with a change. What is recorded for that, whoever supervises the run.

Promise: what was asked for is recorded before anything acts on it, so whoever is killed then, a resume does it. An item's child
run goes on with it: what was cancelled or failed there runs again as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing

from orchestrator.control.messages import RetryRequest
from orchestrator.errors import UserError
from orchestrator.runs.locking import lock_run
from orchestrator.store.load import read_history
from orchestrator.store.records import Record, Reopened, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.store.run_store import RunStore
from orchestrator.supervisor.reopenings import retries

_NOT_DONE = (Status.FAILED, Status.CANCELLED)
_ENDED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.SKIPPED, Status.INTERRUPTED)


def failed_or_cancelled(history: RunHistory) -> list[tuple[str, int]]:
    """The items, each (job id, index), that only come to something if they run once more."""
    return [
        (job_id, index)
        for job_id in history.header.jobs
        for index in range(history.jobs[job_id].known)
        if history.jobs[job_id].status(index) in _NOT_DONE
    ]


def record_retry(run_dir: RunDir, asked: RetryRequest) -> None:
    """Nobody supervises the run, and the caller has locked it: its next session runs the items. Survives power loss.

    Raises UserError for an item that a worker of the last session may still run, or in whose workspace it may run another.
    """
    with closing(RunStore.open(run_dir)) as store:
        history = store.history
        running = [other for item in asked.items for other in _running_in_its_place(history, item)]
        if running:
            job_id, index = running[0]
            raise UserError(
                f"{job_id}:{index} of run {run_dir.run_id} was running when its supervisor ended",
                f"orchestrate resume {run_dir.run_id} takes it over, or runs it again",
            )
        store.append([*retries(history, asked), *_reopened(history, asked.items)])
        store.take_checkpoint()


def _running_in_its_place(history: RunHistory, item: tuple[str, int]) -> list[tuple[str, int]]:
    """Those that had not ended when the supervisor did: the item itself, or one that goes on in its workspace."""
    last = history.jobs[item[0]].last_end(item[1])
    place = last.workspace if last is not None else ""
    return [other for other, start in history.open_starts.items() if other == item or (place and start.workspace == place)]


def reopen_children(run_dir: RunDir, items: Iterable[tuple[str, int]]) -> None:
    """Have what failed or was cancelled in the child runs of these items, and in theirs, run again when those go on.

    Raises RunHeldError if one of them is supervised.
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
        if child.checkpoint.exists():
            _reopen_child(child)


def _reopen_child(child: RunDir) -> None:
    lock = lock_run(child)
    try:
        with closing(RunStore.open(child)) as store:
            items = failed_or_cancelled(store.history)
            if items:
                store.append(_reopened(store.history, items))
                store.take_checkpoint()
    finally:
        lock.release()
    reopen_children(child, items)


def _reopened(history: RunHistory, items: Sequence[tuple[str, int]]) -> list[Record]:
    indices: dict[str, list[int]] = {}
    for job_id, index in items:
        if history.jobs[job_id].status(index) in _ENDED:
            indices.setdefault(job_id, []).append(index)
    return [Reopened(job=job_id, indices=sorted(each)) for job_id, each in indices.items()]
