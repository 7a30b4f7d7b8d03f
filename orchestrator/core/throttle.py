"""An account's provider takes no more just now: nothing of the account starts for a while, and then fewer run at once.

Each throttle halves how many run at once and doubles the wait; each success halves the wait of the next throttle, and a round of
successes (as many as run at once) lets one more run, until as many may as ever could. What was in flight when an account was
throttled and is throttled too is the same trouble: it halves and doubles nothing.
"""

from __future__ import annotations

import math

import msgspec

from orchestrator.core.states import Account, JobState, Running, RunState

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0

LONGEST_TOLD_SECONDS = 3600.0
"""A provider that asks for more than that is tried again all the same: it may have meant something else."""

REFUSALS_ALLOWED = 10
"""So often in a row an item may be throttled or parked before it is failed: it must not wait for ever for what never comes."""


def rate_limit(account: str) -> str:
    """The resource. In `RunState.holds`: nothing of the account starts before then."""
    return f"rate limit of {account}"


def _account_of(state: RunState, name: str) -> Account:
    """What is known of an account."""
    return state.accounts.setdefault(name, Account())


def room_of_account(state: RunState, name: str | None) -> float:
    """How many more of this account may run."""
    account = state.accounts.get(name) if name is not None else None
    if account is None or account.bound is None:
        return math.inf
    return account.bound - account.running


def is_full(state: RunState, name: str, running: int) -> bool:
    """Whether no more of this account may start now, of which so many run: for who found out at a start that it is needed."""
    account = state.accounts.get(name)
    return rate_limit(name) in state.holds or (account is not None and account.bound is not None and running >= account.bound)


def ceiling(state: RunState, name: str) -> int:
    """How many of this account could run at once if it were never throttled."""
    bounds = [job.rules.max_concurrency or state.slots for job in state.jobs if name in job.rules.accounts]
    return min(state.slots, sum(bounds)) if bounds else state.slots


def wait_alone(refusals: int) -> float:
    """Seconds that an item of no known account waits when it was refused so often in a row."""
    return min(FIRST_WAIT_SECONDS * 2.0 ** (refusals - 1), LONGEST_WAIT_SECONDS)


def note_account(state: RunState, job: JobState, index: int, name: str) -> None:
    """An item that runs uses this account, perhaps another than it was to use."""
    running = job.items[index]
    assert isinstance(running, Running), f"{job.rules.id}:{index} does not run"
    if running.account is not None:
        state.accounts[running.account].running -= 1
    account = _account_of(state, name)
    account.running += 1
    job.items[index] = msgspec.structs.replace(running, account=name, throttles=account.throttles)


def note_throttle(state: RunState, name: str, throttles: int, until: float | None, now: float) -> None:
    """An attempt was throttled; it no longer runs. `throttles`: as `Running`; `until`: what the provider asked for."""
    account = _account_of(state, name)
    resume = state.holds.get(rate_limit(name), now)
    if throttles == account.throttles:
        at_once = account.running + 1
        account.bound = max(1, min(at_once, account.bound or at_once) // 2)
        account.wait = min(account.wait * 2, LONGEST_WAIT_SECONDS) if account.wait else FIRST_WAIT_SECONDS
        account.throttles += 1
        account.successes = 0
        resume = max(resume, now + account.wait)
    if until is not None:
        resume = max(resume, min(until, now + LONGEST_TOLD_SECONDS))
    if resume > now:
        state.holds[rate_limit(name)] = resume


def note_success(state: RunState, name: str, throttles: int) -> None:
    """An attempt succeeded; it no longer runs. One that started before the last throttle proves nothing."""
    account = _account_of(state, name)
    if throttles != account.throttles:
        return
    account.wait = account.wait / 2 if account.wait > FIRST_WAIT_SECONDS else 0.0
    if account.bound is None:
        return
    account.successes += 1
    if account.successes >= account.bound:
        account.successes = 0
        account.bound += 1
        if account.bound >= ceiling(state, name):
            account.bound = None
