"""What is asked from outside of a run that goes on: to stop, to pause, to cancel, to have other slots or another budget."""

from __future__ import annotations

from typing import Literal, assert_never

import msgspec

from orchestrator.core.decisions import Decision, EndAttempt, ListItems
from orchestrator.core.events import BudgetSet, CancelAsked, SlotsSet, StopAsked
from orchestrator.core.item_ends import cancel_item, end_waiting_items
from orchestrator.core.states import CANCELLED, INTERRUPTED, ItemRef, JobState, Phase, Running, RunState, Stop

EndWord = Literal["cancel", "drain"]

NOW_GRACE_SECONDS = 1.0
"""Grace of a second signal or `stop --now`: long enough for an agent to close its files, short enough to be "at once"."""


def obey_request(
    state: RunState, event: StopAsked | CancelAsked | SlotsSet | BudgetSet, now: float, decisions: list[Decision]
) -> None:
    """Do what was asked for."""
    match event:
        case StopAsked(how):
            stop_run(state, how, now, decisions)
        case CancelAsked(items):
            _cancel_items(state, items, decisions)
        case SlotsSet(slots, fast_slots):
            _set_slots(state, slots, fast_slots)
        case BudgetSet(order, bounds):
            whose = state if order is None else state.jobs[order]
            whose.budget = bounds


def _set_slots(state: RunState, slots: int, fast_slots: int) -> None:
    """Fewer: what runs goes on, and its slot is gone with it."""
    used = {item.slot for job in state.jobs for item in job.items if isinstance(item, Running)}
    state.slots = slots
    state.fast_slots = fast_slots
    state.free_slots = [slot for slot in range(slots) if slot not in used and slot not in state.set_aside]


def stop_run(state: RunState, how: Stop, now: float, decisions: list[Decision]) -> None:
    """Stop the run so far; what is weaker than what holds already changes nothing."""
    if how.value <= state.stop.value:
        return
    state.stop = how
    for job in state.jobs:
        end_waiting_items(state, job, INTERRUPTED, decisions, with_joining=True)
    match how:
        case Stop.PAUSE:
            pass
        case Stop.DRAIN:
            state.drain_until = now + state.drain_timeout
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


def _cancel_items(state: RunState, items: tuple[ItemRef, ...] | None, decisions: list[Decision]) -> None:
    if items is None:
        state.is_cancelled = True
        for job in state.jobs:
            end_waiting_items(state, job, CANCELLED, decisions, with_joining=True)
        end_running(state, "cancel", decisions)
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


def end_running(state: RunState, reason: EndWord, decisions: list[Decision], grace_at_most: float | None = None) -> None:
    """Have everything that runs ended, with at most so many seconds of grace."""
    for job in state.jobs:
        if job.running:
            for index, item in enumerate(job.items):
                if isinstance(item, Running):
                    _end_one(job, index, reason, decisions, grace_at_most)


def _end_one(job: JobState, index: int, reason: EndWord, decisions: list[Decision], grace_at_most: float | None = None) -> None:
    running = job.items[index]
    assert isinstance(running, Running)
    word = running.ending or reason
    job.items[index] = msgspec.structs.replace(running, ending=word)
    decisions.append(EndAttempt((job.rules.order, index), word, grace_at_most))
