"""Why an item does not run just now, in words: read from the state alone, which it never changes.

Of several reasons one is told: first what holds for the whole run, then what the item alone waits for, then resources, accounts
and money, and at last its turn in the job's window or for a slot.
"""

from __future__ import annotations

import math

from orchestrator.core import budget, throttle
from orchestrator.core.parking import account_for, trial, usage_limit
from orchestrator.core.scheduling import (
    MEMORY,
    ROOM,
    held_account,
    is_over,
    lacks_device,
    lane_rooms,
    missing_of_account,
    missing_resource,
)
from orchestrator.core.shortage import SHORTAGE
from orchestrator.core.states import ItemRef, JobState, Pending, Phase, RunState, Stop, Waiting

_WORDS = {
    MEMORY: "free memory (less than min_free_memory is left)",
    ROOM: "a slot that an item around this run lends, or that is free in the outermost run",
}


def waiting_resource(state: RunState, item: ItemRef) -> str | None:
    """The resource that an item which has not ended waits for; None: it waits for none."""
    job = state.jobs[item[0]]
    if not _is_before_its_start(job, item[1]):
        return None
    account = held_account(job, item[1])
    return missing_resource(state, job) or (account and missing_of_account(state, account, job.rules))


def account_to_use(state: RunState, item: ItemRef) -> str | None:
    """The account that an item which has not ended is to use, as far as that is known."""
    job = state.jobs[item[0]]
    return held_account(job, item[1]) or account_for(state, job.rules)


def limits_waited_for(state: RunState, item: ItemRef) -> list[str]:
    """The accounts whose usage limit an item waits for; the one that is over first, as it seems, comes first."""
    account, resource = account_to_use(state, item), waiting_resource(state, item)
    if account is None or resource != usage_limit(account):
        return []
    others = [each for each in state.jobs[item[0]].rules.accounts if each != account and usage_limit(each) in state.holds]
    return [account, *others]


def how_spared(state: RunState, account: str) -> tuple[str, float | None]:
    """How the account is spared just now, in words, and until when (monotonic seconds) nothing of it starts; empty: it is not."""
    # The strongest first: while somebody tries the account, neither its limit nor a throttle says when others may use it.
    if trial(account) in state.holds:
        return f"usage limit of {account}: one attempt finds out whether it is over", None
    if usage_limit(account) in state.holds:
        return f"usage limit of {account}", state.holds[usage_limit(account)]
    known, until = state.accounts.get(account), state.holds.get(throttle.rate_limit(account))
    if known is None or (known.bound is None and until is None):
        return "", None
    few = "" if known.bound is None else f": {known.bound} of {throttle.ceiling(state, account)} at once"
    return f"rate limit of {account}{few}", until


def spared_now(state: RunState, now: float) -> list[str]:
    """A line for each account that is spared."""
    said = (how_spared(state, account) for account in state.accounts)
    return [words if until is None else f"{words}, next start in {_seconds(until - now)}" for words, until in said if words]


def why_few(state: RunState, account: str, now: float) -> str:
    """How a throttled account is spared, in words; empty if nothing bounds it."""
    known = state.accounts.get(account)
    until = state.holds.get(throttle.rate_limit(account))
    words = []
    if known is not None and known.bound is not None:
        words.append(f"{known.bound} of {throttle.ceiling(state, account)} at once")
    if until is not None:
        words.append(f"next start in {_seconds(until - now)}")
    return ", ".join(words)


def is_waiting(state: RunState, item: ItemRef) -> bool:
    """Whether the item was tried, or has made an attempt, and waits now, holding nothing."""
    job = state.jobs[item[0]]
    return _is_before_its_start(job, item[1]) and isinstance(job.items[item[1]], Waiting)


def waiting_counts(state: RunState) -> dict[str, int]:
    """Job id -> how many of its items were tried and wait now, holding nothing: for a resource, a token, their next attempt.

    An item that has not been tried and merely stands in the line is not among them. Costs as much as there are that wait.
    """
    counts = {}
    for job in state.jobs:
        # The lines may have an item twice, or one that has ended since: the set and the test below see to that.
        found = {*job.due, *(index for _, index in job.backoff), *job.joining, *job.asking}.union(*job.held.values())
        counts[job.rules.id] = sum(isinstance(job.items[index], Waiting) for index in found)
    return {job_id: count for job_id, count in counts.items() if count}


def why_it_waits(state: RunState, item: ItemRef, now: float) -> str:
    """One line: what the item waits for; empty if it waits for nothing that the rules know of (it runs, or has ended)."""
    job = state.jobs[item[0]]
    if not _is_before_its_start(job, item[1]):
        return ""
    # What holds for the run or the job: the item would not start whatever else it got.
    if state.stop is not Stop.NO:
        return "the run is being paused: nothing more starts" if state.stop is Stop.PAUSE else "the run is stopping"
    if is_over(state, job):
        return "nothing more of it starts: an item failed"
    if job.phase is not Phase.OPEN:
        return ""
    # What this item alone waits for: the others of its job may start before it.
    waiting = job.items[item[1]]
    if isinstance(waiting, Waiting) and now < waiting.due < math.inf:
        return f"it waits {_seconds(waiting.due - now)} before its next attempt ({waiting.reason}), holding nothing"
    if item[1] in job.asking:
        return "it waits for somebody's choice, holding nothing"
    # What is not to be had, for any item that needs it.
    resource = waiting_resource(state, item)
    account = account_to_use(state, item)
    if resource is not None:
        return _why_missing(state, resource, account, now, limits_waited_for(state, item))
    if account is not None and throttle.room_of_account(state, account) <= 0:
        return f"it waits for the rate limit of {account}: {why_few(state, account, now)}, and so many run"
    if (refused := budget.refusal(state, job)) is not None:
        return f"it waits for money: {budget.in_words(refused)}"
    return _why_not_its_turn(state, job)


def _why_not_its_turn(state: RunState, job: JobState) -> str:
    """Nothing that others outside the run have is missing."""
    bound = job.rules.max_concurrency
    if bound is not None and job.running >= bound:
        return f"it waits for its turn: {job.running} of {job.rules.id} run, and max_concurrency is {bound}"
    if lacks_device(state, job.rules):
        return f"it waits for a device: {', '.join(job.rules.devices)} are in use"
    if lane_rooms(state)[job.rules.lane] <= 0 or not state.free_slots:
        lane = f" of the {job.rules.lane} lane" if state.fast_slots else ""
        return f"it waits for a slot{lane}: all are in use"
    return ""


def _why_missing(state: RunState, resource: str, account: str | None, now: float, limits: list[str]) -> str:
    until = state.holds[resource]
    if resource == SHORTAGE:
        return _why_no_room(state, until - now)
    if account is not None and resource == throttle.rate_limit(account):
        return f"it waits for the {resource}: {why_few(state, account, now)}"
    if account is not None and resource == trial(account):
        return f"it waits for another attempt to find out whether the usage limit of {account} is over"
    words = f"usage limit of {' or '.join(limits)} to be over" if limits else resource
    again = f"; tried again in {_seconds(until - now)}" if until != math.inf else ""
    return f"it waits for {_WORDS.get(resource, 'the ' + words)}{again}"


def _why_no_room(state: RunState, seconds: float) -> str:
    words = "it waits for room for one more process or open file on this machine: "
    again = f"one more is tried in {max(seconds, 0):.1f} s"
    if not state.at_work:
        return f"{words}{again}"
    return f"{words}{state.at_work} at once is what there is room for; {again}, or when one of them ends"


def _seconds(remaining: float) -> str:
    if remaining <= 1:
        return "a second"
    minutes = math.ceil(remaining / 60)
    if remaining < 600:
        return f"{math.ceil(remaining)} s"
    return f"{minutes} min" if minutes < 600 else f"{math.ceil(minutes / 60)} h"


def _is_before_its_start(job: JobState, index: int) -> bool:
    return job.is_listed and index < len(job.items) and isinstance(job.items[index], Pending | Waiting)
