"""When a job opens, is skipped, or closes; when the run is finished.

    BLOCKED --needs at rest--> LISTING --ItemsListed--> OPEN --nothing left--> SUCCEEDED | FAILED | SKIPPED | CANCELLED
       |                                                 ^
       +--needs at rest, listed before (resume)----------+
       +--needs at rest, nothing of it shall run--> SKIPPED

Promise: a run finishes exactly when nothing moves and nothing can start. A run of which something could still start, and that is
neither stopped nor paused for a reason, is our bug: it is refused (`finish_run`), never left to wait for ever.
"""

from __future__ import annotations

from typing import assert_never

from orchestrator.core import budget
from orchestrator.core.decisions import CloseJob, Decision, FinishRun, ListItems, RunVerdict
from orchestrator.core.item_ends import release_chain_item, settle_item
from orchestrator.core.scheduling import has_startable, may_start
from orchestrator.core.states import CLOSED_PHASES, SKIPPED, Cancelled, Failed, ItemRef, JobState, Pending, Phase, RunState, Stop


def open_jobs(state: RunState, decisions: list[Decision]) -> None:
    """Have each job listed (or skipped) whose needs are met. A skipped job may let the next one open: repeat until still."""
    if state.stop is not Stop.NO or state.is_cancelled:
        return
    is_changed = True
    while is_changed:
        is_changed = False
        for job in state.jobs:
            if job.phase is Phase.BLOCKED and _open(state, job, decisions):
                is_changed = True


def close_jobs(state: RunState, decisions: list[Decision]) -> bool:
    """Close each open job of which nothing is left; tells whether there was one."""
    is_any = False
    for job in state.jobs:
        is_still = not job.running and not job.undurable and not job.joining
        if job.phase is Phase.OPEN and is_still and (job.is_stopped or not job.unfinished):
            close_job(state, job, _closing_phase(job), decisions)
            is_any = True
    return is_any


def begin_job(state: RunState, job: JobState, decisions: list[Decision]) -> None:
    """Open a listed job: its items may start from now on, or are skipped."""
    job.phase = Phase.OPEN
    for index, item in enumerate(job.items):
        if job.skip_reason and isinstance(item, Pending):
            settle_item(state, job, index, SKIPPED, decisions, job.skip_reason)
        elif job.rules.chain:
            release_chain_item(state, job, index, decisions)


def close_job(state: RunState, job: JobState, phase: Phase, decisions: list[Decision]) -> None:
    """Close one job. If items of it never had their turn, the chain items that wait for them are told."""
    assert phase in CLOSED_PHASES
    job.phase = phase
    decisions.append(CloseJob(job.rules.order, phase))
    if job.unfinished:
        for child in job.chain_children:
            for index in range(len(state.jobs[child].items)):
                release_chain_item(state, state.jobs[child], index, decisions)


def finish_run(state: RunState, decisions: list[Decision]) -> None:
    """Finish the run if nothing moves and nothing can."""
    if state.is_finished or state.is_reopening or any(_is_in_motion(state, job) for job in state.jobs):
        return
    # A wrong rule would show here as a run that waits for ever: better to say so.
    if not _may_end(state):
        raise AssertionError("nothing runs and nothing can start, but the run has not ended")
    state.is_finished = True
    verdict = _verdict(state)
    error = _error(state) or (_cancelled(state) if verdict == "failed" else None)
    reason = _reason_to_pause(state) if verdict == "paused" else ""
    decisions.append(FinishRun(verdict, error, state.is_rejected, reason))


def _open(state: RunState, job: JobState, decisions: list[Decision]) -> bool:
    """Open, list or skip a blocked job if its time has come; tells whether it did."""
    rules = job.rules
    # Nothing of it is selected: no need to wait for what it needs, nor to make a list of which no item runs.
    if rules.is_left_out and not job.is_listed:
        close_job(state, job, Phase.SKIPPED, decisions)
        return True
    if state.is_halted and not rules.is_cleanup:
        return False
    needs = [state.jobs[order] for order in rules.needs]
    parents = [state.jobs[order] for order in rules.chain]
    # Needs are barriers; of a chain's parents only the list is needed, for item by item decides.
    if not all(_is_at_rest(state, need) for need in needs):
        return False
    if not all(parent.is_listed or _is_at_rest(state, parent) for parent in parents):
        return False
    # A parent that will never have a list has no items to follow.
    unlisted = next((parent for parent in parents if not parent.is_listed), None)
    if unlisted is not None:
        close_job(state, job, Phase.SKIPPED, decisions)
        return True
    job.skip_reason = _reason_to_skip(state, job, needs)
    # Listed under an earlier supervisor: a list is made once.
    if job.is_listed:
        begin_job(state, job, decisions)
        return True
    # A job without `for_each` is listed all the same, so that its one item is there to be shown as skipped, with the reason.
    if job.skip_reason and not rules.is_single:
        close_job(state, job, Phase.SKIPPED, decisions)
        return True
    job.phase = Phase.LISTING
    decisions.append(ListItems(rules.order))
    return True


def _is_at_rest(state: RunState, need: JobState) -> bool:
    """Whether the job is closed or, in a halted run, will never move again: then cleanup jobs that need it may open."""
    if need.is_closed:
        return True
    if not state.is_halted or _is_in_motion(state, need):
        return False
    # Items of a chain are still skipped, or cleaned up after, while its parents move. Any other cleanup job closes in the end.
    chain = need.rules.chain
    if need.rules.is_cleanup and not (chain and need.phase is Phase.OPEN):
        return False
    return all(_is_at_rest(state, state.jobs[order]) for order in chain)


def _has_failed(state: RunState, need: JobState) -> bool:
    """Whether a job failed, or did not succeed because one before it had failed."""
    if need.is_stopped or (need.failed and not need.rules.limits_failures):
        return True
    before = (*need.rules.needs, *need.rules.chain)
    return need.phase is not Phase.SUCCEEDED and any(_has_failed(state, state.jobs[order]) for order in before)


def _reason_to_skip(state: RunState, job: JobState, needs: list[JobState]) -> str:
    match job.rules.when_word:
        case "always":
            return ""
        case "failed":
            is_wanted = bool(job.rules.chain) or any(_has_failed(state, need) for need in needs)
            return "" if is_wanted else "nothing that it needs failed"
        case None:
            blocking = next((need for need in needs if need.blocks_dependents), None)
            if blocking is None or job.rules.has_own_when:
                return ""
            return f"{blocking.rules.id} is {blocking.phase.value}"
        case unknown:
            assert_never(unknown)


def _closing_phase(job: JobState) -> Phase:
    """What the job has come to. Items that are no longer in the list (`gone`) count for nothing."""
    if job.is_stopped:
        return Phase.FAILED
    if job.failed and not job.rules.limits_failures:
        return Phase.FAILED
    if job.cancelled:
        return Phase.CANCELLED
    if job.skipped > job.gone and job.skipped == len(job.items):
        return Phase.SKIPPED
    return Phase.SUCCEEDED


def _is_in_motion(state: RunState, job: JobState) -> bool:
    """Whether something of the job will happen without anybody outside doing anything."""
    if job.running or job.undurable or job.joining or job.posing or job.phase is Phase.LISTING:
        return True
    # Somebody sits at the terminal: the run waits for the answer, and does not pause.
    if job.asking and job.rules.is_gate and state.is_attended:
        return True
    return may_start(state, job) and has_startable(job) and budget.refusal(state, job) is None


def _lacks_money(state: RunState, job: JobState) -> bool:
    return may_start(state, job) and has_startable(job) and budget.refusal(state, job) is not None


def _reason_to_pause(state: RunState) -> str:
    """Why the run pauses, in words: the budgets that are spent, each once, or a usage limit; empty: for something else."""
    if state.stop is not Stop.NO:
        return state.pause_reason if state.stop is Stop.PAUSE else ""
    told: dict[tuple[str | None, budget.Unit], budget.Refusal] = {}
    for job in state.jobs:
        if _lacks_money(state, job) and (refused := budget.refusal(state, job)) is not None:
            # The next of another job is expected to cost something else: that is no other budget.
            told.setdefault((refused.job, refused.unit), refused)
    return "; ".join(budget.in_words(refused) for refused in told.values())


def _may_end(state: RunState) -> bool:
    is_stopped = state.stop is not Stop.NO or state.is_cancelled or state.is_halted
    if is_stopped or all(job.is_closed for job in state.jobs):
        return True
    return any(job.asking or _lacks_money(state, job) for job in state.jobs)


def _verdict(state: RunState) -> RunVerdict:
    is_all_closed = all(job.is_closed for job in state.jobs)
    if state.is_cancelled:
        return "cancelled"
    if not is_all_closed and state.stop is not Stop.NO and not state.is_timed_out:
        # Also when something failed meanwhile: a run that was told to stop has not come to its end, and a resume goes on with it.
        return "paused" if state.stop is Stop.PAUSE else "interrupted"
    if not is_all_closed:
        return "failed" if state.is_halted or state.is_timed_out else "paused"
    return "failed" if any(job.phase in (Phase.FAILED, Phase.CANCELLED) for job in state.jobs) else "completed"


def _error(state: RunState) -> ItemRef | None:
    if state.halted_by is not None:
        return state.halted_by
    failed = next((job for job in state.jobs if job.phase is Phase.FAILED), None)
    if failed is None:
        return None
    # A failed job without a failed item could not be listed: its first item stands for it.
    return failed.rules.order, next((index for index, item in enumerate(failed.items) if isinstance(item, Failed)), 0)


def _cancelled(state: RunState) -> ItemRef | None:
    """The first item without which a run in which nothing failed is not complete either: somebody cancelled or replaced it."""
    for job in state.jobs:
        if job.phase is Phase.CANCELLED:
            return job.rules.order, next((index for index, item in enumerate(job.items) if isinstance(item, Cancelled)), 0)
    return None
