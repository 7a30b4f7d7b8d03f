"""`decide`: one event in, decisions out. Every rule of order, bounds, retries, halting and stopping starts here.

Promise: bounds are never exceeded (slots, max_concurrency); every item ends, or the run ends `interrupted`, `cancelled` or
`failed` and names it; a halt is told by the failing item that comes first in (job order, index).
Invariant: free slots + running items that are not queued + slots set aside = slots; each job stands where it belongs.
It refuses to handle: clocks (`now` is given, monotonic seconds), disks, processes, and what an outcome says beyond its verdict.

A call has three steps.

1. The event is taken in. It changes the items, jobs, slots and resources that it is about, and starts nothing.
2. The clock is looked at: the run's timeout, the end of a drain, resources that may be tried again.
3. All conclusions are drawn anew, whatever the event was (`_advance`): jobs close and open, gates ask, items start, the run ends.

So no event has to know what it makes possible. A slot, a resource or a verdict is put where it belongs; whether an item can start
with it is asked in one place, for every event alike.
"""

from __future__ import annotations

from typing import assert_never

from orchestrator.core import gates, queueing, scheduling, throttle, turns
from orchestrator.core.attempt_verdicts import attempt_ended
from orchestrator.core.decisions import Decision
from orchestrator.core.declined_starts import start_declined
from orchestrator.core.events import (
    AccountTold,
    AttemptEnded,
    BudgetSet,
    CancelAsked,
    ChildAnswered,
    Event,
    GateTold,
    ItemsAdded,
    ItemsListed,
    ItemsReopened,
    JoinEnded,
    LeftAlone,
    ListEnded,
    ListingFailed,
    ListingPutOff,
    MoreAsked,
    OutcomesDurable,
    PaceTold,
    ResourceFreed,
    RunOpened,
    SlotFreed,
    SlotsSet,
    StartDeclined,
    StartReturned,
    StopAsked,
    TimePassed,
    VerdictShared,
)
from orchestrator.core.initial_state import list_items, restore_job
from orchestrator.core.item_ends import cancel_item, halt_run, release_chain_item, settle_item
from orchestrator.core.item_waits import end_when_over, make_due
from orchestrator.core.job_changes import enter_phase, wake_watchers
from orchestrator.core.job_order import begin_job, close_job, close_jobs, finish_run, open_jobs
from orchestrator.core.states import (
    FAILED,
    SUCCEEDED,
    ItemRef,
    Pending,
    Phase,
    RunState,
    Stop,
    Waiting,
)
from orchestrator.core.stopping import end_running, obey_request, stop_run


def decide(state: RunState, event: Event, now: float) -> list[Decision]:
    """Take in `event` at `now` (monotonic seconds), change `state`, and tell what is to be done, in order.

    Raises AssertionError for an event that cannot be (an end of what does not run): our bug, never a user's.
    """
    decisions: list[Decision] = []
    # First the event alone: what follows from it is found below, in the same way for all events.
    match event:
        case RunOpened():
            state.is_open = True
        case AttemptEnded():
            attempt_ended(state, event, now, decisions)
        case StartDeclined():
            start_declined(state, event, now, decisions)
        case ItemsListed():
            _items_listed(state, event, decisions)
        case ListingFailed() | ListingPutOff():
            _not_listed(state, event, decisions)
        case OutcomesDurable(items):
            _outcomes_durable(state, items, decisions)
        case StopAsked() | CancelAsked() | SlotsSet() | BudgetSet():
            obey_request(state, event, now, decisions)
        case ChildAnswered(item):
            gates.child_answered(state, item, now)
        case GateTold() | ItemsReopened() | LeftAlone():
            gates.take_in_gate_event(state, event, decisions)
        case (
            SlotFreed()
            | ResourceFreed()
            | VerdictShared()
            | JoinEnded()
            | AccountTold()
            | StartReturned()
            | MoreAsked()
            | PaceTold()
            | ItemsAdded()
            | ListEnded()
        ):
            _told(state, event, now, decisions)
        case TimePassed():
            pass
        case unknown:
            assert_never(unknown)
    # With every event, not only with `TimePassed`: a busy run must see its timeout, too.
    _look_at_clock(state, now, decisions)
    _advance(state, now, decisions)
    return decisions


def next_wake(state: RunState) -> float | None:
    """When (monotonic seconds) `TimePassed` is due, if nothing happens before."""
    return min(scheduling.wake_times(state), default=None)


def _told(
    state: RunState,
    event: (
        SlotFreed
        | ResourceFreed
        | VerdictShared
        | JoinEnded
        | AccountTold
        | StartReturned
        | MoreAsked
        | PaceTold
        | ItemsAdded
        | ListEnded
    ),
    now: float,
    decisions: list[Decision],
) -> None:
    """What was not known before: what may be had now, what came of work elsewhere, whose limits bind an attempt."""
    match event:
        case AccountTold(item, account):
            throttle.note_account(state, state.jobs[item[0]], item[1], account)
        case SlotFreed(slot):
            if slot in state.set_aside:
                state.set_aside.remove(slot)
                scheduling.free_slot(state, slot)
        case ResourceFreed(resource):
            scheduling.free_resource(state, resource)
        case VerdictShared(items, is_success):
            _verdict_shared(state, items, is_success, decisions)
        case JoinEnded(items):
            _join_ended(state, items, now, decisions)
        case StartReturned(item):
            queueing.start_returned(state, item, decisions)
        case MoreAsked(item):
            state.agenda.low.append(item)
        case PaceTold(order, queue_length):
            state.jobs[order].queue_length = queue_length
        case ItemsAdded() | ListEnded():
            from orchestrator.core.growing import take_in_growth  # few runs have a list that grows

            take_in_growth(state, event, decisions)
        case unknown:
            assert_never(unknown)


def _items_listed(state: RunState, listed: ItemsListed, decisions: list[Decision]) -> None:
    job = state.jobs[listed.job]
    assert job.phase is Phase.LISTING, f"{job.rules.id} was listed twice"
    if listed.restored is not None:
        restore_job(state, job, listed.restored)
    else:
        list_items(job, listed.count, listed.chosen)
    # Chains that follow it may have their lists, too.
    wake_watchers(state, job)
    if job.is_cancelled_ahead:
        cancel_item(state, job, 0, decisions)
    if listed.is_growing:
        from orchestrator.core.growing import begin_growing

        begin_growing(state, job)
    begin_job(state, job, decisions)


def _not_listed(state: RunState, event: ListingFailed | ListingPutOff, decisions: list[Decision]) -> None:
    job = state.jobs[event.job]
    if isinstance(event, ListingPutOff):
        enter_phase(state, job, Phase.BLOCKED)
        return
    job.is_stopped = True
    close_job(state, job, Phase.FAILED, decisions)
    if not job.rules.tolerates_failures:
        halt_run(state, (job.rules.order, 0), decisions)


def _verdict_shared(state: RunState, items: tuple[ItemRef, ...], is_success: bool, decisions: list[Decision]) -> None:
    """End these items as the work ended that they joined. The failure of one may halt the run; the others share it all the same.

    Items that have ended meanwhile keep their end. So do items of a job that was closed before their turn came: jobs that need it
    may run already.
    """
    for order, index in items:
        job = state.jobs[order]
        if not job.is_closed and isinstance(job.items[index], Pending | Waiting):
            settle_item(state, job, index, SUCCEEDED if is_success else FAILED, decisions)


def _join_ended(state: RunState, items: tuple[ItemRef, ...], now: float, decisions: list[Decision]) -> None:
    for order, index in items:
        job = state.jobs[order]
        if index not in job.joining:
            continue
        # It was let wait for a verdict to share although its job is over. It would have to start now, and nothing starts.
        if scheduling.is_over(state, job):
            settle_item(state, job, index, end_when_over(job), decisions, job.given_up)
        else:
            make_due(state, job, index, "token", now)


def _outcomes_durable(state: RunState, items: tuple[ItemRef, ...], decisions: list[Decision]) -> None:
    """What needs these items may go on: what it reads of them survives a power loss now."""
    for order, index in items:
        job = state.jobs[order]
        job.undurable.discard(index)
        state.agenda.changed.add(order)
        for child in job.chain_children:
            release_chain_item(state, state.jobs[child], index, decisions)


def _look_at_clock(state: RunState, now: float, decisions: list[Decision]) -> None:
    # The run's timeout is a drain whose time is over at once.
    if state.timeout_at is not None and now >= state.timeout_at and not state.is_timed_out:
        state.is_timed_out = True
        if state.stop.value < Stop.DRAIN.value:
            stop_run(state, Stop.DRAIN, now, decisions)
        if state.stop is Stop.DRAIN:
            state.drain_until = now
    # The time to end by itself is over for what still runs.
    if state.drain_until is not None and now >= state.drain_until:
        state.drain_until = None
        end_running(state, "drain", decisions)
    # Nobody tells of these: they may be tried again when their time has come.
    if state.holds:
        for resource in [resource for resource, until in state.holds.items() if until <= now]:
            scheduling.free_resource(state, resource)


def _advance(state: RunState, now: float, decisions: list[Decision]) -> None:
    # Before `RunOpened` a resume tells what ended meanwhile: to decide on half of that would start what is done.
    if state.is_finished or not state.is_open:
        return
    # Close before opening: a job that opens asks how those it needs were closed. A job that opens may close in the same breath
    # (all of its items are skipped), and let others open.
    agenda = state.agenda
    close_jobs(state, decisions)
    while agenda.to_open and open_jobs(state, decisions):
        close_jobs(state, decisions)
    if agenda.gates:
        gates.ask_gates(state, decisions)
    turns.start_items(state, now, decisions)
    if agenda.low:
        queueing.refill(state, decisions)
    finish_run(state, decisions)
    if state.queued:
        queueing.recall(state, decisions)
    if agenda.backoffs:
        scheduling.drop_stale_times(state)
