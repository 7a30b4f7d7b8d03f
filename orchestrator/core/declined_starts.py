"""What becomes of an item that was told to start and did not: it waits, or has come to its end without an attempt."""

from __future__ import annotations

import math
from typing import assert_never

from orchestrator.core import parking, scheduling
from orchestrator.core.decisions import Decision, Settle
from orchestrator.core.events import Declined, StartDeclined
from orchestrator.core.item_ends import settle_item, settle_unstarted
from orchestrator.core.item_waits import let_wait, unless_over
from orchestrator.core.states import (
    JobState,
    Running,
    RunState,
    Stop,
    Waiting,
)
from orchestrator.core.stopping import stop_run
from orchestrator.core.turns import note_money


def start_declined(state: RunState, declined: StartDeclined, now: float, decisions: list[Decision]) -> None:
    """Nothing was started: tell what the item is now, and what nobody need try before its time."""
    # The slot first: the item no longer has it, whatever becomes of the item.
    job, running = scheduling.take_back_slot(state, declined.item)
    index = declined.item[1]
    if job.rules.is_paid:
        note_money(state)
    if declined.why is Declined.SLOT_HELD and running.slot not in state.queued:
        # Else the next item would be given this slot, and be declined, over and over, until its holder lets it go.
        state.set_aside.add(running.slot)
    else:
        scheduling.free_slot(state, running.slot)
    match declined.why:
        case Declined.SKIPPED | Declined.UNSELECTED | Declined.SATISFIED | Declined.REFUSED:
            settle_unstarted(state, job, index, declined.why, decisions)
        case Declined.SLOT_HELD:
            _not_started(state, job, index, running, Waiting("slot", now), decisions)
        case Declined.HELD:
            # First the resource, so that the item that waits for it now is not the next one to be tried for it.
            _hold(state, job, declined, now, decisions)
            held_by = None if job.rules.accounts else declined.account
            _not_started(state, job, index, running, Waiting(declined.resource, now), decisions, held_by)
        case Declined.JOINS:
            _not_started(state, job, index, running, Waiting("token", math.inf), decisions)
        case unknown:
            assert_never(unknown)


def _hold(state: RunState, job: JobState, declined: StartDeclined, now: float, decisions: list[Decision]) -> None:
    """Nothing that needs this resource is started before its time.

    A throttled account is not held here: the core itself has found out when it may be tried again (`throttle.note_throttle`).
    """
    account = declined.account
    if account is None:
        scheduling.hold_resource(state, declined.resource, declined.until, now)
        if job.rules.has_sources and declined.resource == scheduling.look_at_sources(job.rules.id):
            state.agenda.looked_at[declined.resource] = job.rules.order
    elif declined.resource == parking.usage_limit(account):
        parking.park_account(state, account, declined.until)
        if job.rules.on_usage_limit == "pause":
            # A run that is being stopped already has another reason for it.
            if state.stop is Stop.NO:
                state.pause_reason = declined.words or parking.usage_limit(account)
            stop_run(state, Stop.PAUSE, now, decisions)
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
    """Nothing is wrong with the item, and no attempt was made: it waits. `held_by`: as of `let_wait`."""
    # The number was that of an attempt that never was: the next start gets it again.
    job.tries[index].number -= 1
    job.tries[index].used -= 1
    item = unless_over(state, job, running, waiting)
    if not isinstance(item, Waiting):
        settle_item(state, job, index, item, decisions, running.words or job.given_up)
        return
    let_wait(state, job, index, item, held_by=held_by, is_joining=True)
    if item.due == math.inf:
        # A join is recorded, with the work that it joined. A start that is merely tried again soon leaves no record.
        decisions.append(Settle((job.rules.order, index), item))
