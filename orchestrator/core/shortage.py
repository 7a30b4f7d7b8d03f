"""The machine has no room for one more process or open file: as many as ran then may run, and one more is tried ever later.

- An attempt that ends makes room for another one, at once: starting that is no trial.
- A trial starts one more than the bound. If it holds, the bound is raised, and 0.1 s later comes the next trial, until all slots
  are in use.
- A shortage that follows soon on another one doubles the wait for the next trial, up to 5 s.

So a shortage that lasts costs one failing start in 5 s, however many slots are free, and no slot is lost to it.

A worker that dies before it has begun is taken for a shortage, too: a loader or an interpreter without memory dies in as many
ways as there are, and says why in none that could be relied on. It may be broken as well. So such deaths are bounded.
"""

from __future__ import annotations

import math

from orchestrator.core.states import RunState

SHORTAGE = "shortage"
"""The resource. In `RunState.holds` it means: no trial before then."""

FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0

TRIAL_SECONDS = 0.1
"""Between a trial that seems to hold and the next one."""

SOON_SECONDS = 5.0
"""A shortage that comes so soon after the wait for the last one is the same trouble: a worker takes its time to find no room."""

DEATHS_ALLOWED = 10
"""So many workers in a row may die before they have begun, each after a wait of its own (21 s in all). The next item that meets
it is failed. While other items run a death says nothing: they may have the room that it needed."""


def note_shortage(state: RunState, now: float) -> None:
    """Note that a start met a shortage; its item runs no more.

    Starts that meet the same shortage count as one: of sixteen slots that are filled at once, sixteen starts find it out.
    """
    short = state.shortage
    short.bound = state.at_work if short.bound is None else min(short.bound, state.at_work)
    if now < short.waited_until:
        return
    is_again = now < short.waited_until + SOON_SECONDS
    short.wait = min(short.wait * 2, LONGEST_WAIT_SECONDS) if is_again else FIRST_WAIT_SECONDS
    short.waited_until = state.holds[SHORTAGE] = now + short.wait


def note_death(state: RunState, now: float) -> bool:
    """Note that a worker died before it had begun; its item runs no more. Whether it is time to give up."""
    short = state.shortage
    # Deaths that meet the same shortage count as one, as other starts do.
    is_known = now < short.waited_until
    note_shortage(state, now)
    short.deaths += not is_known
    return short.deaths >= DEATHS_ALLOWED and not state.running


def note_begun(state: RunState) -> None:
    """Note that an attempt has begun, whatever it came to: workers can come up."""
    state.shortage.deaths = 0


def room_for_more(state: RunState) -> float:
    """How many more items may run: as many as have ended below the bound, and one more when it is time for a trial."""
    if state.shortage.bound is None:
        return math.inf
    return state.shortage.bound - state.at_work + (SHORTAGE not in state.holds)


def note_starts(state: RunState, now: float) -> None:
    """Note that items were started, no more than `room_for_more` said. One more than the bound is a trial."""
    short = state.shortage
    if short.bound is not None and state.at_work > short.bound:
        short.bound = state.at_work
        state.holds[SHORTAGE] = now + TRIAL_SECONDS
