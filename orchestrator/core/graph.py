"""When a job opens, is skipped, or closes; when the run is finished."""

from __future__ import annotations

from typing import assert_never

from orchestrator.core.decisions import CloseJob, Decision, FinishRun, ListItems, RunVerdict
from orchestrator.core.scheduling import has_startable, may_start
from orchestrator.core.states import CLOSED_PHASES, ItemRef, JobState, Phase, RunState, Stop


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
        if job.phase is Phase.OPEN and not job.running and not job.undurable and (job.is_stopped or not job.unfinished):
            close(job, _closing_phase(job), decisions)
            is_any = True
    return is_any


def close(job: JobState, phase: Phase, decisions: list[Decision]) -> None:
    """Close one job."""
    assert phase in CLOSED_PHASES
    job.phase = phase
    decisions.append(CloseJob(job.rules.order, phase))


def finish_run(state: RunState, decisions: list[Decision]) -> None:
    """Finish the run if nothing moves and nothing can."""
    if state.is_finished or any(_is_in_motion(state, job) for job in state.jobs):
        return
    if not _may_end(state):
        raise AssertionError("nothing runs and nothing can start, but the run has not ended")
    state.is_finished = True
    decisions.append(FinishRun(_verdict(state), _error(state)))


def _open(state: RunState, job: JobState, decisions: list[Decision]) -> bool:
    rules = job.rules
    if state.is_halted and not rules.is_cleanup:
        return False
    needs = [state.jobs[order] for order in rules.needs]
    parents = [state.jobs[order] for order in rules.chain]
    if not all(_is_at_rest(state, need) for need in needs):
        return False
    if not all(parent.is_listed or _is_at_rest(state, parent) for parent in parents):
        return False
    unlisted = next((parent for parent in parents if not parent.is_listed), None)
    if unlisted is not None:
        close(job, Phase.SKIPPED, decisions)
        return True
    job.skip_reason = _reason_to_skip(job, needs)
    if job.skip_reason and not rules.is_single:
        close(job, Phase.SKIPPED, decisions)
        return True
    job.phase = Phase.LISTING
    decisions.append(ListItems(rules.order))
    return True


def _is_at_rest(state: RunState, need: JobState) -> bool:
    """Closed; or, in a halted run, never to move again."""
    if need.is_closed:
        return True
    return state.is_halted and not need.rules.is_cleanup and not need.running and not need.undurable


def _reason_to_skip(job: JobState, needs: list[JobState]) -> str:
    match job.rules.when_word:
        case "always":
            return ""
        case "failed":
            is_wanted = bool(job.rules.chain) or any(need.failed or need.is_stopped for need in needs)
            return "" if is_wanted else "nothing that it needs failed"
        case None:
            blocking = next((need for need in needs if need.blocks_dependents), None)
            if blocking is None or job.rules.has_own_when:
                return ""
            return f"{blocking.rules.id} is {blocking.phase.value}"
        case unknown:
            assert_never(unknown)


def _closing_phase(job: JobState) -> Phase:
    if job.is_stopped:
        return Phase.FAILED
    if job.failed and not job.rules.limits_failures:
        return Phase.FAILED
    if job.cancelled:
        return Phase.CANCELLED
    if job.items and job.skipped == len(job.items):
        return Phase.SKIPPED
    return Phase.SUCCEEDED


def _is_in_motion(state: RunState, job: JobState) -> bool:
    if job.running or job.undurable or job.phase is Phase.LISTING:
        return True
    return may_start(state, job) and has_startable(job)


def _may_end(state: RunState) -> bool:
    return state.stop is not Stop.NO or state.is_cancelled or state.is_halted or all(job.is_closed for job in state.jobs)


def _verdict(state: RunState) -> RunVerdict:
    is_all_closed = all(job.is_closed for job in state.jobs)
    if state.is_cancelled:
        return "cancelled"
    if state.is_halted or state.is_timed_out:
        return "failed"
    if not is_all_closed:
        return "interrupted"
    return "failed" if any(job.phase in (Phase.FAILED, Phase.CANCELLED) for job in state.jobs) else "completed"


def _error(state: RunState) -> ItemRef | None:
    if state.halted_by is not None:
        return state.halted_by
    if state.first_failure is not None and state.jobs[state.first_failure[0]].phase is Phase.FAILED:
        return state.first_failure
    return next(((job.rules.order, 0) for job in state.jobs if job.phase is Phase.FAILED), None)
