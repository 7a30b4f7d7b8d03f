"""Lists that grow while their items run: whoever makes the list has not come to its end yet.

Promise: a job whose list grows is not closed for having nothing left, and its run is not finished, as long as an item that comes
now could start. It may not in a run that is halted, stopped or cancelled, nor for lack of money: then such a list keeps nothing.
Invariant: `Agenda.growing` has exactly the jobs whose lists are neither whole nor given up.
"""

from __future__ import annotations

import sys

from orchestrator.core.decisions import Decision
from orchestrator.core.events import ItemsAdded, ListEnded
from orchestrator.core.initial_state import set_failures_allowed
from orchestrator.core.item_ends import give_up, heed_count, heed_failures, heed_goal
from orchestrator.core.resting import has_money
from orchestrator.core.scheduling import is_over
from orchestrator.core.states import PENDING, JobState, RunState
from orchestrator.core.turns import wants_to_start


def begin_growing(state: RunState, job: JobState) -> None:
    """More items may be added to the job from now on."""
    rules = job.rules
    around = (*rules.needs, *rules.chain, *job.chain_children)
    assert not around, f"{rules.id} is not alone with its items"
    state.agenda.growing.add(rules.order)
    # What a share of all items is will be known once all are.
    if rules.max_failures_percent is not None:
        job.failures_allowed = sys.maxsize
    if rules.halt is not None and rules.halt.percent is not None:
        job.halts_at = 0


def take_in_growth(state: RunState, event: ItemsAdded | ListEnded, decisions: list[Decision]) -> None:
    """Add items, or have the list end."""
    job = state.jobs[event.job]
    state.agenda.changed.add(event.job)
    if isinstance(event, ItemsAdded):
        job.items += [PENDING] * event.count
        job.unfinished += event.count
        # They were read before anybody knew that it was enough.
        if job.enough:
            give_up(state, job, decisions)
        return
    state.agenda.growing.discard(event.job)
    if not event.is_whole:
        state.agenda.cut.add(event.job)
    set_failures_allowed(job, len(job.items))
    if job.rules.limits_failures:
        heed_failures(state, job, decisions)
    elif job.rules.counts_failures:
        heed_count(state, job, decisions)
    if job.rules.has_goal:
        heed_goal(state, job, decisions)


def are_awaited(state: RunState) -> bool:
    """Whether items are to come that could start then."""
    growing = (state.jobs[order] for order in state.agenda.growing)
    return any(not is_over(state, job) and (has_money(state, job) or not wants_to_start(state, job)) for job in growing)
