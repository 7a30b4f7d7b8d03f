"""What holds in the core after each event, found out the long way: every job and every item is looked at."""

from __future__ import annotations

import math

import msgspec

from orchestrator.core.resting import has_money, is_at_rest
from orchestrator.core.scheduling import has_free_place, is_looked_at, lacks_device, may_start
from orchestrator.core.states import JobState, Pending, Phase, Running, RunState, Stop, Waiting
from orchestrator.core.turns import is_moving, line_of


def check_invariants(state: RunState) -> None:
    """Raise AssertionError if a slot was made or lost, or a counter does not match the items."""
    running = [item for job in state.jobs for item in job.items if isinstance(item, Running)]
    # Adopted attempts may hold slots beyond the run's own number: those are none of its slots.
    own_slots = list({item.slot for item in running if item.slot < state.slots})
    assert len({item.slot for item in running}) == state.at_work, "RunState.queued is wrong"
    for slot, count in state.queued.items():
        assert sum(item.slot == slot for item in running) == count + 1, f"what is queued in slot {slot} is wrong"
    assert state.queued or not state.is_recalling, "nothing is queued, and the run waits for it"
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
    needing = {
        (job.rules.order, index): job for job in state.jobs for index, item in enumerate(job.items) if isinstance(item, Running)
    }
    needing = {item: job for item, job in needing.items() if job.rules.devices}
    assert sorted(state.devices.values()) == sorted(needing), "an item has no device, or two, or keeps one after its end"
    for name, account in state.accounts.items():
        assert account.running == sum(item.account == name for item in running), "account.running is wrong"
        assert account.bound is None or account.bound >= 1, "an account may run nothing"
    if state.is_finished:
        assert not running, "the run is finished and something runs"
    elif state.is_open:
        _check_agenda(state)


def _check_agenda(state: RunState) -> None:
    """Every job stands where it belongs: one that stands nowhere would wait for ever."""
    agenda, jobs = state.agenda, state.jobs
    assert not agenda.changed, "a job was not looked at"
    assert state.running == sum(job.running for job in jobs), "RunState.running is wrong"
    assert state.running_fast == sum(job.running for job in jobs if job.rules.lane == "fast"), "running_fast is wrong"
    assert agenda.at_work == {job.rules.order for job in jobs if job.running}, "agenda.at_work is wrong"
    assert agenda.moving == {job.rules.order for job in jobs if is_moving(state, job)}, "agenda.moving is wrong"
    for order in agenda.growing:
        is_given_up = jobs[order].is_stopped or jobs[order].given_up
        assert is_given_up or not jobs[order].is_closed, f"{jobs[order].rules.id} is closed, and more of it may come"
    listing = [job.rules.priority for job in jobs if job.phase is Phase.LISTING]
    assert agenda.listing == {each: listing.count(each) for each in listing}, "agenda.listing is wrong"
    for total, meters in (
        (state.totals.nano_usd, [job.costs.nano_usd for job in jobs]),
        (state.totals.tokens, [job.costs.tokens for job in jobs]),
    ):
        assert total.known == sum(meter.known for meter in meters), "what the run has cost is wrong"
        assert total.told == sum(meter.told for meter in meters), "how many attempts have told is wrong"
        assert total.unknown == sum(meter.unknown for meter in meters), "how many attempts have not told is wrong"
    for job in jobs:
        _check_turn(state, job)
        if job.phase is Phase.BLOCKED and not _stays_blocked(state, job):
            # It waits for a job that waits for something itself.
            watched = [other for other in jobs if job.rules.order in other.watchers]
            assert watched or job.rules.order in agenda.to_open, f"nobody tells {job.rules.id} when to open"
            assert not any(is_at_rest(state, other) for other in watched), f"{job.rules.id} waits for what is at rest"
    if state.is_halted:
        assert _at_rest(state) == {job.rules.order for job in jobs if is_at_rest(state, job)}, "agenda.resting is wrong"


def _check_turn(state: RunState, job: JobState) -> None:
    agenda, order = state.agenda, job.rules.order
    waiting = {index for index, item in enumerate(job.items) if isinstance(item, Waiting) and item.due < math.inf}
    in_time = {index for _, index in job.backoff} & waiting
    pending = {index for index, item in enumerate(job.items) if isinstance(item, Pending)}
    # Of a chain only those whose parents have ended; of the others that wait, those that stand at the line of an account do so.
    held = {account: waiting.intersection(indices) for account, indices in job.held.items()}
    now = (pending.intersection(job.ready) if job.rules.chain else pending) | waiting.intersection(job.due)
    wants = may_start(state, job) and bool(now or in_time or job.joining or any(held.values()))
    assert (order in agenda.wanting) == wants, f"agenda.wanting is wrong about {job.rules.id}"
    if not wants:
        return
    for due in {due for due, index in job.backoff if index in in_time}:
        assert (due, order) in agenda.backoffs, f"nobody wakes {job.rules.id}"
    assert not (job.rules.is_gate and now), f"{job.rules.id} has a question and does not ask"
    if not has_free_place(job) or order in agenda.lacking or lacks_device(state, job.rules) or is_looked_at(state, job.rules):
        return
    lines = [line_of(job)] if now else []
    lines += [msgspec.structs.replace(line_of(job), held=account) for account, indices in held.items() if indices]
    for name in lines:
        assert name in agenda.lines, f"nobody stands in the line of {job.rules.id}"
        line, pool = agenda.lines[name], job.rules.pool
        queue = line.queues.get(pool)
        assert queue is not None, f"nobody stands in the queue of {job.rules.id}"
        assert job.rank in queue.ranks, f"{job.rules.id} stands in no queue"
        assert set(queue.heap) == queue.ranks, "a queue is torn"
        if queue.missing is None:
            assert (queue.heap[0], pool) in line.heads, f"the queue of {job.rules.id} never comes up"
        else:
            assert queue.missing in state.holds, f"{job.rules.id} waits for what is to be had"
            assert (name, pool) in agenda.held_up[queue.missing], f"nobody tells the queue of {job.rules.id} to go on"


def _stays_blocked(state: RunState, job: JobState) -> bool:
    return state.stop is not Stop.NO or state.is_cancelled or (state.is_halted and not job.rules.is_cleanup)


def _at_rest(state: RunState) -> set[int]:
    """The jobs at rest in a halted run, added until none is left to add."""
    found = {job.rules.order for job in state.jobs if job.is_closed}
    still = [job for job in state.jobs if _comes_to_nothing(state, job)]
    while more := {job.rules.order for job in still if found.issuperset((*job.rules.chain, *job.rules.needs))} - found:
        found |= more
    return found


def _comes_to_nothing(state: RunState, job: JobState) -> bool:
    is_in_motion = is_moving(state, job) or (job.rules.order in state.agenda.wanting and has_money(state, job))
    return not is_in_motion and not (job.rules.is_cleanup and not (job.rules.chain and job.phase is Phase.OPEN))
