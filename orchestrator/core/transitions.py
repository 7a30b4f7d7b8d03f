"""`decide`: one event in, decisions out. Every rule of order, bounds, retries, halting and stopping starts here.

Promise: bounds are never exceeded (slots, max_concurrency); every item ends, or the run ends `interrupted`, `cancelled` or
`failed` and names it; a halt is told by the failing item that comes first in (job order, index).
Invariant: free slots + running items + slots held by others = slots (`check_invariants`).
It refuses to handle: clocks (`now` is given, monotonic seconds), disks, processes, and what an outcome says beyond its verdict.
"""

from __future__ import annotations

import heapq
from typing import Literal, assert_never

from orchestrator.core import graph, scheduling
from orchestrator.core.decisions import Decision, EndAttempt, ListItems, Settle
from orchestrator.core.events import (
    AttemptEnded,
    CancelAsked,
    Declined,
    Event,
    ItemsListed,
    ListingFailed,
    OutcomesDurable,
    RunOpened,
    SlotFreed,
    StartDeclined,
    StopAsked,
    TimePassed,
    Verdict,
)
from orchestrator.core.opening import list_items
from orchestrator.core.settling import cancel_item, end_waiting, halt, release_chain_item, settle
from orchestrator.core.states import (
    CANCELLED,
    FAILED,
    INTERRUPTED,
    SKIPPED,
    SUCCEEDED,
    ItemRef,
    ItemState,
    JobState,
    Phase,
    Running,
    RunState,
    Stop,
    Waiting,
)

EndWord = Literal["cancel", "drain"]

NOW_GRACE_SECONDS = 1.0
"""Grace of a second signal or `stop --now`: long enough for an agent to close its files, short enough to be "at once"."""


def decide(state: RunState, event: Event, now: float) -> list[Decision]:
    """Take in `event` at `now` (monotonic seconds), change `state`, and tell what is to be done, in order.

    Raises AssertionError for an event that cannot be (an end of what does not run): our bug, never a user's.
    """
    decisions: list[Decision] = []
    match event:
        case RunOpened():
            state.is_open = True
        case AttemptEnded(item, verdict):
            _attempt_ended(state, item, verdict, now, decisions)
        case StartDeclined(item, why):
            _start_declined(state, item, why, now, decisions)
        case ItemsListed(order, count):
            _items_listed(state, state.jobs[order], count, decisions)
        case ListingFailed(order):
            _listing_failed(state, state.jobs[order], decisions)
        case OutcomesDurable(items):
            _outcomes_durable(state, items, decisions)
        case SlotFreed(slot):
            _free_slot(state, slot)
        case StopAsked(how):
            _stop(state, how, now, decisions)
        case CancelAsked(items):
            _cancel(state, items, decisions)
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


def check_invariants(state: RunState, slots_held_by_others: int = 0) -> None:
    """Raise AssertionError if a slot was made or lost, or a counter does not match the items. For tests, after each step."""
    running = [item for job in state.jobs for item in job.items if isinstance(item, Running)]
    own_slots = [item.slot for item in running if item.slot < state.slots]
    slots = own_slots + state.free_slots
    assert len(set(slots)) == len(slots), "a slot is used twice"
    assert len(slots) + slots_held_by_others == state.slots, "a slot was made or lost"
    for job in state.jobs:
        assert job.running == sum(isinstance(item, Running) for item in job.items), "job.running is wrong"
        if job.rules.max_concurrency is not None:
            assert job.running <= job.rules.max_concurrency, "max_concurrency is exceeded"
    if state.is_finished:
        assert not running, "the run is finished and something runs"


def _items_listed(state: RunState, job: JobState, count: int, decisions: list[Decision]) -> None:
    assert job.phase is Phase.LISTING, f"{job.rules.id} was listed twice"
    list_items(job, count)
    if job.is_cancelled_ahead:
        cancel_item(state, job, 0, decisions)
    graph.begin(state, job, decisions)


def _listing_failed(state: RunState, job: JobState, decisions: list[Decision]) -> None:
    job.is_stopped = True
    graph.close(state, job, Phase.FAILED, decisions)
    if not job.rules.tolerates_failures:
        halt(state, (job.rules.order, 0), decisions)


def _take_back_slot(state: RunState, item: ItemRef) -> tuple[JobState, Running]:
    job = state.jobs[item[0]]
    running = job.items[item[1]]
    assert isinstance(running, Running), f"{job.rules.id}:{item[1]} does not run"
    job.running -= 1
    return job, running


def _free_slot(state: RunState, slot: int) -> None:
    """A slot beyond the run's number was that of an adopted attempt of a run that had more slots: it is gone."""
    if slot < state.slots:
        heapq.heappush(state.free_slots, slot)


def _attempt_ended(state: RunState, item: ItemRef, verdict: Verdict, now: float, decisions: list[Decision]) -> None:
    job, running = _take_back_slot(state, item)
    _free_slot(state, running.slot)
    ended = _state_after(state, job, item[1], running, verdict, now)
    if isinstance(ended, Waiting):
        _wait(job, item[1], ended, decisions)
    else:
        settle(state, job, item[1], ended, decisions)


def _state_after(state: RunState, job: JobState, index: int, running: Running, verdict: Verdict, now: float) -> ItemState:
    tries = job.tries[index]
    match verdict:
        case Verdict.SUCCEEDED:
            return SUCCEEDED
        case Verdict.HOPELESS:
            return FAILED
        case Verdict.CANCELLED:
            return CANCELLED
        case Verdict.DRAINED:  # perhaps by an earlier supervisor: then this one runs it again
            tries.used -= 1
            waiting = Waiting("drained", now)
            is_last = False
        case Verdict.LOST:
            tries.losses += 1
            tries.used -= 1
            waiting = Waiting("worker lost", now)
            is_last = tries.losses >= scheduling.LOSSES_ALLOWED
        case Verdict.FAILED:
            tries.losses = 0
            waiting = Waiting("backoff", now + scheduling.retry_delay(job, index, tries.used))
            is_last = tries.used >= job.rules.attempts
        case unknown:
            assert_never(unknown)
    if running.ending == "cancel":
        return CANCELLED
    if running.ending == "drain":
        return INTERRUPTED
    if is_last:
        return FAILED
    return INTERRUPTED if scheduling.is_over(state, job) else waiting


def _wait(job: JobState, index: int, waiting: Waiting, decisions: list[Decision]) -> None:
    job.items[index] = waiting
    heapq.heappush(job.backoff, (waiting.due, index))
    decisions.append(Settle((job.rules.order, index), waiting))


def _start_declined(state: RunState, item: ItemRef, why: Declined, now: float, decisions: list[Decision]) -> None:
    job, running = _take_back_slot(state, item)
    index = item[1]
    if why is not Declined.SLOT_HELD:
        _free_slot(state, running.slot)
    match why:
        case Declined.SKIPPED:
            settle(state, job, index, SKIPPED, decisions)
        case Declined.SATISFIED:
            settle(state, job, index, SUCCEEDED, decisions)
        case Declined.REFUSED:
            settle(state, job, index, FAILED, decisions)
        case Declined.SLOT_HELD:
            job.tries[index].number -= 1
            job.tries[index].used -= 1
            if running.ending == "cancel":
                settle(state, job, index, CANCELLED, decisions)
            elif scheduling.is_over(state, job):
                settle(state, job, index, INTERRUPTED, decisions)
            else:
                job.items[index] = Waiting("slot", now)
                heapq.heappush(job.backoff, (now, index))
        case unknown:
            assert_never(unknown)


def _outcomes_durable(state: RunState, items: tuple[ItemRef, ...], decisions: list[Decision]) -> None:
    for order, index in items:
        job = state.jobs[order]
        job.undurable.discard(index)
        for child in job.chain_children:
            release_chain_item(state, state.jobs[child], index, decisions)


def _stop(state: RunState, how: Stop, now: float, decisions: list[Decision]) -> None:
    if how.value <= state.stop.value:
        return
    state.stop = how
    for job in state.jobs:
        end_waiting(state, job, INTERRUPTED, decisions)
    match how:
        case Stop.DRAIN:
            state.drain_until = now + state.drain_timeout
        case Stop.NOW:
            state.drain_until = None
            _end_running(state, "drain", decisions, NOW_GRACE_SECONDS)
        case Stop.KILL:
            state.drain_until = None
            _end_running(state, "drain", decisions, 0.0)
        case Stop.NO:
            raise AssertionError("a stop that stops nothing")
        case unknown:
            assert_never(unknown)


def _cancel(state: RunState, items: tuple[ItemRef, ...] | None, decisions: list[Decision]) -> None:
    if items is None:
        state.is_cancelled = True
        for job in state.jobs:
            end_waiting(state, job, CANCELLED, decisions)
        _end_running(state, "cancel", decisions)
        return
    for order, index in items:
        job = state.jobs[order]
        if not job.is_listed:
            _cancel_unlisted(state, job, decisions)
        elif index >= len(job.items):
            continue
        elif isinstance(job.items[index], Running):
            _end_one(job, index, "cancel", decisions)
        else:
            cancel_item(state, job, index, decisions)


def _cancel_unlisted(state: RunState, job: JobState, decisions: list[Decision]) -> None:
    """The one item of a job that has not had its turn: listed at once, so that its end can be recorded. Others have none yet."""
    if not job.rules.is_single or job.is_closed or state.is_finished:
        return
    job.is_cancelled_ahead = True
    if job.phase is Phase.BLOCKED:
        job.phase = Phase.LISTING
        decisions.append(ListItems(job.rules.order))


def _end_running(state: RunState, reason: EndWord, decisions: list[Decision], grace_at_most: float | None = None) -> None:
    for job in state.jobs:
        if job.running:
            for index, item in enumerate(job.items):
                if isinstance(item, Running):
                    _end_one(job, index, reason, decisions, grace_at_most)


def _end_one(job: JobState, index: int, reason: EndWord, decisions: list[Decision], grace_at_most: float | None = None) -> None:
    running = job.items[index]
    assert isinstance(running, Running)
    word = running.ending or reason
    job.items[index] = Running(running.attempt, running.slot, ending=word)
    decisions.append(EndAttempt((job.rules.order, index), word, grace_at_most))


def _look_at_clock(state: RunState, now: float, decisions: list[Decision]) -> None:
    if state.timeout_at is not None and now >= state.timeout_at and not state.is_timed_out:
        state.is_timed_out = True
        if state.stop is Stop.NO:
            _stop(state, Stop.DRAIN, now, decisions)
        if state.stop is Stop.DRAIN:
            state.drain_until = now
    if state.drain_until is not None and now >= state.drain_until:
        state.drain_until = None
        _end_running(state, "drain", decisions)


def _advance(state: RunState, now: float, decisions: list[Decision]) -> None:
    if state.is_finished or not state.is_open:
        return
    graph.close_jobs(state, decisions)  # first: a job that opens asks how those it needs were closed
    graph.open_jobs(state, decisions)
    while graph.close_jobs(state, decisions):
        graph.open_jobs(state, decisions)
    scheduling.start_items(state, now, decisions)
    graph.finish_run(state, decisions)
