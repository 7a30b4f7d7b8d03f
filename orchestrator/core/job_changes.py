"""Changes of a job that more than the job has to hear of: its phase, how many of it run.

Invariant: nothing else sets `JobState.phase` or `JobState.running`.
"""

from __future__ import annotations

from orchestrator.core.states import CLOSED_PHASES, JobState, Phase, RunState


def enter_phase(state: RunState, job: JobState, phase: Phase) -> None:
    """The job is in this phase from now on."""
    agenda, priority = state.agenda, job.rules.priority
    if job.phase is Phase.LISTING:
        agenda.listing[priority] -= 1
        if not agenda.listing[priority]:
            del agenda.listing[priority]
    job.phase = phase
    agenda.changed.add(job.rules.order)
    if phase is Phase.LISTING:
        agenda.listing[priority] = agenda.listing.get(priority, 0) + 1
    elif phase is Phase.BLOCKED:
        agenda.to_open.add(job.rules.order)
    elif phase in CLOSED_PHASES:
        wake_watchers(state, job)


def wake_watchers(state: RunState, job: JobState) -> None:
    """Blocked jobs waited for this one to be listed, or to be at rest: they are looked at again."""
    state.agenda.to_open |= job.watchers
    job.watchers.clear()


def count_start(state: RunState, job: JobState) -> None:
    """One more item of the job runs, so something of it moves. Whether it could start another is for the caller to see."""
    job.running += 1
    state.running += 1
    if job.rules.lane == "fast":
        state.running_fast += 1
    state.agenda.at_work.add(job.rules.order)
    state.agenda.moving.add(job.rules.order)


def count_end(state: RunState, job: JobState) -> None:
    """One item of the job less runs."""
    job.running -= 1
    state.running -= 1
    if job.rules.lane == "fast":
        state.running_fast -= 1
    state.agenda.changed.add(job.rules.order)
    if not job.running:
        state.agenda.at_work.discard(job.rules.order)
