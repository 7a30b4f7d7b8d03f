"""What a start needs and finds missing, and the lines in which the items of one job wait for theirs.

A resource that somebody else has (a pool's slot, memory, …) is found out at the start alone; the core only remembers in
`RunState.holds` that it is missing, so that it is not tried again by each item that needs it.

No start looks through the items of a job: `next_index` moves over those that have begun, heaps have those that wait. An item that
ends while it stands in a heap stays there, and is dropped when it comes up (`drop_stale`). So a start and an end cost as much in
a job of ten items as in one of a million. Which job comes next is said in `turns`.
"""

from __future__ import annotations

import heapq
import math
import zlib
from collections.abc import Iterator

from orchestrator.core import shortage, throttle
from orchestrator.core.job_changes import count_end
from orchestrator.core.job_rules import JobRules
from orchestrator.core.parking import account_for, missing_limit
from orchestrator.core.shortage import SHORTAGE
from orchestrator.core.states import ItemRef, JobState, Pending, Phase, Running, RunState, Stop, Waiting

LOSSES_ALLOWED = 3
"""Workers that an item may lose in a row before it is failed: a command that kills its worker must not loop for ever."""

MEMORY = "memory"
ROOM = "room"
"""Resources that every item of a run needs: free memory, in a nested run a slot that an ancestor lends or that is free in the
outermost run, and room for one more process on this machine (`SHORTAGE`). Those of a pool: `pool_slot`, `pool_rate`; those of an
account of agents: `throttle.rate_limit`, `parking.usage_limit`, `parking.trial`."""


def pool_slot(pool: str) -> str:
    """The resource: a slot of this pool."""
    return f"pool {pool}"


def pool_rate(pool: str) -> str:
    """The resource: a start that the pool's rate allows."""
    return f"rate of pool {pool}"


def look_at_sources(job_id: str) -> str:
    """The resource: the look that is taken at the sources of an item of this job, one item at a time."""
    return f"look at the sources of {job_id}"


def resources_of(rules: JobRules) -> Iterator[str]:
    """What an item of this job needs besides a slot of its run."""
    yield from (MEMORY, SHORTAGE, ROOM)
    yield from resources_of_pool(rules)
    if rules.has_sources:
        yield look_at_sources(rules.id)


def resources_of_pool(rules: JobRules) -> Iterator[str]:
    """What an item of this job needs of its pool, if it has one."""
    if rules.pool is not None:
        yield pool_slot(rules.pool)
        yield pool_rate(rules.pool)


def freed_by_end(rules: JobRules) -> Iterator[str]:
    """What an item of this job held until its end: the next may try at once. A rate counts starts, so no end gives it back."""
    yield ROOM
    if rules.pool is not None:
        yield pool_slot(rules.pool)


def free_resource(state: RunState, resource: str) -> None:
    """Let what needs `resource` be tried: it may be had again."""
    state.holds.pop(resource, None)
    # A job stands in no line while one of its items is looked at.
    if (order := state.agenda.looked_at.pop(resource, None)) is not None:
        state.agenda.changed.add(order)
    for name, pool in state.agenda.held_up.pop(resource, ()):
        line = state.agenda.lines[name]
        line.queues[pool].missing = None
        line.tell_head(pool)


def lacks_for_all(state: RunState) -> bool:
    """Whether something is missing without which no item at all can start. (How many a shortage lets start is counted apart.)"""
    return MEMORY in state.holds or ROOM in state.holds


def missing_of_pool(state: RunState, job: JobState) -> str | None:
    """What items of this job lack of their pool now."""
    return next((each for each in resources_of_pool(job.rules) if each in state.holds), None) if state.holds else None


def missing_resource(state: RunState, job: JobState) -> str | None:
    """What items of this job wait for now, if they wait for a resource."""
    if not state.holds:
        return None
    missing = (resource for resource in resources_of(job.rules) if resource in state.holds)
    found = next((resource for resource in missing if resource != SHORTAGE or shortage.room_for_more(state) <= 0), None)
    account = account_for(state, job.rules) if found is None else None
    return found if account is None else missing_of_account(state, account, job.rules)


def missing_of_account(state: RunState, account: str, rules: JobRules) -> str | None:
    """What keeps items of a job that use this account from starting, besides how many of it run already."""
    limit = missing_limit(state, account, rules)
    if limit is not None:
        return limit
    return throttle.rate_limit(account) if throttle.rate_limit(account) in state.holds else None


def held_account(job: JobState, index: int) -> str | None:
    """The account that this waiting item was found to need."""
    return next((account for account, held in job.held.items() if index in held), None)


def hold_resource(state: RunState, resource: str, until: float, now: float) -> None:
    """Nothing that needs `resource` is started before `until`. Of a shortage the rules tell how long."""
    if resource == SHORTAGE:
        shortage.note_shortage(state, now)
    else:
        state.holds[resource] = until


def lane_rooms(state: RunState) -> dict[str, int]:
    """How many more items of each lane may run, as long as none of the other lane starts (the slots of the run bound both
    together). Attempts in slots that the run no longer has count, too: it may be below zero."""
    room = state.slots - state.at_work
    if not state.fast_slots:
        return {"main": room, "fast": room}
    main = state.slots - state.fast_slots - (state.running - state.running_fast)
    return {"main": min(room, main), "fast": min(room, state.fast_slots - state.running_fast)}


def split_slots(slots: int, asked: int | None, lanes: set[str]) -> int:
    """How many of `slots` are the fast lane's: `asked` ([run] fast_slots), else half, if `lanes` are both in use.

    Each lane keeps one slot at least; with one slot, or one lane in use, there is no separate lane (0).
    """
    if slots < 2 or len(lanes) < 2:
        return 0
    return min(slots // 2 if asked is None else asked, slots - 1)


def retry_delay(job: JobState, index: int, used: int) -> float:
    """Seconds to wait after `used` failed attempts. The jitter comes from the item's name, so that no clock or dice is needed."""
    rules = job.rules
    try:
        delay = min(rules.retry_delay * rules.retry_backoff ** (used - 1), rules.retry_max_delay)
    except OverflowError:  # after a thousand attempts, long after max_delay has decided
        delay = rules.retry_max_delay
    if rules.retry_jitter:
        fraction = zlib.crc32(f"{rules.id}:{index}:{used}".encode()) / 0xFFFFFFFF
        delay *= 1 + rules.retry_jitter * (2 * fraction - 1)
    return max(0.0, delay)


def is_over(state: RunState, job: JobState) -> bool:
    """Whether no item of this job will start any more in this session."""
    if state.stop is not Stop.NO or state.is_cancelled or job.is_stopped or (job.enough and job.given_up):
        return True
    return state.halted_by is not None and not job.rules.is_cleanup


def may_start(state: RunState, job: JobState) -> bool:
    """Whether items of this job may start now, as far as the job goes: slots, resources and its window are asked for apart."""
    return job.phase is Phase.OPEN and not is_over(state, job)


def has_startable(job: JobState) -> bool:
    """Whether an item of the job can still start by itself: it waits for its time, a slot or a verdict, or has not begun.

    Drops stale entries of the heaps on the way.
    """
    return has_ready(job) or bool(job.backoff or job.joining or job.held)


def has_ready(job: JobState) -> bool:
    """Whether an item of the job needs nothing more but what all items of the job need. If none does, no heap is stale."""
    # Mostly there is one that has not begun: then the heaps need not be looked at.
    if not job.rules.chain and next_pending(job) is not None:
        return True
    drop_stale(job)
    return bool(job.due or job.ready)


def has_free_place(job: JobState) -> bool:
    """Whether one more item of the job may run, as far as its `max_concurrency` goes."""
    return job.rules.max_concurrency is None or job.running < job.rules.max_concurrency


def lacks_device(state: RunState, rules: JobRules) -> bool:
    """Whether items of the job need a device, and all that they may have are in use."""
    return bool(rules.devices) and all(device in state.devices for device in rules.devices)


def is_looked_at(state: RunState, rules: JobRules) -> bool:
    """Whether the sources of an item of the job are being read: the others wait for their turn."""
    return rules.has_sources and look_at_sources(rules.id) in state.holds


def take_device(state: RunState, item: ItemRef) -> str:
    """Give the item the first device of its job that no item of the run has."""
    device = next(device for device in state.jobs[item[0]].rules.devices if device not in state.devices)
    state.devices[device] = item
    return device


def take_back_slot(state: RunState, item: ItemRef) -> tuple[JobState, Running]:
    """Count the item as running no more: its device is free. Returns its job, and how it ran; its new state and its slot are
    left to the caller.
    """
    job = state.jobs[item[0]]
    running = job.items[item[1]]
    assert isinstance(running, Running), f"{job.rules.id}:{item[1]} does not run"
    count_end(state, job)
    if running.account is not None:
        state.accounts[running.account].running -= 1
    if state.devices:
        _take_back_device(state, item)
    return job, running


def _take_back_device(state: RunState, item: ItemRef) -> None:
    for device in [device for device, holder in state.devices.items() if holder == item]:
        del state.devices[device]
        # Items of any of these jobs may have waited for it.
        state.agenda.changed.update(job.rules.order for job in state.jobs if device in job.rules.devices)


def free_slot(state: RunState, slot: int) -> None:
    """Let the next item have the slot: what is queued in it; unless the run has fewer slots now: then the slot is gone."""
    if (queued := state.queued.pop(slot, 0)) > 1:
        state.queued[slot] = queued - 1
    if queued:
        state.is_recalling = state.is_recalling and bool(state.queued)
    elif slot < state.slots:
        heapq.heappush(state.free_slots, slot)


def wake_times(state: RunState) -> list[float]:
    """Monotonic times at which something is due without any event."""
    times = [state.agenda.backoffs[0][0]] if state.agenda.backoffs else []
    if state.holds:
        times += [until for until in state.holds.values() if until != math.inf]
    if state.drain_until is not None:
        times.append(state.drain_until)
    if state.timeout_at is not None and not state.is_timed_out:
        times.append(state.timeout_at)
    return times


def note_backoff(state: RunState, job: JobState, due: float) -> None:
    """An item of the job waits for that time."""
    heapq.heappush(state.agenda.backoffs, (due, job.rules.order))


def collect_due(state: RunState, now: float) -> None:
    """Let items whose time has come wait for a slot: a time that has passed would wake the supervisor again and again."""
    backoffs = state.agenda.backoffs
    while backoffs and backoffs[0][0] <= now:
        _, order = heapq.heappop(backoffs)
        job = state.jobs[order]
        state.agenda.changed.add(order)
        while job.backoff and job.backoff[0][0] <= now:
            heapq.heappush(job.due, heapq.heappop(job.backoff)[1])


def drop_stale_times(state: RunState) -> None:
    """Forget times that nobody waits for any more: they would wake the supervisor for nothing."""
    backoffs = state.agenda.backoffs
    while backoffs:
        due, order = backoffs[0]
        job = state.jobs[order]
        drop_stale(job)
        if job.backoff and job.backoff[0][0] <= due and may_start(state, job):
            return
        heapq.heappop(backoffs)


def take_next(state: RunState, job: JobState) -> int | None:
    """The item of this job that starts next: it is taken off the list of those that are to start."""
    if not has_free_place(job):
        return None
    if not (job.rules.chain or job.due or job.held or job.backoff):
        # Mostly nothing of it waits: then the next is the one that was not begun.
        if (first := next_pending(job)) is not None:
            job.next_index = first + 1
        return first
    # Before the heads of the heaps are compared: a stale head would hide what stands behind it.
    drop_stale(job)
    pending = _first_ready(job) if job.rules.chain else next_pending(job)
    again = _first_again(state, job) if job.due or job.held else None
    # Item order goes before everything: item 2 that is tried again comes before item 5 that has not begun.
    if again is not None and (pending is None or again[0] < pending):
        return heapq.heappop(again)
    if pending is None:
        return None
    if job.rules.chain:
        heapq.heappop(job.ready)
    else:
        job.next_index = pending + 1
    return pending


def _first_again(state: RunState, job: JobState) -> list[int] | None:
    """The heap whose head is the first of the items that may start again."""
    return min((heap for heap in (job.due, *_free_of_hold(state, job)) if heap), key=lambda heap: heap[0], default=None)


def _free_of_hold(state: RunState, job: JobState) -> Iterator[list[int]]:
    """The heaps of items whose account may be used now."""
    for account, held in job.held.items():
        if throttle.room_of_account(state, account) > 0 and missing_of_account(state, account, job.rules) is None:
            yield held


def next_pending(job: JobState) -> int | None:
    """The first item of the job that has not begun (of a job that is no chain)."""
    items, index = job.items, job.next_index
    while index < len(items):
        if isinstance(items[index], Pending):
            job.next_index = index
            return index
        index += 1
    job.next_index = index
    return None


def _first_ready(job: JobState) -> int | None:
    return job.ready[0] if job.ready else None


def drop_stale(job: JobState) -> None:
    """Take items off the heads of the heaps that have ended since they were put there."""
    while job.ready and not isinstance(job.items[job.ready[0]], Pending):
        heapq.heappop(job.ready)
    while job.due and not isinstance(job.items[job.due[0]], Waiting):
        heapq.heappop(job.due)
    while job.backoff and not isinstance(job.items[job.backoff[0][1]], Waiting):
        heapq.heappop(job.backoff)
    # Mostly no item waits for an account: then there is nothing to copy.
    for account, held in list(job.held.items()) if job.held else ():
        while held and not isinstance(job.items[held[0]], Waiting):
            heapq.heappop(held)
        if not held:
            del job.held[account]
