"""How an item comes to wait: it has given its slot back, or never had one, and shall go on later.

An item that waits holds nothing. It stands in exactly one of five lines of its job, by what ends the wait:

    backoff   a time, then it is moved to `due`
    due       its turn for a slot
    held      an account that may be used again (of jobs whose items find out at their start which account they need)
    joining   the verdict of work elsewhere that it joined
    asking    somebody's choice
"""

from __future__ import annotations

import heapq
import math

from orchestrator.core.scheduling import is_over, note_backoff
from orchestrator.core.states import CANCELLED, INTERRUPTED, ItemState, JobState, Running, RunState, Waiting


def unless_over(state: RunState, job: JobState, running: Running, wanted: ItemState) -> ItemState:
    """What an item that ran is now: `wanted`, unless its end was asked for, or it would wait and nothing more starts.

    What failed by itself while a halt was about to end it has failed: of several failures the first in order is told.
    """
    if running.ending == "halt":
        return CANCELLED if isinstance(wanted, Waiting) else wanted
    if running.ending == "cancel":
        return CANCELLED
    if running.ending == "drain":
        return end_when_over(job)
    return end_when_over(job) if isinstance(wanted, Waiting) and is_over(state, job) else wanted


def end_when_over(job: JobState) -> ItemState:
    """What becomes of an item without an end where nothing more starts: a resume goes on with it, if it is wanted."""
    return CANCELLED if job.given_up else INTERRUPTED


def let_wait(
    state: RunState, job: JobState, index: int, waiting: Waiting, *, held_by: str | None, is_joining: bool = False
) -> None:
    """Put an item into the line in which it waits.

    `held_by`: the account for which it waits, in a job that cannot tell of its items which they need. `is_joining`: without a
    time it waits for a verdict; else for a choice.
    """
    state.agenda.changed.add(job.rules.order)
    job.items[index] = waiting
    if waiting.due == math.inf:
        (job.joining if is_joining else job.asking).add(index)
    elif held_by is not None:
        heapq.heappush(job.held.setdefault(held_by, []), index)
    else:
        heapq.heappush(job.backoff, (waiting.due, index))
        note_backoff(state, job, waiting.due)


def make_due(state: RunState, job: JobState, index: int, reason: str, now: float) -> None:
    """What the item waited for has come: it may have the next slot."""
    state.agenda.changed.add(job.rules.order)
    job.joining.discard(index)
    job.asking.discard(index)
    job.items[index] = Waiting(reason, now)
    heapq.heappush(job.due, index)
