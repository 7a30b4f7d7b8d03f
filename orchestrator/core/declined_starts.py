"""What becomes of an item that was told to start and did not: it waits, or has come to its end without an attempt."""

from __future__ import annotations

import heapq
import math
from typing import assert_never

from orchestrator.core import parking, scheduling
from orchestrator.core.decisions import Decision, Settle
from orchestrator.core.events import Declined, StartDeclined
from orchestrator.core.item_ends import settle
from orchestrator.core.states import (
    CANCELLED,
    FAILED,
    INTERRUPTED,
    SKIPPED,
    SUCCEEDED,
    JobState,
    Running,
    RunState,
    Stop,
    Waiting,
)
from orchestrator.core.stopping import stop


def start_declined(state: RunState, declined: StartDeclined, now: float, decisions: list[Decision]) -> None:
    """Nothing was started: tell what the item is now, and what nobody need try before its time."""
    job, running = scheduling.take_back_slot(state, declined.item)
    index = declined.item[1]
    if declined.why is Declined.SLOT_HELD:
        state.set_aside.add(running.slot)
    else:
        scheduling.free_slot(state, running.slot)
    match declined.why:
        case Declined.SKIPPED:
            settle(state, job, index, SKIPPED, decisions)
        case Declined.UNSELECTED:
            job.unselected += 1
            settle(state, job, index, SKIPPED, decisions)
        case Declined.SATISFIED:
            settle(state, job, index, SUCCEEDED, decisions)
        case Declined.REFUSED:
            settle(state, job, index, FAILED, decisions)
        case Declined.SLOT_HELD:
            _not_started(state, job, index, running, Waiting("slot", now), decisions)
        case Declined.HELD:
            _hold(state, job, declined, now, decisions)
            held_by = None if job.rules.accounts else declined.account
            _not_started(state, job, index, running, Waiting(declined.resource, now), decisions, held_by)
        case Declined.JOINS:
            _not_started(state, job, index, running, Waiting("token", math.inf), decisions)
        case unknown:
            assert_never(unknown)


def _hold(state: RunState, job: JobState, declined: StartDeclined, now: float, decisions: list[Decision]) -> None:
    """A resource is not to be had. When an account may be tried again after a throttle is known here, and better."""
    account = declined.account
    if account is None:
        scheduling.hold(state, declined.resource, declined.until, now)
    elif declined.resource == parking.usage_limit(account):
        parking.park(state, account, declined.until)
        if job.rules.on_usage_limit == "pause":
            if state.stop is Stop.NO:
                state.pause_reason = declined.words or parking.usage_limit(account)
            stop(state, Stop.PAUSE, now, decisions)
    elif declined.resource == parking.trial(account):
        state.holds[declined.resource] = declined.until


def _not_started(
    state: RunState,
    job: JobState,
    index: int,
    running: Running,
    waiting: Waiting,
    decisions: list[Decision],
    held_by: str | None = None,
) -> None:
    """Nothing is wrong with the item, and no attempt was made: it waits. `held_by`: as of `_wait`."""
    job.tries[index].number -= 1
    job.tries[index].used -= 1
    if running.ending == "cancel":
        settle(state, job, index, CANCELLED, decisions)
    elif scheduling.is_over(state, job):
        settle(state, job, index, INTERRUPTED, decisions)
    elif waiting.due == math.inf:
        job.items[index] = waiting
        job.joining.add(index)
        decisions.append(Settle((job.rules.order, index), waiting))
    elif held_by is not None:
        job.items[index] = waiting
        heapq.heappush(job.held.setdefault(held_by, []), index)
    else:
        job.items[index] = waiting
        heapq.heappush(job.backoff, (waiting.due, index))
