"""Gates: questions that hold no slot, what a choice brings about, and going back to a job after a rejection.

    Pending --AskGate--> asking, posing --GateTold(OPEN)--> asking --GateTold(APPROVED | REJECTED)--> ended, or asked once more

While a question is being put (`posing`) it may turn out that it needs no choice; so the run does not pause yet. After a rejection
that goes back to a job (`on_reject = { retry = JOB }`) nothing of the run finishes before `ItemsReopened` has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from orchestrator.core.ancestry import jobs_before, jobs_behind
from orchestrator.core.decisions import AskGate, Decision, ReopenItems
from orchestrator.core.events import GateEnd, GateTold, ItemsReopened, LeftAlone
from orchestrator.core.item_ends import halt_run, settle_item, settle_unstarted, want_again
from orchestrator.core.item_waits import make_due
from orchestrator.core.job_changes import enter_phase
from orchestrator.core.scheduling import may_start, take_next
from orchestrator.core.states import (
    FAILED,
    PENDING,
    SKIPPED,
    Cancelled,
    Failed,
    Interrupted,
    ItemRef,
    JobState,
    Pending,
    Phase,
    Running,
    RunState,
    Skipped,
    Tries,
    Waiting,
    waiting_for_choice,
)
from orchestrator.core.turns import review


def ask_gates(state: RunState, decisions: list[Decision]) -> None:
    """Put the question of each gate whose turn has come: all at once, for a question takes nothing from anybody."""
    review(state)
    for order in sorted(state.agenda.gates):
        job = state.jobs[order]
        while may_start(state, job) and (index := take_next(state, job)) is not None:
            _ask(state, job, index, decisions)


def take_in_gate_event(state: RunState, event: GateTold | ItemsReopened | LeftAlone, decisions: list[Decision]) -> None:
    """Take in what concerns gates."""
    match event:
        case GateTold():
            _gate_told(state, event, decisions)
        case ItemsReopened(attempts, jobs):
            _reopen(state, attempts)
            # Closed before they were listed, because what they needed had failed: that is looked at once more.
            for order in jobs:
                enter_phase(state, state.jobs[order], Phase.BLOCKED)
        case LeftAlone():
            state.is_attended = False
            # Nothing waits for an answer at the terminal any more.
            state.agenda.changed.update(range(len(state.jobs)))
        case unknown:
            assert_never(unknown)


def child_answered(state: RunState, item: ItemRef, now: float) -> None:
    """Let an item go on that waits for a choice in its child run. One that does not wait (any more) is left as it is."""
    job, index = state.jobs[item[0]], item[1]
    if index in job.asking and not job.rules.is_gate:
        make_due(state, job, index, "child", now)


def _gate_told(state: RunState, event: GateTold, decisions: list[Decision]) -> None:
    """A gate's question is out, or it has its choice, or needs none."""
    order, index = event.item
    job = state.jobs[order]
    # Stopped or cancelled meanwhile: it has its end, which a late answer does not change.
    if index not in job.asking:
        return
    job.posing.discard(index)
    state.agenda.changed.add(order)
    match event.how:
        case GateEnd.OPEN:
            pass
        case GateEnd.APPROVED | GateEnd.SKIPPED | GateEnd.UNSELECTED | GateEnd.REFUSED:
            settle_unstarted(state, job, index, event.how, decisions)
        case GateEnd.REJECTED:
            _rejected(state, job, index, decisions)
        case unknown:
            assert_never(unknown)


def _reopen(state: RunState, attempts: Mapping[ItemRef, int]) -> None:
    """Let these items run again. `attempts`: how many each has had, so that the next has a number of its own."""
    state.is_reopening = False
    state.agenda.failed_before.clear()
    # Jobs that reopen together run in the order of their needs, as they did the first time.
    way = {order for order, _ in attempts}
    for (order, index), number in attempts.items():
        job = state.jobs[order]
        item = job.items[index]
        # It runs again already: somebody else has asked for it meanwhile.
        if isinstance(item, Running | Pending):
            continue
        _take_back_end(job, index)
        state.agenda.changed.add(order)
        job.items[index] = PENDING
        job.tries[index] = Tries(number=number)
        job.next_index = min(job.next_index, index)
        # It opens as it did the first time, when what it needs is at rest.
        if job.is_closed or way & set(job.rules.needs):
            enter_phase(state, job, Phase.BLOCKED)
    for order in way:
        if state.jobs[order].rules.has_goal:
            want_again(state.jobs[order], [index for of, index in attempts if of == order])


def _ask(state: RunState, job: JobState, index: int, decisions: list[Decision]) -> None:
    """Have the question put; until it is out (`GateEnd.OPEN`) the run is in motion."""
    job.items[index] = waiting_for_choice()
    job.asking.add(index)
    job.posing.add(index)
    state.agenda.changed.add(job.rules.order)
    decisions.append(AskGate((job.rules.order, index)))


def _rejected(state: RunState, job: JobState, index: int, decisions: list[Decision]) -> None:
    """What `on_reject` says: the run fails, the item is skipped, the gate asks once more, or a job runs again before it does."""
    ref = (job.rules.order, index)
    match job.rules.on_reject:
        case "abort":
            state.is_rejected = True
            settle_item(state, job, index, FAILED, decisions)
            halt_run(state, ref, decisions)
        case "skip":
            settle_item(state, job, index, SKIPPED, decisions)
        case "retry" if job.rules.retry_from is None:
            _ask(state, job, index, decisions)
        case "retry":
            state.is_reopening = True
            decisions.append(ReopenItems(_way_back(state, job, index)))
        case unknown:
            assert_never(unknown)


def _way_back(state: RunState, gate: JobState, index: int) -> tuple[ItemRef, ...]:
    """Items of the job that is to run again, of all on the way from there to the gate, and of the gate.

    Where only chains lead there, it is the one item of each: the others have nothing to do with this choice.
    """
    assert gate.rules.retry_from is not None
    # All jobs on a way from the job to the gate: what they did is of no use once that job has done something else.
    first = gate.rules.retry_from
    way = {first, gate.rules.order} | (jobs_behind(state, [first]) & jobs_before(state, gate.rules.order))
    # Over chains alone, item 3 of the gate depends on item 3 of each: a rejection of one must not undo the others.
    is_chain = all(not way & set(state.jobs[order].rules.needs) for order in way - {first})
    return tuple(
        (order, each)
        for order in sorted(way)
        for each in range(len(state.jobs[order].items))
        if (each == index or not is_chain) and not isinstance(state.jobs[order].items[each], Running | Pending)
    )


def _take_back_end(job: JobState, index: int) -> None:
    """Undo what the item's end has counted, before it is pending again."""
    item = job.items[index]
    match item:
        # Waiting and interrupted items have not ended: nothing was counted.
        case Waiting():
            job.asking.discard(index)
            job.posing.discard(index)
            return
        case Interrupted():
            return
        case Failed():
            job.failed -= 1
        case Skipped():
            job.skipped -= 1
        case Cancelled():
            job.cancelled -= 1
        case _:
            pass
    # Fewer have failed now than before: a job that was stopped for `max_failures` may go on.
    job.unfinished += 1
    job.enough = ""
    job.is_stopped = job.rules.limits_failures and job.failed > job.failures_allowed
