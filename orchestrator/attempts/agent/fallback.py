"""Fallbacks: which agent does an item's work, the job's own or the first of its `fallback` whose account is not parked.

Promise: an item does the same work whichever agent does it. A fallback gets the job's model only if it has the provider of the
job's own agent, and the job's `args` only if it is the same program: elsewhere they mean something else, or nothing. A fallback
that is not installed is passed over: an item that it took would fail at once, where waiting for the account helps.
It refuses to handle: what happens if all accounts are parked (core); going on with a session (no agent goes on with another's).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import msgspec

from orchestrator.errors import UserError
from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.model import AgentAction, Job
from orchestrator.jobsfile.profiles.profile import Profile

FindProfile = Callable[[str], Profile]
"""The profile of an agent by its name. Raises UserError: there is none, or it has mistakes."""


class Choice(msgspec.Struct, frozen=True):
    """An agent, and the account that it uses; None: it uses none."""

    profile: Profile
    account: str | None


Choose = Callable[[Sequence[Profile], Mapping[str, str | None]], Choice]
"""Which of these agents (the job's own first) does the work. The second argument: the environment that the job declares."""


def own_agent(profiles: Sequence[Profile], declared: Mapping[str, str | None]) -> Choice:
    """The job's own agent, whatever is known of its account: where nothing is started."""
    from orchestrator.jobsfile.profiles.accounts import account_of

    return Choice(profiles[0], account_of(profiles[0], declared, {}))


def is_installed(profile: Profile, declared: Mapping[str, str | None], environ: Mapping[str, str]) -> bool:
    """Whether the program is where an attempt will look for it. One that is relative to the item's folder counts as there."""
    program = profile.command[0]
    if program == "{python}" or ("/" in program and not os.path.isabs(program)):
        return True
    path = {**environ, **profile.env, **declared}.get("PATH")
    places = (
        [program]
        if "/" in program
        else [f"{folder}/{program}" for folder in (os.defpath if path is None else path).split(":") if os.path.isabs(folder)]
    )
    return any(os.path.isfile(place) and os.access(place, os.X_OK) for place in places)


def _no_note(_words: str) -> None:
    pass


class Chooser:
    """Chooses the agents of one run. `environ`: what agents inherit. `seconds_left(account)`: until it may be used; 0: now.

    `note` gets words, once for each fallback that is passed over because it is not installed.
    """

    def __init__(
        self, environ: Mapping[str, str], seconds_left: Callable[[str], float], note: Callable[[str], None] = _no_note
    ) -> None:
        self._environ = environ
        self._seconds_left = seconds_left
        self._note = note
        self._missing: set[str] = set()

    def choose(self, profiles: Sequence[Profile], declared: Mapping[str, str | None], wanted: str | None = None) -> Choice:
        """The agent that uses the `wanted` account, if there is one; else the one that may be used soonest."""
        from orchestrator.jobsfile.profiles.accounts import account_of

        profiles = [profiles[0], *(each for each in profiles[1:] if self._is_there(each, declared))]
        accounts = [account_of(profile, declared, self._environ) for profile in profiles]
        if wanted in accounts:
            chosen = accounts.index(wanted)
        elif len(accounts) == 1:
            chosen = 0
        else:
            chosen = min(range(len(accounts)), key=lambda place: self._seconds_left(accounts[place]))
        return Choice(profiles[chosen], accounts[chosen])

    def _is_there(self, profile: Profile, declared: Mapping[str, str | None]) -> bool:
        if is_installed(profile, declared, self._environ):
            return True
        if profile.name not in self._missing:
            self._missing.add(profile.name)
            self._note(f"the fallback {profile.name} is passed over: command not found: {profile.command[0]}")
        return False


def accounts_of_job(job: Job, run_env: Mapping[str, Template], find: FindProfile, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The accounts that every item of the job may use, in order; empty: that depends on the item, or it uses none."""
    from orchestrator.jobsfile.profiles.accounts import account_of

    if not isinstance(job.action, AgentAction) or not job.action.agent.is_static:
        return ()
    try:
        profiles = [find(name) for name in (job.action.agent.source.strip(), *job.fallback)]
    except UserError:
        return ()  # each item fails with these words when it is rendered
    # The variables that tell an account, and where programs are looked for. One that is a template differs from item to item.
    declared: dict[str, str | None] = {}
    looked_at = {"PATH"} if job.fallback else set()
    for name in looked_at.union(*(profile.account_env for profile in profiles)):
        template = job.env.get(name, run_env.get(name))
        if template is None:
            continue
        if not template.is_static:
            return ()
        declared[name] = template.source
    usable = [profiles[0], *(each for each in profiles[1:] if is_installed(each, declared, environ))]
    return tuple(dict.fromkeys(account_of(profile, declared, environ) for profile in usable))
