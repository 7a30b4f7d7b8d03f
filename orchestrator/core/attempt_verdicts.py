"""What the verdict on an attempt makes of its item, and what it tells of its account, the machine and the money.

An attempt uses up one of the item's `attempts` if its verdict speaks against the item: FAILED, or CORRECTABLE for the second
time. A lost worker, one that never began, a shortage, a throttle, a parked account and a drain speak against something else:
they are counted apart (`Tries.losses`, `Tries.refusals`, `Shortage.deaths`), or not at all.
"""

from __future__ import annotations

from typing import assert_never

from orchestrator.core import budget, parking, scheduling, shortage, throttle
from orchestrator.core.decisions import Decision, Settle
from orchestrator.core.events import AttemptEnded, Verdict
from orchestrator.core.item_ends import settle_item
from orchestrator.core.item_waits import let_wait, unless_over
from orchestrator.core.shortage import SHORTAGE
from orchestrator.core.states import (
    CANCELLED,
    FAILED,
    SUCCEEDED,
    ItemState,
    JobState,
    Running,
    RunState,
    Waiting,
    waiting_for_choice,
)
from orchestrator.core.turns import note_money

_FINAL: dict[Verdict, ItemState] = {Verdict.SUCCEEDED: SUCCEEDED, Verdict.HOPELESS: FAILED, Verdict.CANCELLED: CANCELLED}
"""These are final whatever was asked meanwhile: a success that came before its cancellation took effect stays one."""


def attempt_ended(state: RunState, end: AttemptEnded, now: float, decisions: list[Decision]) -> None:
    """Give back what the attempt held, and tell what its item is now: at its end, or waiting for one more attempt."""
    index = end.item[1]
    # Slot, money and resources are given back before the item gets its new state: what follows from that sees them free.
    job, running = scheduling.take_back_slot(state, end.item)
    budget.charge_attempt(state, job, index, end.cost)
    if job.rules.is_paid:
        note_money(state)
    scheduling.free_slot(state, running.slot)
    if state.holds:
        for resource in scheduling.freed_by_end(job.rules):
            scheduling.free_resource(state, resource)
    if end.verdict in (Verdict.SUCCEEDED, Verdict.ROUND, Verdict.CORRECTABLE) and running.account is not None:
        throttle.note_success(state, running.account, running.throttles)
    ended = _state_after(state, job, index, running, end, now)
    if isinstance(ended, Waiting):
        # Items of a job without `accounts` find out at each start which one they need: it waits in the line of that account.
        held_by = running.account if end.verdict is Verdict.THROTTLED and not job.rules.accounts else None
        let_wait(state, job, index, ended, held_by=held_by)
        decisions.append(Settle(end.item, ended))
    else:
        settle_item(state, job, index, ended, decisions, (running.words or job.given_up) if ended is CANCELLED else "")


def _state_after(state: RunState, job: JobState, index: int, running: Running, end: AttemptEnded, now: float) -> ItemState:
    """What the verdict makes of the item, and what it counts against. Only what would wait may be ended by a stop instead."""
    tries = job.tries[index]
    if end.verdict not in (Verdict.NOT_BEGUN, Verdict.SHORTAGE):
        shortage.note_begun(state)
    match end.verdict:
        case Verdict.SUCCEEDED | Verdict.HOPELESS | Verdict.CANCELLED:
            return _FINAL[end.verdict]
        case Verdict.ROUND:
            tries.losses = tries.refusals = 0
            # Each round has its own attempts.
            tries.used = 0
            waiting = Waiting("round", now + job.rules.repeat_delay)
            is_last = False
        case Verdict.DRAINED:
            # An earlier supervisor may have drained it: then this one, which does not stop, runs it again.
            tries.used -= 1
            waiting = Waiting("drained", now)
            is_last = False
        case Verdict.PAUSED:
            tries.used -= 1
            waiting = waiting_for_choice()
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
        case Verdict.NOT_BEGUN:
            # Never the item's fault, but no machine is waited for that is broken.
            tries.used -= 1
            is_last = shortage.note_death(state, now)
            waiting = Waiting(SHORTAGE, now)
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
