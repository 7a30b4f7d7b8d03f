"""The usage limit of an account is reached: it is parked until its reset, and then one attempt tries before all others do.

Two resources: the limit itself, held until the reset, and the trial, held while somebody (perhaps another run) tries. Items that
may use several accounts use the first that is held by neither; only when there is none does `on_usage_limit` say what happens.
It refuses to handle: who told of a limit, and when it is over for other runs (`orchestrator/limits`).
"""

from __future__ import annotations

import heapq

from orchestrator.core.states import Account, JobRules, JobState, RunState, Waiting

DEFAULT_PARK_SECONDS = 1800.0
"""How long an account is parked if nobody told until when."""


def usage_limit(account: str) -> str:
    """The resource: that the account is not parked."""
    return f"limit of {account}"


def trial(account: str) -> str:
    """The resource: that nobody tries just now whether the account's limit is over."""
    return f"trial of {account}"


def account_for(state: RunState, rules: JobRules) -> str | None:
    """The account that the next item of a job is to use: the first that is free; else the one that is so first, as it seems."""
    if not rules.accounts:
        return None
    free = (account for account in rules.accounts if not _is_held(state, account))
    return next(free, None) or min(rules.accounts, key=lambda account: _held_until(state, account))


def missing_limit(state: RunState, account: str, rules: JobRules) -> str | None:
    """The limit or the trial that keeps an item of a job from using the account.

    Who is not to wait for a limit is started all the same, and whoever starts it says that there is one.
    """
    if trial(account) in state.holds:
        return trial(account)
    if rules.on_usage_limit == "wait" and usage_limit(account) in state.holds:
        return usage_limit(account)
    return None


def park_account(state: RunState, account: str, until: float) -> None:
    """Hold the account until then (monotonic seconds). Items that wait for it may find another account at their start."""
    is_new = usage_limit(account) not in state.holds
    state.holds[usage_limit(account)] = until
    state.accounts.setdefault(account, Account())
    for job in state.jobs if is_new else ():
        _look_again(job, account)


def _look_again(job: JobState, account: str) -> None:
    for index in job.held.pop(account, ()):
        if isinstance(job.items[index], Waiting):
            heapq.heappush(job.due, index)


def _is_held(state: RunState, account: str) -> bool:
    return usage_limit(account) in state.holds or trial(account) in state.holds


def _held_until(state: RunState, account: str) -> float:
    if trial(account) in state.holds:
        return 0.0  # somebody tries it now
    return state.holds.get(usage_limit(account), 0.0)
