"""`decide`: one event in, decisions out. Every rule of order, bounds, retries, halting and stopping starts here.

Promise: bounds are never exceeded (slots, max_concurrency); every item ends, or the run ends `interrupted`, `cancelled` or
`failed` and names it; a halt is told by the failing item that comes first in (job order, index).
Invariant: free slots + running items + slots set aside = slots (`check_invariants`).
It refuses to handle: clocks (`now` is given, monotonic seconds), disks, processes, and what an outcome says beyond its verdict.

A call has three steps.

1. The event is taken in. It changes the items, jobs, slots and resources that it is about, and starts nothing.
2. The clock is looked at: the run's timeout, the end of a drain, resources that may be tried again.
3. All conclusions are drawn anew, whatever the event was (`_advance`): jobs close and open, gates ask, items start, the run ends.

So no event has to know what it makes possible. A slot, a resource or a verdict is put where it belongs; whether an item can start
with it is asked in one place, for every event alike.

An attempt uses up one of the item's `attempts` if its verdict speaks against the item: FAILED, or CORRECTABLE for the second
time. A lost worker, a shortage, a throttle, a parked account and a drain speak against something else: they are counted apart
(`Tries.losses`, `Tries.refusals`), or not at all.
"""

from __future__ import annotations

import math
from typing import assert_never

from orchestrator.core import budget, gates, parking, scheduling, shortage, throttle
from orchestrator.core.decisions import Decision, Settle
from orchestrator.core.declined_starts import start_declined
from orchestrator.core.events import (
    AccountTold,
    AttemptEnded,
    BudgetSet,
    CancelAsked,
    ChildAnswered,
    Event,
    GateTold,
    ItemsListed,
    ItemsReopened,
    JoinEnded,
    LeftAlone,
    ListingFailed,
    OutcomesDurable,
    ResourceFreed,
    RunOpened,
    SlotFreed,
    SlotsSet,
    StartDeclined,
    StopAsked,
    TimePassed,
    Verdict,
    VerdictShared,
)
from orchestrator.core.initial_state import list_items, restore_job
from orchestrator.core.item_ends import cancel_item, halt_run, release_chain_item, settle_item
from orchestrator.core.item_waits import let_wait, make_due, unless_over
from orchestrator.core.job_order import begin_job, close_job, close_jobs, finish_run, open_jobs
from orchestrator.core.shortage import SHORTAGE
from orchestrator.core.states import (
    CANCELLED,
    FAILED,
    INTERRUPTED,
    SUCCEEDED,
    ItemRef,
    ItemState,
    JobState,
    Pending,
    Phase,
    Running,
    RunState,
    Stop,
    Waiting,
    waiting_for_choice,
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
            _attempt_ended(state, event, now, decisions)
        case StartDeclined():
            start_declined(state, event, now, decisions)
        case ItemsListed():
            _items_listed(state, event, decisions)
        case ListingFailed(order):
            _listing_failed(state, state.jobs[order], decisions)
        case OutcomesDurable(items):
            _outcomes_durable(state, items, decisions)
        case StopAsked() | CancelAsked() | SlotsSet() | BudgetSet():
            obey_request(state, event, now, decisions)
        case ChildAnswered(item):
            gates.child_answered(state, item, now)
        case GateTold() | ItemsReopened() | LeftAlone():
            gates.take_in_gate_event(state, event, decisions)
        case SlotFreed() | ResourceFreed() | VerdictShared() | JoinEnded() | AccountTold():
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


def check_invariants(state: RunState) -> None:
    """Raise AssertionError if a slot was made or lost, or a counter does not match the items. For tests, after each step."""
    running = [item for job in state.jobs for item in job.items if isinstance(item, Running)]
    # Adopted attempts may hold slots beyond the run's own number: those are none of its slots.
    own_slots = [item.slot for item in running if item.slot < state.slots]
    slots = own_slots + state.free_slots + [slot for slot in state.set_aside if slot < state.slots]
    assert len(set(slots)) == len(slots), "a slot is used twice"
    assert len(slots) == state.slots, "a slot was made or lost"
    for job in state.jobs:
        # An item that is in no line, or in two, would wait for ever, or start twice.
        untold = {index for index, item in enumerate(job.items) if isinstance(item, Waiting) and item.due == math.inf}
        assert job.joining | job.asking == untold, "job.joining or job.asking is wrong"
        assert not job.joining & job.asking, "an item waits twice"
        assert job.posing <= job.asking, "job.posing is wrong"
        assert job.running == sum(isinstance(item, Running) for item in job.items), "job.running is wrong"
        # A budget is only as good as the sums that it is compared with.
        for meter in (job.costs.nano_usd, job.costs.tokens):
            assert sorted(meter.last.values()) == meter.in_order, "the order of costs is wrong"
            assert len(meter.last) <= meter.told, "more items have told a cost than attempts"
        if job.rules.max_concurrency is not None:
            assert job.running <= job.rules.max_concurrency, "max_concurrency is exceeded"
        # Stale entries of the heaps are allowed; a waiting item without an entry is not.
        waiting = {index for index, item in enumerate(job.items) if isinstance(item, Waiting) and item.due < math.inf}
        assert waiting <= {index for _, index in job.backoff}.union(job.due, *job.held.values()), "a waiting item is lost"
    for name, account in state.accounts.items():
        assert account.running == sum(item.account == name for item in running), "account.running is wrong"
        assert account.bound is None or account.bound >= 1, "an account may run nothing"
    if state.is_finished:
        assert not running, "the run is finished and something runs"


def _told(
    state: RunState,
    event: SlotFreed | ResourceFreed | VerdictShared | JoinEnded | AccountTold,
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
            state.holds.pop(resource, None)
        case VerdictShared(items, is_success):
            _verdict_shared(state, items, is_success, decisions)
        case JoinEnded(items):
            _join_ended(state, items, now, decisions)
        case unknown:
            assert_never(unknown)


def _items_listed(state: RunState, listed: ItemsListed, decisions: list[Decision]) -> None:
    job = state.jobs[listed.job]
    assert job.phase is Phase.LISTING, f"{job.rules.id} was listed twice"
    if listed.restored is not None:
        restore_job(state, job, listed.restored)
    else:
        list_items(job, listed.count, listed.chosen)
    if job.is_cancelled_ahead:
        cancel_item(state, job, 0, decisions)
    begin_job(state, job, decisions)


def _listing_failed(state: RunState, job: JobState, decisions: list[Decision]) -> None:
    job.is_stopped = True
    close_job(state, job, Phase.FAILED, decisions)
    if not job.rules.tolerates_failures:
        halt_run(state, (job.rules.order, 0), decisions)


def _attempt_ended(state: RunState, end: AttemptEnded, now: float, decisions: list[Decision]) -> None:
    index = end.item[1]
    # Slot, money and resources are given back before the item gets its new state: what follows from that sees them free.
    job, running = scheduling.take_back_slot(state, end.item)
    budget.charge_attempt(job, index, end.cost)
    scheduling.free_slot(state, running.slot)
    for resource in scheduling.freed_by_end(job.rules):
        state.holds.pop(resource, None)
    if end.verdict in (Verdict.SUCCEEDED, Verdict.ROUND, Verdict.CORRECTABLE) and running.account is not None:
        throttle.note_success(state, running.account, running.throttles)
    ended = _state_after(state, job, index, running, end, now)
    if isinstance(ended, Waiting):
        # Items of a job without `accounts` find out at each start which one they need: it waits in the line of that account.
        held_by = running.account if end.verdict is Verdict.THROTTLED and not job.rules.accounts else None
        let_wait(job, index, ended, held_by=held_by)
        decisions.append(Settle(end.item, ended))
    else:
        settle_item(state, job, index, ended, decisions)


_ENDS: dict[Verdict, ItemState] = {
    Verdict.SUCCEEDED: SUCCEEDED,
    Verdict.HOPELESS: FAILED,
    Verdict.CANCELLED: CANCELLED,
}
"""Of verdicts after which nothing is left to decide."""


def _state_after(state: RunState, job: JobState, index: int, running: Running, end: AttemptEnded, now: float) -> ItemState:
    """What the verdict makes of the item, and what it counts against. Only what would wait may be ended by a stop instead."""
    tries = job.tries[index]
    match end.verdict:
        # Final whatever was asked meanwhile: a success that came before its cancellation took effect stays one.
        case Verdict.SUCCEEDED | Verdict.HOPELESS | Verdict.CANCELLED:
            return _ENDS[end.verdict]
        case Verdict.ROUND:
            tries.losses = tries.refusals = 0
            # Each round has its own attempts.
            tries.used = 0
            waiting = Waiting("round", now + job.rules.repeat_delay)
            is_last = False
        case Verdict.DRAINED | Verdict.PAUSED:
            # An earlier supervisor may have drained it: then this one, which does not stop, runs it again.
            tries.used -= 1
            waiting = Waiting("drained", now) if end.verdict is Verdict.DRAINED else waiting_for_choice("gate")
            is_last = False
        case Verdict.LOST:
            # A worker may die by chance, which is nothing against the item; one that takes each of its workers along is failed.
            tries.losses += 1
            tries.used -= 1
            waiting = Waiting("worker lost", now)
            is_last = tries.losses >= scheduling.LOSSES_ALLOWED
        case Verdict.SHORTAGE:
            tries.used -= 1
            shortage.note_shortage(state, now)
            waiting = Waiting(SHORTAGE, now)
            is_last = False
        case Verdict.CORRECTABLE if not tries.is_corrected:
            tries.losses = tries.refusals = 0
            tries.used -= 1
            # Once: an agent that cannot correct itself must not go on for ever for nothing.
            tries.is_corrected = True
            waiting = Waiting("correction", now)
            is_last = False
        case Verdict.THROTTLED | Verdict.PARKED:
            tries.losses = 0
            tries.used -= 1
            # Bounded, too, but in a row: the provider may mean what never passes.
            tries.refusals += 1
            waiting = _refused(state, running, end, tries.refusals, now)
            is_last = tries.refusals >= throttle.REFUSALS_ALLOWED
        case Verdict.FAILED | Verdict.CORRECTABLE:
            tries.losses = tries.refusals = 0
            waiting = Waiting("backoff", now + scheduling.retry_delay(job, index, tries.used))
            is_last = tries.used >= job.rules.attempts
        case unknown:
            assert_never(unknown)
    return unless_over(state, job, running, FAILED if is_last else waiting)


def _refused(state: RunState, running: Running, end: AttemptEnded, refusals: int, now: float) -> Waiting:
    """What an item waits for whose account would do no work. It is tried again as soon as the account may be."""
    account = running.account
    # Of an attempt without a known account nothing can be held back but the item itself.
    if account is None:
        wait = throttle.wait_alone(refusals) if end.until is None else min(end.until - now, throttle.LONGEST_TOLD_SECONDS)
        return Waiting("backoff", now + max(0.0, wait))
    if end.verdict is Verdict.PARKED:
        parking.park_account(state, account, now + parking.DEFAULT_PARK_SECONDS if end.until is None else end.until)
        return Waiting(parking.usage_limit(account), now)
    throttle.note_throttle(state, account, running.throttles, end.until, now)
    return Waiting(throttle.rate_limit(account), now)


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
            settle_item(state, job, index, INTERRUPTED, decisions)
        else:
            make_due(job, index, "token", now)


def _outcomes_durable(state: RunState, items: tuple[ItemRef, ...], decisions: list[Decision]) -> None:
    """What needs these items may go on: what it reads of them survives a power loss now."""
    for order, index in items:
        job = state.jobs[order]
        job.undurable.discard(index)
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
    for resource in [resource for resource, until in state.holds.items() if until <= now]:
        del state.holds[resource]


def _advance(state: RunState, now: float, decisions: list[Decision]) -> None:
    # Before `RunOpened` a resume tells what ended meanwhile: to decide on half of that would start what is done.
    if state.is_finished or not state.is_open:
        return
    # Close before opening: a job that opens asks how those it needs were closed.
    close_jobs(state, decisions)
    open_jobs(state, decisions)
    # A job that opens may close in the same breath (all of its items are skipped), and let others open.
    while close_jobs(state, decisions):
        open_jobs(state, decisions)
    gates.ask_gates(state, decisions)
    scheduling.start_items(state, now, decisions)
    finish_run(state, decisions)
