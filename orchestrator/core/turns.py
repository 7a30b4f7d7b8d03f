"""Whose turn it is: where each job stands in the agenda, and which item starts next.

Promise: an item starts as soon as everything that it needs is free. Jobs of higher priority come first; then those that stand
further down a chain, so that results come out early and what was begun is brought to its end; then jobs in the order of the file
(`RunState.by_rank`). Within a job, items start in item order; those that are queued behind others (`queueing`) begin once these
have ended. An item that waits holds neither a slot nor a place in its job's window.

Each start passes six bounds, in `start_items` and nowhere else: the run's slots, its lane's slots, room on the machine
(`shortage`), the account (`throttle`, `parking`), the budgets (`budget`), and `max_concurrency`.

No start looks through the jobs: those that can start an item stand in lines, one for all jobs that need the same, and in a line
in a queue for each pool. A line whose first job lacks something is not looked at again in the same turn; a queue whose pool lacks
something, only when that may be had again.
"""

from __future__ import annotations

import heapq

import msgspec

from orchestrator.core import budget, queueing, shortage, throttle
from orchestrator.core.agenda import Line, Queue, WaitingLine
from orchestrator.core.decisions import Decision, StartAttempt
from orchestrator.core.job_changes import count_start
from orchestrator.core.parking import account_for
from orchestrator.core.resting import settle_rest
from orchestrator.core.scheduling import (
    collect_due,
    has_free_place,
    has_ready,
    has_startable,
    is_looked_at,
    lacks_device,
    lacks_for_all,
    lane_rooms,
    may_start,
    missing_of_account,
    missing_of_pool,
    take_device,
    take_next,
)
from orchestrator.core.states import JobState, Phase, Running, RunState, Tries


def review(state: RunState) -> None:
    """Put each job of which something has changed where it belongs now."""
    agenda = state.agenda
    if not agenda.changed:
        return
    changed, agenda.changed = agenda.changed, set()
    for order in changed:
        _put_in_place(state, state.jobs[order])
    if state.is_halted:
        settle_rest(state, changed)


def note_money(state: RunState) -> None:
    """Something was paid, or is expected to be paid no more, or may be paid now: who was refused money is asked again."""
    agenda = state.agenda
    agenda.changed |= agenda.lacking
    agenda.lacking.clear()
    # In a halted run a job that has no money may be at rest.
    if state.is_halted:
        agenda.changed |= agenda.wanting


def is_moving(state: RunState, job: JobState) -> bool:
    """Whether something of the job will happen without any start, and without anybody outside doing anything."""
    if job.running or job.undurable or job.joining or job.posing or job.phase is Phase.LISTING:
        return True
    # Somebody sits at the terminal: the run waits for the answer, and does not pause.
    return bool(job.asking) and job.rules.is_gate and state.is_attended


def wants_to_start(state: RunState, job: JobState) -> bool:
    """Whether an item of the job can still start: now, or when its time has come."""
    return may_start(state, job) and has_startable(job)


def start_items(state: RunState, now: float, decisions: list[Decision]) -> None:
    """Fill the free slots: jobs by rank, items in item order, whether they start or start again."""
    agenda = state.agenda
    collect_due(state, now)
    review(state)
    if not state.free_slots or state.is_recalling or lacks_for_all(state):
        shortage.note_starts(state, now)
        return
    # Free slots alone do not tell: adopted attempts may hold slots beyond this run's own number, and count as well.
    room: float = state.slots - state.at_work
    if state.shortage.bound is not None:
        room = min(room, shortage.room_for_more(state))
    rooms = lane_rooms(state)
    # The list of a more urgent job is about to come: its items must not find all slots given to less urgent ones.
    urgency = max(agenda.listing) if agenda.listing else None
    lacking_lines: set[WaitingLine] = set()
    while state.free_slots and room > 0 and (found := _first_line(state, lacking_lines)) is not None:
        line, job = found
        rules = job.rules
        order, account = rules.order, account_for(state, rules) if rules.accounts else None
        # All others that are left are no more urgent than this one.
        if urgency is not None and rules.priority < urgency:
            break
        if state.holds and (missing := missing_of_pool(state, job)) is not None:
            _hold_up(state, line, job, missing)
            continue
        uses_account = account is not None or line.held is not None
        if rooms[line.lane] <= 0 or (uses_account and not _is_to_be_had(state, line, job, account)):
            lacking_lines.add(line)
            continue
        # Asked anew for each item: what the one before is expected to cost is counted already.
        if rules.is_paid and budget.refusal(state, job) is not None:
            # Of what is refused to one of many alike nobody else of them need ask.
            if line.is_unpriced:
                lacking_lines.add(line)
            else:
                agenda.lacking.add(order)
            continue
        index = take_next(state, job)
        assert index is not None, f"{job.rules.id} stands in a line and has nothing to start"
        # From here on the item runs, as far as the rules go; if it is declined, all of this is taken back.
        slot = heapq.heappop(state.free_slots)
        tries = job.tries.get(index)
        is_new = tries is None
        if tries is None:
            tries = job.tries[index] = Tries()
        tries.number += 1
        tries.used += 1
        job.items[index] = Running(tries.number, slot)
        if account is not None:
            throttle.note_account(state, job, index, account)
        count_start(state, job)
        room -= 1
        rooms[line.lane] -= 1
        device = take_device(state, (order, index)) if rules.devices else ""
        decisions.append(StartAttempt((order, index), tries.number, slot, account, device=device))
        queueing.queue_behind(state, job, slot, decisions, is_new=is_new)
        # Mostly one more of its items could start. Then the job stands where it stood, and need not be looked at anew.
        if rules.is_paid or state.halted_by is not None or not has_ready(job):
            agenda.changed.add(order)
    shortage.note_starts(state, now)


def _put_in_place(state: RunState, job: JobState) -> None:
    agenda, rules = state.agenda, job.rules
    order = rules.order
    is_still = not (job.running or job.undurable or job.joining)
    # Closed by nobody while something of it runs: then there is nothing more to ask about that.
    if not is_still:
        agenda.moving.add(order)
        agenda.closable.discard(order)
    else:
        is_unfinished = job.unfinished > 0 or order in agenda.growing
        _keep(agenda.moving, order, is_moving(state, job))
        is_over = job.is_stopped or not is_unfinished or bool(job.enough and job.given_up)
        _keep(agenda.closable, order, job.phase is Phase.OPEN and is_over)
    wants = wants_to_start(state, job)
    _keep(agenda.wanting, order, wants)
    if rules.is_gate:
        _keep(agenda.gates, order, wants)
        return
    if not wants:
        return
    # A line whose items the job does not have any more lets it go when it comes up there.
    name = line_of(job) if rules.is_paid else job.line
    line = agenda.lines.get(name)
    queue = line.queues.get(rules.pool) if line is not None else None
    if (queue is None or job.rank not in queue.ranks) and _belongs(state, name, job):
        _stand_in_line(state, name, job)
    for account in job.held:
        _stand_in_line(state, msgspec.structs.replace(name, held=account), job)


def line_of(job: JobState) -> WaitingLine:
    """Where items of the job stand that no account was found for yet."""
    return msgspec.structs.replace(job.line, is_unpriced=True) if budget.is_unpriced(job) else job.line


def _keep(among: set[int], order: int, is_there: bool) -> None:
    if is_there:
        among.add(order)
    else:
        among.discard(order)


def _stand_in_line(state: RunState, name: WaitingLine, job: JobState) -> None:
    line = state.agenda.lines.get(name)
    if line is None:
        line = state.agenda.lines[name] = Line()
    pool = job.rules.pool
    queue = line.queues.get(pool)
    if queue is None:
        queue = line.queues[pool] = Queue()
    if job.rank in queue.ranks:
        return
    queue.ranks.add(job.rank)
    heapq.heappush(queue.heap, job.rank)
    if queue.missing is None and queue.heap[0] == job.rank:
        line.tell_head(pool)


def _hold_up(state: RunState, name: WaitingLine, job: JobState, missing: str) -> None:
    """Leave out the queue in which the job is the first, until what its pool lacks may be had again."""
    line, pool = state.agenda.lines[name], job.rules.pool
    heapq.heappop(line.heads)
    line.queues[pool].missing = missing
    state.agenda.held_up.setdefault(missing, []).append((name, pool))


def _first_line(state: RunState, besides: set[WaitingLine]) -> tuple[WaitingLine, JobState] | None:
    """The line whose first job comes first of all, with that job; lines of `besides` are left out."""
    found: tuple[WaitingLine, JobState] | None = None
    emptied = []
    for name, line in state.agenda.lines.items():
        if name in besides:
            continue
        job = _first_job(state, name, line)
        if job is None:
            if not line.queues:
                emptied.append(name)
        elif found is None or job.rank < found[1].rank:
            found = name, job
    for name in emptied:
        del state.agenda.lines[name]
    return found


def _first_job(state: RunState, name: WaitingLine, line: Line) -> JobState | None:
    while line.heads:
        rank, pool = line.heads[0]
        queue = line.queues.get(pool)
        if queue is None or queue.missing is not None or queue.heap[0] != rank:
            # Stale: the queue has told another head since, or is held up.
            heapq.heappop(line.heads)
            continue
        job = state.jobs[state.by_rank[rank]]
        if _belongs(state, name, job):
            return job
        heapq.heappop(line.heads)
        queue.ranks.discard(heapq.heappop(queue.heap))
        if queue.heap:
            line.tell_head(pool)
        else:
            del line.queues[pool]
    return None


def _belongs(state: RunState, line: WaitingLine, job: JobState) -> bool:
    """Whether the job has an item for this line, room for it in its window, a device if it needs one, was not refused money, and
    no item of it is looked at.

    What an item of a job is expected to cost may have changed since the job came to the line.
    """
    if job.rules.is_paid and line.is_unpriced != budget.is_unpriced(job):
        return False
    if not may_start(state, job) or not has_free_place(job) or job.rules.order in state.agenda.lacking:
        return False
    if job.rules.devices and lacks_device(state, job.rules):
        return False
    if state.holds and is_looked_at(state, job.rules):
        return False
    return has_ready(job) if line.held is None else bool(job.held.get(line.held))


def _is_to_be_had(state: RunState, line: WaitingLine, job: JobState, account: str | None) -> bool:
    """Whether the accounts that the items of this line need are to be had now, as far as is known."""
    if account is not None and missing_of_account(state, account, job.rules) is not None:
        return False
    if throttle.room_of_account(state, account) <= 0:
        return False
    if line.held is None:
        return True
    return throttle.room_of_account(state, line.held) > 0 and missing_of_account(state, line.held, job.rules) is None
