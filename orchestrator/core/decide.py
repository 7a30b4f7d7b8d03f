"""`decide`: one event in, decisions out. Every rule of order, bounds, retries, halting and stopping starts here.

Promise: bounds are never exceeded (slots, max_concurrency); every item ends, or the run ends `interrupted`, `cancelled` or
`failed` and names it; a halt is told by the failing item that comes first in (job order, index).
Invariant: free slots + running items + slots set aside = slots (`check_invariants`).
It refuses to handle: clocks (`now` is given, monotonic seconds), disks, processes, and what an outcome says beyond its verdict.
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
    _look_at_clock(state, now, decisions)
    _advance(state, now, decisions)
    return decisions


def next_wake(state: RunState) -> float | None:
    """When (monotonic seconds) `TimePassed` is due, if nothing happens before."""
    return min(scheduling.wake_times(state), default=None)


def check_invariants(state: RunState) -> None:
    """Raise AssertionError if a slot was made or lost, or a counter does not match the items. For tests, after each step."""
    running = [item for job in state.jobs for item in job.items if isinstance(item, Running)]
    own_slots = [item.slot for item in running if item.slot < state.slots]
    slots = own_slots + state.free_slots + [slot for slot in state.set_aside if slot < state.slots]
    assert len(set(slots)) == len(slots), "a slot is used twice"
    assert len(slots) == state.slots, "a slot was made or lost"
    for job in state.jobs:
        untold = {index for index, item in enumerate(job.items) if isinstance(item, Waiting) and item.due == math.inf}
        assert job.joining | job.asking == untold, "job.joining or job.asking is wrong"
        assert not job.joining & job.asking, "an item waits twice"
        assert job.posing <= job.asking, "job.posing is wrong"
        assert job.running == sum(isinstance(item, Running) for item in job.items), "job.running is wrong"
        for meter in (job.costs.nano_usd, job.costs.tokens):
            assert sorted(meter.last.values()) == meter.in_order, "the order of costs is wrong"
            assert len(meter.last) <= meter.told, "more items have told a cost than attempts"
        if job.rules.max_concurrency is not None:
            assert job.running <= job.rules.max_concurrency, "max_concurrency is exceeded"
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
    job, running = scheduling.take_back_slot(state, end.item)
    budget.charge_attempt(job, index, end.cost)
    scheduling.free_slot(state, running.slot)
    for resource in scheduling.freed_by_end(job.rules):
        state.holds.pop(resource, None)
    if end.verdict in (Verdict.SUCCEEDED, Verdict.ROUND, Verdict.CORRECTABLE) and running.account is not None:
        throttle.note_success(state, running.account, running.throttles)
    ended = _state_after(state, job, index, running, end, now)
    if isinstance(ended, Waiting):
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
    tries = job.tries[index]
    match end.verdict:
        case Verdict.SUCCEEDED | Verdict.HOPELESS | Verdict.CANCELLED:
            return _ENDS[end.verdict]
        case Verdict.ROUND:
            tries.losses = tries.refusals = 0
            tries.used = 0  # each round has its own attempts
            waiting = Waiting("round", now + job.rules.repeat_delay)
            is_last = False
        case Verdict.DRAINED | Verdict.PAUSED:  # drained perhaps by an earlier supervisor: then this one runs it again
            tries.used -= 1
            waiting = Waiting("drained", now) if end.verdict is Verdict.DRAINED else waiting_for_choice("gate")
            is_last = False
        case Verdict.LOST:
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
            tries.is_corrected = True
            waiting = Waiting("correction", now)
            is_last = False
        case Verdict.THROTTLED | Verdict.PARKED:
            tries.losses = 0
            tries.used -= 1
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
    """The account would do no work for the item: what the item waits for. It is tried again as soon as the account may be."""
    account = running.account
    if account is None:
        wait = throttle.wait_alone(refusals) if end.until is None else min(end.until - now, throttle.LONGEST_TOLD_SECONDS)
        return Waiting("backoff", now + max(0.0, wait))
    if end.verdict is Verdict.PARKED:
        parking.park_account(state, account, now + parking.DEFAULT_PARK_SECONDS if end.until is None else end.until)
        return Waiting(parking.usage_limit(account), now)
    throttle.note_throttle(state, account, running.throttles, end.until, now)
    return Waiting(throttle.rate_limit(account), now)


def _verdict_shared(state: RunState, items: tuple[ItemRef, ...], is_success: bool, decisions: list[Decision]) -> None:
    """The failure of one of them may halt the run: the others share it all the same. What has ended meanwhile is let be.

    Also an item of a job that was closed before its turn came: what needs that job may run already.
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
        if scheduling.is_over(state, job):
            settle_item(state, job, index, INTERRUPTED, decisions)
            continue
        make_due(job, index, "token", now)


def _outcomes_durable(state: RunState, items: tuple[ItemRef, ...], decisions: list[Decision]) -> None:
    for order, index in items:
        job = state.jobs[order]
        job.undurable.discard(index)
        for child in job.chain_children:
            release_chain_item(state, state.jobs[child], index, decisions)


def _look_at_clock(state: RunState, now: float, decisions: list[Decision]) -> None:
    if state.timeout_at is not None and now >= state.timeout_at and not state.is_timed_out:
        state.is_timed_out = True
        if state.stop.value < Stop.DRAIN.value:
            stop_run(state, Stop.DRAIN, now, decisions)
        if state.stop is Stop.DRAIN:
            state.drain_until = now
    if state.drain_until is not None and now >= state.drain_until:
        state.drain_until = None
        end_running(state, "drain", decisions)
    for resource in [resource for resource, until in state.holds.items() if until <= now]:
        del state.holds[resource]


def _advance(state: RunState, now: float, decisions: list[Decision]) -> None:
    if state.is_finished or not state.is_open:
        return
    close_jobs(state, decisions)  # first: a job that opens asks how those it needs were closed
    open_jobs(state, decisions)
    while close_jobs(state, decisions):
        open_jobs(state, decisions)
    gates.ask_gates(state, decisions)
    scheduling.start_items(state, now, decisions)
    finish_run(state, decisions)
