"""Starts that are queued behind another in its slot, so that its worker need not wait for the supervisor between short items.

Promise: what is queued comes next in its job, and nothing else of the run wants to start; so nothing is kept waiting by it. As
soon as that is so no more, or nothing more of the job is to start, all that is queued is recalled, and until it is back, or has
ended, nothing starts at all. What comes back stands where it stood, as if it had never been told to start.

A queue gets more when it runs low, so that its worker need not wait at its end either.

A queued item counts as running, for `max_concurrency` too; but it takes no slot of its own: `RunState.queued` has how many more
items than one have each slot.
"""

from __future__ import annotations

from orchestrator.core import scheduling
from orchestrator.core.decisions import Decision, RecallQueued, StartAttempt
from orchestrator.core.item_ends import settle_item
from orchestrator.core.job_changes import count_start
from orchestrator.core.states import CANCELLED, PENDING, ItemRef, JobState, Running, RunState, Tries


def may_queue(state: RunState, job: JobState) -> bool:
    """Whether items of the job may stand in queues now."""
    rules = job.rules
    # Of what is enough nobody knows before an end was heard of.
    if rules.has_goal:
        return False
    # Of what is short, or chosen anew for each start, nothing may be taken ahead of its time.
    if state.holds or state.shortage.bound is not None or state.fast_slots or state.agenda.listing:
        return False
    if (
        rules.is_gate
        or rules.is_paid
        or rules.pool is not None
        or rules.accounts
        or rules.devices
        or rules.has_sources
        or rules.chain
        or job.chain_children
    ):
        return False
    # What was tried and goes on later comes before what was not begun.
    if job.due or job.backoff or job.held:
        scheduling.drop_stale(job)
    if job.due or job.backoff or job.held or job.joining or scheduling.is_over(state, job):
        return False
    return state.agenda.wanting <= {rules.order}


def _length(state: RunState, job: JobState) -> int:
    """How many may be queued in each slot, so that no slot stands empty because all that the job may have at once is queued."""
    most = job.rules.max_concurrency
    return job.queue_length if most is None else min(job.queue_length, most // state.slots - 1)


def queue_behind(state: RunState, job: JobState, slot: int, decisions: list[Decision], *, is_new: bool) -> None:
    """Queue the next items of the job behind what runs in `slot`, or is queued there, while enough are left for the other slots.

    `is_new`: what runs was never tried before. One that was declined may be declined again, and one that failed may fail again.
    """
    if not (job.queue_length and is_new and may_queue(state, job)):
        return
    length, slots = _length(state, job), state.slots
    order = job.rules.order
    while (index := scheduling.next_pending(job)) is not None:
        queued = state.queued.get(slot, 0)
        left = len(job.items) - index
        # Near the end each slot has its share of half of what is left, and the last ones are taken one by one: else one of them
        # would have many left when the others have none.
        if queued >= min(length, (left + slots) // (2 * slots)):
            return
        # What was tried before keeps its number and its last end: for that there is no way back to what it was.
        if index in job.tries or not scheduling.has_free_place(job):
            return
        job.next_index = index + 1
        job.tries[index] = Tries(number=1, used=1)
        job.items[index] = Running(1, slot)
        count_start(state, job)
        state.queued[slot] = queued + 1
        state.queued_of = order
        decisions.append(StartAttempt((order, index), 1, slot, is_queued=True))


def refill(state: RunState, decisions: list[Decision]) -> None:
    """Queue more behind those that run with little behind them."""
    low, state.agenda.low = state.agenda.low, []
    if state.is_recalling:
        return
    for order, index in low:
        job = state.jobs[order]
        running = job.items[index]
        # It has ended meanwhile, or is about to, or its slot is gone: what is queued behind it is given back.
        if isinstance(running, Running) and running.ending is None and running.slot < state.slots:
            queue_behind(state, job, running.slot, decisions, is_new=True)
            if not scheduling.has_ready(job):
                state.agenda.changed.add(order)


def start_returned(state: RunState, item: ItemRef, decisions: list[Decision]) -> None:
    """A queued start was given back: its item is what it was before."""
    job, running = scheduling.take_back_slot(state, item)
    index = item[1]
    scheduling.free_slot(state, running.slot)
    del job.tries[index]
    # It was asked for by name, or with the whole run: to whoever was told that it started it is cancelled.
    if running.ending == "cancel":
        settle_item(state, job, index, CANCELLED, decisions)
        return
    job.items[index] = PENDING
    job.next_index = min(job.next_index, index)


def recall(state: RunState, decisions: list[Decision]) -> None:
    """Have what is queued given back, if it should not be begun any more."""
    if not state.queued or state.is_recalling:
        return
    # Nothing more begins in a slot that the run has no more.
    if max(state.queued) >= state.slots or not may_queue(state, state.jobs[state.queued_of]):
        state.is_recalling = True
        decisions.append(RecallQueued())
