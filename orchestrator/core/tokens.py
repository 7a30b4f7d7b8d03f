"""What an item does when another item has its token, or had it, as one pure function.

A token stands for work that is done once. The facts of it are found on disk (`orchestrator.shared.tokens`); the answer depends on
these facts and the asker alone. A refusal is told in words that name both sides.
"""

from __future__ import annotations

from typing import Literal, assert_never

import msgspec

PROMOTIONS_ALLOWED = 3
"""How often in a row lost work is taken over by one of the items that joined it, before all of them fail."""


class InFlight(msgspec.Struct, frozen=True):
    """An item does the work, or keeps the token until its next attempt. `holder` names it: RUN/ITEM."""

    payload: str
    holder: str


class Done(msgspec.Struct, frozen=True):
    """The work came to a verdict. `age` in seconds; `is_news`: since the asker began to wait.

    `is_own`: the asker itself came to it, earlier in this run, and was told to run again (it is stale, or its output was lost).
    """

    payload: str
    holder: str
    is_success: bool
    age: float
    is_this_run: bool = False
    is_own: bool = False
    is_news: bool = False


class Lost(msgspec.Struct, frozen=True):
    """The work was cancelled, stopped or killed before it came to a verdict, `promotions` times in a row before that.

    `was_awaited`: the asker had joined this very work, so it may take the work over.
    """

    promotions: int = 0
    was_awaited: bool = False


Fact = InFlight | Done | Lost | None
"""What is known of a token; None: nothing."""


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """An item that wants the token, and what its job says of that. `ttl` in seconds."""

    token: str
    payload: str
    if_running: Literal["join", "reject", "replace", "run_anyway"] = "join"
    if_done: Literal["replay", "rerun", "reject"] = "replay"
    if_changed: Literal["rerun", "reject"] = "rerun"
    ttl: float = 0.0
    is_fresh: bool = False


class Run(msgspec.Struct, frozen=True):
    """Do the work, and note in the token's record that it is the so-manieth promotion in a row."""

    promotions: int = 0


class RunUnregistered(msgspec.Struct, frozen=True):
    """Do the work beside the one that is in flight; the token knows nothing of it."""


class Join(msgspec.Struct, frozen=True):
    """Wait for what comes of it, holding nothing."""


class Replace(msgspec.Struct, frozen=True):
    """Have the holder cancelled, and wait for that."""


class Share(msgspec.Struct, frozen=True):
    """The outcome that is there is the asker's too."""


class Reject(msgspec.Struct, frozen=True):
    """The item fails, in words. `is_final`: nobody shall wait for this token any more, the verdict is everybody's."""

    message: str
    is_final: bool = False


Judgement = Run | RunUnregistered | Join | Replace | Share | Reject


def judge(fact: Fact, asker: Asker) -> Judgement:
    """What the asker does."""
    match fact:
        case None:
            return Run()
        case InFlight():
            return _in_flight(fact, asker)
        case Done():
            return _done(fact, asker)
        case Lost(promotions, was_awaited):
            if not was_awaited:
                return Run()
            if promotions >= PROMOTIONS_ALLOWED:
                return Reject(f"the work of token {asker.token!r} was lost {promotions + 1} times in a row", is_final=True)
            return Run(promotions + 1)
        case unknown:
            assert_never(unknown)


def _in_flight(fact: InFlight, asker: Asker) -> Judgement:
    if asker.if_running == "replace":
        return Replace()
    if fact.payload != asker.payload:
        return Reject(mismatch(asker.token, "is in flight", fact.holder, fact.payload, asker.payload))
    match asker.if_running:
        case "join":
            return Join()
        case "reject":
            return Reject(f"token {asker.token!r} is in flight: {fact.holder} does its work")
        case "run_anyway":
            return RunUnregistered()
        case unknown:
            assert_never(unknown)


def _done(fact: Done, asker: Asker) -> Judgement:
    is_same = fact.payload == asker.payload
    # The asker waited for this very verdict, success or not: a joiner does not try again what has just failed.
    if fact.is_news:
        if is_same:
            return Share()
        return Reject(mismatch(asker.token, "was done", fact.holder, fact.payload, asker.payload))
    # A failure stands for nothing; neither does what the asker itself is to do again.
    if not fact.is_success or fact.is_own:
        return Run()
    # The name is the same and the work is another: an edited prompt, mostly.
    if not is_same:
        if asker.if_changed == "rerun":
            return Run()
        return Reject(mismatch(asker.token, "was done", fact.holder, fact.payload, asker.payload))
    if fact.is_this_run:
        # Whatever `if_done` says, which is about other runs. An item that asks while the work is in flight joins it; whether it
        # asks then or a moment later is chance, and must make no difference.
        return Share()
    # Of another run: only for as long as the asker takes it for good.
    if asker.is_fresh or fact.age >= asker.ttl:
        return Run()
    match asker.if_done:
        case "replay":
            return Share()
        case "rerun":
            return Run()
        case "reject":
            return Reject(f"token {asker.token!r} was done already, by {fact.holder}")
        case unknown:
            assert_never(unknown)


def mismatch(token: str, what: str, holder: str, theirs: str, mine: str) -> str:
    """The words for one token that stands for two different works."""
    return f"token {token!r} {what} with another payload: {holder} has {theirs}, this item has {mine}"
