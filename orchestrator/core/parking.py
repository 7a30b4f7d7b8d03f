"""The usage limit of an account is reached: it is parked until its reset, and then one attempt tries before all others do.

Two resources: the limit itself, held until the reset, and the trial, held while an attempt (perhaps of another run) tries. Items
that may use several accounts use the first that is held by neither. If all are held, `on_usage_limit` says what happens.
It refuses to handle: who told of a limit, and when it is over for other runs (`shared/limits`).
"""

from __future__ import annotations

import heapq

from orchestrator.core.job_rules import JobRules
from orchestrator.core.states import Account, JobState, RunState, Waiting

DEFAULT_PARK_SECONDS = 1800.0
"""How long an account is parked if nobody told until when."""


def usage_limit(account: str) -> str:
    """The resource: that the account is not parked."""
    return f"limit of {account}"


def trial(account: str) -> str:
    """The resource: that nobody tries just now whether the account's limit is over."""
    return f"trial of {account}"


def account_for(state: RunState, rules: JobRules) -> str | None:
    """The account that the next item of a job is to use: the first that is free, else the one that will be free first."""
    if not rules.accounts:
        return None
    free = (account for account in rules.accounts if not _is_held(state, account))
    return next(free, None) or min(rules.accounts, key=lambda account: _held_until(state, account))


def missing_limit(state: RunState, account: str, rules: JobRules) -> str | None:
    """The limit or the trial that keeps an item of a job from using the account; None: neither.

    An item whose job does not wait for limits is started all the same: its start finds the limit, and the job says what follows.
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
    # Only for news: told again, the same limit would send the same items to try the same accounts.
    for job in state.jobs if is_new else ():
        if account in job.held:
            _release_held(job, account)
            state.agenda.changed.add(job.rules.order)


def _release_held(job: JobState, account: str) -> None:
    """Let the items that wait for the account be tried: they may find another one."""
    for index in job.held.pop(account, ()):
        if isinstance(job.items[index], Waiting):
            heapq.heappush(job.due, index)


def _is_held(state: RunState, account: str) -> bool:
    return usage_limit(account) in state.holds or trial(account) in state.holds


def _held_until(state: RunState, account: str) -> float:
    if trial(account) in state.holds:
        return 0.0  # an attempt tries it now: soon it is known
    return state.holds.get(usage_limit(account), 0.0)
