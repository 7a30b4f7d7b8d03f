"""What an item's end brings about: counters, the halt, chain children, items that will not start any more."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import assert_never

from orchestrator.core.decisions import Decision, Settle
from orchestrator.core.endings import end_job, end_one
from orchestrator.core.events import Declined, GateEnd
from orchestrator.core.states import (
    CANCELLED,
    ENDED_STATES,
    FAILED,
    INTERRUPTED,
    SKIPPED,
    SUCCEEDED,
    Failed,
    Interrupted,
    ItemRef,
    ItemState,
    JobState,
    Pending,
    Phase,
    Running,
    RunState,
    Succeeded,
    Waiting,
)


def settle_item(
    state: RunState, job: JobState, index: int, ended: ItemState, decisions: list[Decision], message: str = ""
) -> None:
    """Give an item its end, tell it, and bring about what follows from it."""
    # It is in no line any more. Entries of heaps stay, and are dropped when they come up (`scheduling`).
    state.agenda.changed.add(job.rules.order)
    job.items[index] = ended
    job.tries.pop(index, None)
    if job.joining:
        job.joining.discard(index)
    if job.asking:
        job.asking.discard(index)
        job.posing.discard(index)
    ref = (job.rules.order, index)
    decisions.append(Settle(ref, ended, message))
    # An interrupted item has not come to its end: it keeps its job open, and a resume goes on with it.
    if isinstance(ended, Interrupted):
        return
    job.count_end(ended)
    if job.dependents:
        job.undurable.add(index)
    if isinstance(ended, Failed):
        _item_failed(state, job, ref, decisions)
    if job.rules.has_goal:
        job.wanted_again.discard(index)
        heed_goal(state, job, decisions)


_UNSTARTED: dict[Declined | GateEnd, ItemState] = {
    Declined.SKIPPED: SKIPPED,
    Declined.UNSELECTED: SKIPPED,
    Declined.SATISFIED: SUCCEEDED,
    Declined.REFUSED: FAILED,
    GateEnd.SKIPPED: SKIPPED,
    GateEnd.UNSELECTED: SKIPPED,
    GateEnd.APPROVED: SUCCEEDED,
    GateEnd.REFUSED: FAILED,
}


def settle_unstarted(state: RunState, job: JobState, index: int, how: Declined | GateEnd, decisions: list[Decision]) -> None:
    """Give an item the end that it comes to without an attempt, of a command or a gate."""
    if how in (Declined.UNSELECTED, GateEnd.UNSELECTED):
        # Counted apart: an item that nobody selected keeps nothing that needs the job from running.
        job.unselected += 1
    settle_item(state, job, index, _UNSTARTED[how], decisions)


def halt_run(state: RunState, ref: ItemRef, decisions: list[Decision]) -> None:
    """Let nothing more start but cleanup jobs. A later call can only name an item that comes earlier in order.

    What runs is let finish, or ended at once if the item's job says so.
    """
    is_first = state.halted_by is None
    state.halted_by = ref if state.halted_by is None else min(state.halted_by, ref)
    if is_first:
        state.agenda.changed.update(range(len(state.jobs)))
        for job in state.jobs:
            if not job.rules.is_cleanup:
                end_waiting_items(state, job, INTERRUPTED, decisions, with_joining=False)
    rules = state.jobs[ref[0]].rules
    if rules.ends_at_once:
        words = f"{rules.id if rules.is_single else f'{rules.id}:{ref[1]}'} failed, and halts the run"
        for job in state.jobs:
            if not job.rules.is_cleanup:
                end_waiting_items(state, job, INTERRUPTED, decisions, with_joining=True)
                end_job(job, "halt", decisions, words=words)


def heed_failures(state: RunState, job: JobState, decisions: list[Decision]) -> None:
    """Let no further item of a job that limits failures start, if more of them failed than may."""
    if job.failed > job.failures_allowed and not job.is_stopped:
        job.is_stopped = True
        is_now = job.rules.ends_at_once
        end_waiting_items(state, job, INTERRUPTED, decisions, with_joining=is_now)
        if is_now:
            end_job(job, "halt", decisions, words=f"more of {job.rules.id} failed than may")


def heed_count(state: RunState, job: JobState, decisions: list[Decision]) -> None:
    """Halt the run if as many items of a job that counts failures failed as halt it. The first of them tells of it."""
    if job.halts_at and job.failed >= job.halts_at:
        first = next(index for index, item in enumerate(job.items) if isinstance(item, Failed))
        halt_run(state, (job.rules.order, first), decisions)


def heed_goal(state: RunState, job: JobState, decisions: list[Decision]) -> None:
    """Give up what is left of a job of which enough has ended."""
    if not job.enough and note_goal(job):
        give_up(state, job, decisions)


def note_goal(job: JobState) -> bool:
    """Note that enough of the job has ended; tells whether it has."""
    halt = job.rules.halt
    if halt is not None and job.rules.has_goal and job.halts_at and job.counted >= job.halts_at:
        counted = (Succeeded,) if halt.why == "success" else (Succeeded, Failed)
        first = next(index for index, item in enumerate(job.items) if isinstance(item, counted))
        word = "succeeded" if halt.why == "success" else "ended"
        others = f" and {job.counted - 1} more" if job.counted > 1 else ""
        job.enough = f"{job.rules.id}:{first}{others} {word}, which is enough"
    return bool(job.enough)


def want_again(job: JobState, items: Iterable[int]) -> None:
    """Somebody asks for these items of a job with a goal once more: they run, also if it is enough without them."""
    if note_goal(job):
        job.wanted_again.update(items)


def give_up(state: RunState, job: JobState, decisions: list[Decision]) -> None:
    """Nothing more of the job is wanted: what has not begun is skipped, what waits is cancelled, and what runs, if at once.

    All but what somebody asked for once more.
    """
    state.agenda.changed.add(job.rules.order)
    is_now = job.rules.ends_at_once
    for index, item in enumerate(job.items):
        if index in job.wanted_again:
            continue
        if isinstance(item, Pending):
            settle_item(state, job, index, SKIPPED, decisions, job.enough)
        # Who joined work in flight only shares its verdict: that is let finish as what runs is.
        elif isinstance(item, Interrupted) or (isinstance(item, Waiting) and (is_now or index not in job.joining)):
            settle_item(state, job, index, CANCELLED, decisions, job.enough)
        elif isinstance(item, Running) and is_now:
            end_one(job, index, "halt", decisions, words=job.enough)


def end_waiting_items(state: RunState, job: JobState, ended: ItemState, decisions: list[Decision], *, with_joining: bool) -> None:
    """End every item of a job that waits to be started (for a backoff, a slot, a choice, …): it will not start any more.

    `with_joining`: also those that wait for the verdict of work in flight. A halt leaves them, as it leaves what runs: they start
    nothing, and only share that verdict.
    """
    # In item order, and each once: an item may stand in a line and, stale, in another.
    waiting = {index for _, index in job.backoff} | set(job.due).union(*job.held.values()) | job.asking
    if with_joining:
        waiting |= job.joining
    # No resume goes on with what nobody wants any more.
    ended = CANCELLED if job.given_up else ended
    job.backoff.clear()
    job.due.clear()
    job.held.clear()
    for index in sorted(waiting):
        if isinstance(job.items[index], Waiting):
            settle_item(state, job, index, ended, decisions, job.given_up)


def release_chain_item(state: RunState, child: JobState, index: int, decisions: list[Decision]) -> None:
    """Make item `index` of an open chain ready, or skip it, if nothing more will come of its parents' items."""
    if child.phase is not Phase.OPEN or not isinstance(child.items[index], Pending):
        return
    parents = [state.jobs[order] for order in child.rules.chain]
    # Called for each parent's end: the last one counts.
    if not all(_is_past(parent, index) for parent in parents):
        return
    states = [parent.items[index] for parent in parents]
    if _chain_wants(child, states):
        heapq.heappush(child.ready, index)
        state.agenda.changed.add(child.rules.order)
        return
    blamed = next((p for p, item in zip(parents, states, strict=True) if not isinstance(item, Succeeded)), parents[0])
    settle_item(state, child, index, SKIPPED, decisions, f"{blamed.rules.id}:{index} is {_word(blamed.items[index])}")


def cancel_item(state: RunState, job: JobState, index: int, decisions: list[Decision], words: str = "") -> None:
    """Cancel an item that does not run: also one that a resume would go on with."""
    if isinstance(job.items[index], Pending | Waiting | Interrupted):
        settle_item(state, job, index, CANCELLED, decisions, words)


def _is_past(parent: JobState, index: int) -> bool:
    """Ended durably; or its job was closed before it had its turn, and it never will."""
    item = parent.items[index]
    has_ended = isinstance(item, ENDED_STATES) and not isinstance(item, Interrupted)
    return parent.is_closed or (has_ended and index not in parent.undurable)


def _word(item: ItemState) -> str:
    return "not run" if isinstance(item, Pending) else type(item).__name__.lower()


def _chain_wants(child: JobState, parents: list[ItemState]) -> bool:
    match child.rules.when_word:
        case "always":
            return True
        case "failed":
            return any(isinstance(item, Failed) for item in parents)
        case None:
            return all(isinstance(item, Succeeded) for item in parents)
        case unknown:
            assert_never(unknown)


def _item_failed(state: RunState, job: JobState, ref: ItemRef, decisions: list[Decision]) -> None:
    """A failure stops its job (one more than `max_failures`), or halts the run, or is tolerated."""
    if job.rules.limits_failures:
        heed_failures(state, job, decisions)
    elif job.rules.counts_failures:
        heed_count(state, job, decisions)
    elif not job.rules.tolerates_failures:
        halt_run(state, ref, decisions)
