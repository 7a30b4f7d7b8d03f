"""`orchestrate retry` of a run that nobody supervises: items run one more time, perhaps with a change.

Promise: what was asked for is recorded before anything acts on it, so after a kill a resume does it. An item's child run goes on
with the item: what was cancelled or failed there runs again as well.
It refuses to handle: a run that is supervised (its supervisor records the same, `supervisor/requests`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.control.messages import RetryRequest
from orchestrator.errors import UserError
from orchestrator.runs.offline_recorder import OfflineRecorder
from orchestrator.store.load import read_history
from orchestrator.store.records import Record, Reopened, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.supervisor.reopenings import retries
from orchestrator.system.locks.holders import is_locked

if TYPE_CHECKING:
    from orchestrator.control.messages import Reply
    from orchestrator.reading.run_reader import RunReader

_ENDED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.SKIPPED, Status.INTERRUPTED)


def failed_or_cancelled(history: RunHistory) -> list[tuple[str, int]]:
    """The items, each (job id, index), that come to something only if they run once more.

    Not what a job that has succeeded had cancelled, because it was enough without them (`halt`).
    """
    return [
        (job_id, index)
        for job_id in history.header.jobs
        for index in range(history.jobs[job_id].known)
        if (status := history.jobs[job_id].status(index)) is Status.FAILED
        or (status is Status.CANCELLED and history.jobs[job_id].closed != "succeeded")
    ]


def check_selected(reader: RunReader, items: Iterable[tuple[str, int]]) -> None:
    """Raise UserError for an item that the run was told to leave out: it would wait for others that are left out, too."""
    run_id = reader.run_dir.run_id
    for job_id, index in items:
        if not reader.history.jobs[job_id].is_selected(index):
            name = reader.item_name(job_id, index)
            raise UserError(
                f"{name} is not selected in run {run_id}", f"orchestrate resume {run_id} --all runs it, with all the rest"
            )


def check_change(
    reader: RunReader, items: Iterable[tuple[str, int]], feedback: str | None, model: str | None, prompt: str | None
) -> None:
    """Raise UserError for a change that cannot be recorded, or that no agent of these items could heed. None: no change."""
    changes = {"feedback": feedback, "model": model, "prompt": prompt}
    for name, word in changes.items():
        if word is not None and not word.strip():
            raise UserError(f"the {name} is empty", "say something, or leave it out")
        try:
            (word or "").encode()
        except UnicodeEncodeError:
            raise UserError(f"the {name} is not UTF-8", "write it in UTF-8: it is kept in the run's records") from None
    if model is not None and model.startswith("-"):
        raise UserError(f'the model "{model}" begins with a dash', "name a model: the agent's CLI would take this for an option")
    if any(word is not None for word in changes.values()):
        check_agents(reader, items)


def check_agents(reader: RunReader, items: Iterable[tuple[str, int]]) -> None:
    """Raise UserError for an item that no agent works for."""
    for job_id, _ in items:
        if not reader.job(job_id).is_agent:
            raise UserError(f"{job_id} has no agent: there is nobody to tell", "leave out the feedback, the model and the prompt")


def ask_for_retry(run_dir: RunDir, asked: RetryRequest) -> Reply | None:
    """Have the supervisor of the run run the items; its answer. None: nobody supervises the run, and nothing was asked.

    Raises RunHeldError if a child run of one of the items is supervised.
    """
    # Most sessions ask nobody.
    from orchestrator.control.client import NoSupervisor, ask

    # Child runs first: the item's next attempt resumes its child run, which must have something to run.
    reopen_children(run_dir, asked.all_items)
    if is_locked(run_dir.supervisor_lock):
        with suppress(NoSupervisor):  # It has just ended: who asked records it once more, the retry still happens once.
            return ask(run_dir.path, asked)
    return None


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
