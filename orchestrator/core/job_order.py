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
from orchestrator.core.ancestry import has_failed, what_blocks
from orchestrator.core.decisions import CloseJob, Decision, FinishRun, ListItems, RunVerdict
from orchestrator.core.item_ends import give_up, release_chain_item, settle_item
from orchestrator.core.job_changes import enter_phase
from orchestrator.core.job_rules import JobRules
from orchestrator.core.resting import has_money, is_at_rest
from orchestrator.core.scheduling import note_backoff
from orchestrator.core.states import CLOSED_PHASES, SKIPPED, Cancelled, Failed, ItemRef, JobState, Pending, Phase, RunState, Stop
from orchestrator.core.turns import review, wants_to_start


def open_jobs(state: RunState, decisions: list[Decision]) -> bool:
    """Have each job listed (or skipped) whose needs are met; tells whether there was one.

    A skipped job may let the next one open: repeat until still.
    """
    if state.stop is not Stop.NO or state.is_cancelled:
        return False
    agenda, is_any = state.agenda, False
    failed: dict[int, bool] = {}
    while True:
        # Of a halted run it tells which jobs are at rest by now.
        review(state)
        if not agenda.to_open:
            return is_any
        orders, agenda.to_open = sorted(agenda.to_open), set()
        for order in orders:
            job = state.jobs[order]
            if job.phase is Phase.BLOCKED and _open(state, job, decisions, failed):
                is_any = True


def close_jobs(state: RunState, decisions: list[Decision]) -> None:
    """Close each open job of which nothing is left. A closed job may end what is left of the chains that follow it."""
    while True:
        review(state)
        if not state.agenda.closable:
            return
        orders, state.agenda.closable = sorted(state.agenda.closable), set()
        for order in orders:
            # A job closed before it in this round may have skipped items of it: it stays open until that is durable.
            if order in state.agenda.changed:
                continue
            job = state.jobs[order]
            close_job(state, job, _closing_phase(state, job), decisions)


def begin_job(state: RunState, job: JobState, decisions: list[Decision]) -> None:
    """Open a listed job: its items may start from now on, or are skipped."""
    enter_phase(state, job, Phase.OPEN)
    # It may have had attempts before, whose workers outlived their supervisor and whose items wait by now.
    for due, _ in job.backoff:
        note_backoff(state, job, due)
    for index, item in enumerate(job.items):
        if job.skip_reason and isinstance(item, Pending):
            settle_item(state, job, index, SKIPPED, decisions, job.skip_reason)
        elif job.rules.chain:
            release_chain_item(state, job, index, decisions)
    # An earlier session saw enough of it end: what that one had given up was skipped, and is decided anew.
    if job.enough:
        give_up(state, job, decisions)


def close_job(state: RunState, job: JobState, phase: Phase, decisions: list[Decision], reason: str = "") -> None:
    """Close one job; `reason` as of `CloseJob`. If items of it never had their turn, the items that follow them are told."""
    assert phase in CLOSED_PHASES
    enter_phase(state, job, phase)
    decisions.append(CloseJob(job.rules.order, phase, reason))
    if job.unfinished:
        for child in job.chain_children:
            for index in range(len(state.jobs[child].items)):
                release_chain_item(state, state.jobs[child], index, decisions)


def finish_run(state: RunState, decisions: list[Decision]) -> None:
    """Finish the run if nothing moves and nothing can."""
    if state.is_finished or state.is_reopening:
        return
    review(state)
    if state.agenda.moving or any(has_money(state, state.jobs[order]) for order in state.agenda.wanting):
        return
    if state.agenda.growing:
        from orchestrator.core.growing import are_awaited  # few runs have a list that grows

        if are_awaited(state):
            return
    # A wrong rule would show here as a run that waits for ever: better to say so.
    if not _may_end(state):
        raise AssertionError("nothing runs and nothing can start, but the run has not ended")
    state.is_finished = True
    verdict = _verdict(state)
    error = _error(state) or (_cancelled(state) if verdict == "failed" else None)
    reason = _reason_to_pause(state) if verdict == "paused" else ""
    decisions.append(FinishRun(verdict, error, state.is_rejected, reason))


def _open(state: RunState, job: JobState, decisions: list[Decision], failed: dict[int, bool]) -> bool:
    """Open, list or skip a blocked job if its time has come; tells whether it did. Else it watches one job for which it waits.

    `failed`: as of `ancestry.has_failed`.
    """
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
    awaited = next((need for need in needs if not is_at_rest(state, need)), None)
    if awaited is None:
        awaited = next((parent for parent in parents if not parent.is_listed and not is_at_rest(state, parent)), None)
    if awaited is not None:
        # One is enough: when that one is at rest, all are looked at again.
        awaited.watchers.add(rules.order)
        return False
    # A parent that will never have a list has no items to follow.
    unlisted = next((parent for parent in parents if not parent.is_listed), None)
    if unlisted is not None:
        close_job(state, job, Phase.SKIPPED, decisions, f"{unlisted.rules.id} is {unlisted.phase.value}")
        return True
    job.skip_reason = _reason_to_skip(state, job, needs, failed)
    # Listed under an earlier supervisor: a list is made once.
    if job.is_listed:
        begin_job(state, job, decisions)
        return True
    # A job without `for_each` is listed all the same, so that its one item is there to be shown as skipped, with the reason.
    if job.skip_reason and not rules.is_single:
        close_job(state, job, Phase.SKIPPED, decisions, job.skip_reason)
        return True
    enter_phase(state, job, Phase.LISTING)
    decisions.append(ListItems(rules.order))
    return True


def _reason_to_skip(state: RunState, job: JobState, needs: list[JobState], failed: dict[int, bool]) -> str:
    match job.rules.when_word:
        case "always":
            return ""
        case "failed":
            is_wanted = bool(job.rules.chain) or any(has_failed(state, order, failed) for order in job.rules.needs)
            return "" if is_wanted else "nothing that it needs failed"
        case None:
            unjudged = (need for need in needs if not _is_judged(job.rules, need))
            blocking = next(filter(None, (what_blocks(state, need) for need in unjudged)), None)
            return "" if blocking is None else f"{blocking.rules.id} is {blocking.phase.value}"
        case unknown:
            assert_never(unknown)


def _is_judged(rules: JobRules, need: JobState) -> bool:
    """Whether a job runs or not is for its own `when` to say: of a job that failed, if it looks at that job."""
    return rules.has_own_when and (need.phase is not Phase.FAILED or need.rules.order in rules.judged)


def _closing_phase(state: RunState, job: JobState) -> Phase:
    """What the job has come to. Items that are no longer in the list (`gone`) count for nothing."""
    is_cut = job.rules.order in state.agenda.cut and not job.enough
    if job.is_stopped or is_cut or (job.failed and not job.bears_failures):
        return Phase.FAILED
    # What was given up is nobody's wish.
    if job.enough:
        return Phase.SUCCEEDED
    if job.cancelled:
        return Phase.CANCELLED
    if job.skipped > job.gone and job.skipped == len(job.items):
        return Phase.SKIPPED
    return Phase.SUCCEEDED


def _lacks_money(state: RunState, job: JobState) -> bool:
    return wants_to_start(state, job) and not has_money(state, job)


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
    # A failed job without a failed item could not be listed, or not to its end: its first item stands for it.
    return failed.rules.order, next((index for index, item in enumerate(failed.items) if isinstance(item, Failed)), 0)


def _cancelled(state: RunState) -> ItemRef | None:
    """The first item without which a run in which nothing failed is not complete either: somebody cancelled or replaced it."""
    for job in state.jobs:
        if job.phase is Phase.CANCELLED:
            return job.rules.order, next((index for index, item in enumerate(job.items) if isinstance(item, Cancelled)), 0)
    return None
