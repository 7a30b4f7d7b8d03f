"""Which jobs are at rest: they are closed or, in a halted run, will never move again. Then cleanup jobs that need them may open.

In a halted run a job is at rest when nothing of it goes on by itself, nothing of it will start, and the jobs that it needs or
follows are at rest: items of a chain are still skipped, or cleaned up after, while its parents move, and who cleans up after a
job cleans up after what comes before it, too. That is kept for each job (`Agenda.resting`) and told on to the jobs that it keeps
from rest when it changes, so nobody walks up a chain to find it out.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.core import budget
from orchestrator.core.job_changes import wake_watchers
from orchestrator.core.states import JobState, Phase, RunState


def is_at_rest(state: RunState, job: JobState) -> bool:
    """Whether nothing more will come of the job in this run. As of the last look (`turns.review`)."""
    return job.is_closed or job.rules.order in state.agenda.resting


def has_money(state: RunState, job: JobState) -> bool:
    """Whether the job may start an item, as far as money goes."""
    return budget.refusal(state, job) is None


def settle_rest(state: RunState, changed: Iterable[int]) -> None:
    """Find out anew, in a halted run, which jobs are at rest. `changed`: those of which something has changed."""
    resting = state.agenda.resting
    todo = list(changed)
    while todo:
        order = todo.pop()
        job = state.jobs[order]
        if _rests(state, job) == (order in resting):
            continue
        if order in resting:
            resting.discard(order)
            todo += job.dependents
        else:
            resting.add(order)
            wake_watchers(state, job)
            todo += job.kept_from_rest
            job.kept_from_rest.clear()


def _rests(state: RunState, job: JobState) -> bool:
    order, rules = job.rules.order, job.rules
    if job.is_closed:
        return True
    if order in state.agenda.moving or (order in state.agenda.wanting and has_money(state, job)):
        return False
    # Any other cleanup job closes in the end.
    if rules.is_cleanup and not (rules.chain and job.phase is Phase.OPEN):
        return False
    before = (state.jobs[each] for each in (*rules.chain, *rules.needs))
    moving = next((each for each in before if not is_at_rest(state, each)), None)
    if moving is None:
        return True
    # One is enough: when that one is at rest, this one is looked at again.
    moving.kept_from_rest.add(order)
    return False
