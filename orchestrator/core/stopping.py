"""What is asked from outside of a run that goes on: to stop, to pause, to cancel, to have other slots or another budget.

Promise: a stop only grows stronger, until the run has ended. Nothing that runs is ended by a drain or a pause before its time:
they take away what waits, and `EndAttempt` comes with a cancellation, a second stop, or the end of the drain's time.
"""

from __future__ import annotations

from typing import assert_never

from orchestrator.core.decisions import Decision, ListItems
from orchestrator.core.endings import end_job, end_one
from orchestrator.core.events import BudgetSet, CancelAsked, SlotsSet, StopAsked
from orchestrator.core.item_ends import cancel_item, end_waiting_items
from orchestrator.core.job_changes import enter_phase
from orchestrator.core.states import (
    CANCELLED,
    INTERRUPTED,
    EndWord,
    Interrupted,
    ItemRef,
    JobState,
    Phase,
    Running,
    RunState,
    Stop,
)
from orchestrator.core.turns import note_money

NOW_GRACE_SECONDS = 1.0
"""Grace of a second signal or `stop --now`: long enough for an agent to close its files, short enough to be "at once"."""


def obey_request(
    state: RunState, event: StopAsked | CancelAsked | SlotsSet | BudgetSet, now: float, decisions: list[Decision]
) -> None:
    """Do what was asked for."""
    match event:
        case StopAsked(how):
            stop_run(state, how, now, decisions)
        case CancelAsked(items, words):
            _cancel_items(state, items, words, decisions)
        case SlotsSet(slots, fast_slots):
            _set_slots(state, slots, fast_slots)
        case BudgetSet(order, bounds):
            whose = state if order is None else state.jobs[order]
            whose.budget = bounds
            note_money(state)
        case unknown:
            assert_never(unknown)


def _set_slots(state: RunState, slots: int, fast_slots: int) -> None:
    """From now on the run has so many slots. What runs in a slot that is no more goes on, and the slot goes with it."""
    used = {item.slot for job in state.jobs for item in job.items if isinstance(item, Running)}
    state.slots = slots
    state.fast_slots = fast_slots
    state.free_slots = [slot for slot in range(slots) if slot not in used and slot not in state.set_aside]


def stop_run(state: RunState, how: Stop, now: float, decisions: list[Decision]) -> None:
    """Stop the run so far; what is weaker than what holds already changes nothing."""
    # A pause that comes after a drain must not undo it.
    if how.value <= state.stop.value:
        return
    state.stop = how
    state.agenda.changed.update(range(len(state.jobs)))
    # What waits holds nothing, so its end can be told at once; a resume goes on with it.
    for job in state.jobs:
        end_waiting_items(state, job, INTERRUPTED, decisions, with_joining=True)
    match how:
        case Stop.PAUSE:
            pass
        case Stop.DRAIN:
            state.drain_until = now + state.drain_timeout
        # What runs is ended now: there is no time of a drain to wait for any more.
        case Stop.NOW:
            state.drain_until = None
            end_running(state, "drain", decisions, NOW_GRACE_SECONDS)
        case Stop.KILL:
            state.drain_until = None
            end_running(state, "drain", decisions, 0.0)
        case Stop.NO:
            raise AssertionError("a stop that stops nothing")
        case unknown:
            assert_never(unknown)


def _cancel_items(state: RunState, items: tuple[ItemRef, ...] | None, words: str, decisions: list[Decision]) -> None:
    """Cancel the run, or these items, whatever each is at: running, waiting, not begun, not even listed. `words`: of a halt."""
    if items is None:
        state.is_cancelled = True
        state.agenda.changed.update(range(len(state.jobs)))
        for job in state.jobs:
            end_waiting_items(state, job, CANCELLED, decisions, with_joining=True)
            # What has begun and was interrupted since (by a halt, in an earlier session) does not go on, either.
            for index, item in enumerate(job.items):
                if isinstance(item, Interrupted):
                    cancel_item(state, job, index, decisions)
        end_running(state, "cancel", decisions)
        return
    for order, index in items:
        job = state.jobs[order]
        if not job.is_listed:
            _cancel_unlisted(state, job, decisions)
        # There is no such item.
        elif index >= len(job.items):
            continue
        # It gets its end when its tree is gone: until then the slot is in use.
        elif isinstance(job.items[index], Running):
            end_one(job, index, "halt" if words else "cancel", decisions, words=words)
        else:
            cancel_item(state, job, index, decisions, words)


def _cancel_unlisted(state: RunState, job: JobState, decisions: list[Decision]) -> None:
    """Cancel the one item of a job that has not had its turn. It is listed at once, so that its end can be recorded.

    A job with `for_each` has no items yet, so nothing of it can be meant.
    """
    if not job.rules.is_single or job.is_closed or state.is_finished:
        return
    job.is_cancelled_ahead = True
    if job.phase is Phase.BLOCKED:
        enter_phase(state, job, Phase.LISTING)
        decisions.append(ListItems(job.rules.order))


def end_running(state: RunState, reason: EndWord, decisions: list[Decision], grace_at_most: float | None = None) -> None:
    """Have everything that runs ended, with at most so many seconds of grace."""
    for job in state.jobs:
        end_job(job, reason, decisions, grace_at_most)
