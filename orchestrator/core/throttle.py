"""An account's provider takes no more just now: nothing of the account starts for a while, and then fewer run at once.

- Each throttle halves how many attempts of the account run at once, and doubles the wait before the next start.
- Each success halves the wait that the next throttle will bring. A round of successes (as many as run at once) lets one more run,
  until as many run as could without any throttle.
- Attempts that were in flight when the account was throttled, and are throttled too, are the same trouble: they change nothing.
  `Account.throttles` counts troubles; an attempt remembers the count of its start.
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
"""How often in a row an item may be throttled or parked before it fails: it must not wait for ever for what never comes."""


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
    """Whether no more of this account may start now, of which so many run. For an item whose start has found out its account."""
    account = state.accounts.get(name)
    return rate_limit(name) in state.holds or (account is not None and account.bound is not None and running >= account.bound)


def ceiling(state: RunState, name: str) -> int:
    """How many of this account could run at once if it were never throttled."""
    # Of each job its bound; of one without a bound, and of jobs that find out at their start, all slots.
    bounded, unbounded = state.ceilings.get(name, (0, 1))
    return min(state.slots, bounded + unbounded * state.slots)


def wait_alone(refusals: int) -> float:
    """Seconds that an item of no known account waits when it was refused so often in a row."""
    return min(FIRST_WAIT_SECONDS * 2.0 ** (refusals - 1), LONGEST_WAIT_SECONDS)


def note_account(state: RunState, job: JobState, index: int, name: str) -> None:
    """Note which account an item that runs uses: perhaps another than the one that it was to use."""
    running = job.items[index]
    assert isinstance(running, Running), f"{job.rules.id}:{index} does not run"
    if running.account is not None:
        state.accounts[running.account].running -= 1
    account = _account_of(state, name)
    account.running += 1
    job.items[index] = msgspec.structs.replace(running, account=name, throttles=account.throttles)


def note_throttle(state: RunState, name: str, throttles: int, until: float | None, now: float) -> None:
    """Note that an attempt was throttled, which runs no more. `throttles`: as in `Running`; `until`: as told."""
    account = _account_of(state, name)
    resume = state.holds.get(rate_limit(name), now)
    # A new trouble. The attempt itself is counted in: so many at once were too many.
    if throttles == account.throttles:
        at_once = account.running + 1
        account.bound = max(1, min(at_once, account.bound or at_once) // 2)
        account.wait = min(account.wait * 2, LONGEST_WAIT_SECONDS) if account.wait else FIRST_WAIT_SECONDS
        account.throttles += 1
        account.successes = 0
        resume = max(resume, now + account.wait)
    # The provider's own word goes before ours, as far as it can be meant.
    if until is not None:
        resume = max(resume, min(until, now + LONGEST_TOLD_SECONDS))
    if resume > now:
        state.holds[rate_limit(name)] = resume


def note_success(state: RunState, name: str, throttles: int) -> None:
    """Note that an attempt succeeded, which no longer runs. One that started before the last throttle proves nothing."""
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
