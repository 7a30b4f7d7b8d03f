"""What an item has cost once one more of its attempts has ended. Pure.

A cost that no agent told is unknown and stays so: an attempt whose agent was killed, was lost, or never tells, is counted
without a cost. An attempt that never began is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from orchestrator.core.costs import MOST_DOLLARS, Cost
from orchestrator.store.records import Started
from orchestrator.store.spending import NANO, Spending, add_spent, tokens_of
from orchestrator.store.spending_records import AgentSpent, Spent
from orchestrator.workers.protocol import AttemptClass, Outcome, Usage

_NOTHING_BEGAN = (AttemptClass.CANNOT_START, AttemptClass.SHORTAGE, AttemptClass.NOT_BEGUN)
"""Ends of attempts of which nothing was ever started."""

NOT_PLAYED = (AttemptClass.LOST, AttemptClass.CANCELLED, *_NOTHING_BEGAN)
"""Ends of attempts in a replay that say nothing of what was recorded: it is not told in their place, and will be played."""


def nano_usd(dollars: float | None) -> int | None:
    """Whole billionths of a dollar; None if unknown, or if the number is no amount of money: an agent may tell anything."""
    if dollars is None or not 0 <= dollars <= MOST_DOLLARS:
        return None
    return round(dollars * NANO)


def dollars(nano: int | None) -> float | None:
    """Dollars for JSON: the nearest float."""
    return None if nano is None else nano / NANO


def cost_of_attempt(outcome: Outcome) -> int | None:
    """What the attempt alone cost, in billionths of a dollar, as its agent told; None: it told nothing."""
    return nano_usd(outcome.agent.cost_usd) if outcome.agent is not None else None


def usage_of_attempt(outcome: Outcome) -> Usage | None:
    """What the attempt alone used, as its agent told."""
    return outcome.agent.usage if outcome.agent is not None else None


def is_paid(outcome: Outcome, agent: str | None) -> bool:
    """Whether the attempt began and was an agent's. `agent`: which one was to make it; None: a command was."""
    return outcome.attempt_class not in _NOTHING_BEGAN and (outcome.agent is not None or agent is not None)


def charge_of(outcome: Outcome, agent: str | None) -> Cost | None:
    """What the attempt is charged with; None if it is not paid for. `agent` as of `is_paid`."""
    if not is_paid(outcome, agent):
        return None
    return Cost(nano_usd=cost_of_attempt(outcome), tokens=tokens_of(usage_of_attempt(outcome)))


def is_charged(start: Started, outcome: Outcome, spent: Spent | None) -> bool:
    """Whether the attempt cost something, known or not: one of an agent, or of a child run with agents.

    An attempt that was played from a capsule cost nothing. `spent`: what the item has cost with this attempt.
    """
    return spent is not None and start.played is None and (bool(start.child) or is_paid(outcome, start.agent))


def spent_after_attempt(
    before: Spent | None,
    outcome: Outcome,
    *,
    agent: str | None,
    model: str | None,
    is_adopted: bool,
    is_promoted: bool = False,
) -> Spent | None:
    """What the item has cost with this attempt; None if no agent has worked for the item.

    `agent`, `model`: which was to make the attempt; they count where the outcome names none. `is_adopted`: the outcome was taken
    over from a supervisor that was killed. `is_promoted`: it took its token over from another item, whose work was
    lost.
    """
    if not is_paid(outcome, agent):
        return before
    report, cost, usage = outcome.agent, cost_of_attempt(outcome), usage_of_attempt(outcome)
    tokens = tokens_of(usage)
    # Unknown is counted beside the sums, so that a sum never passes for more than is known.
    past = before or Spent()
    attempt = AgentSpent(
        agent=report.agent if report is not None else agent or "",
        model=report.model or model if report is not None else model,
        attempts=1,
        unknown=int(cost is None),
        nano_usd=cost or 0,
        untold=int(tokens is None),
        usage=usage or Usage(),
        after_loss=int(past.is_lost or (before is None and is_promoted)),
    )
    # A lost attempt, or one that was ended, has to be paid for again: its adoption saved nothing.
    is_kept = is_adopted and outcome.attempt_class not in (AttemptClass.LOST, AttemptClass.CANCELLED)
    return msgspec.structs.replace(
        past,
        agents=_with(past.agents, attempt),
        last_nano_usd=cost,
        last_tokens=tokens,
        is_lost=outcome.attempt_class is AttemptClass.LOST,
        adopted=past.adopted + is_kept,
        adopted_nano_usd=past.adopted_nano_usd + (cost or 0) * is_kept,
    )


def spent_after_child(before: Spent | None, child: str, agents: Sequence[AgentSpent]) -> Spent | None:
    """What the item has cost once an attempt of its child run `child` has ended. `agents`: what that run has cost in all.

    None if no agent has worked for the item.
    """
    if before is None and not agents:
        return None
    past = before or Spent()
    # A child run tells its whole sum each time: the last attempt cost what has been added since.
    known = Spent(children={child: list(past.children.get(child, ()))})
    spent = msgspec.structs.replace(past, children={**past.children, child: list(agents)})
    since = Spending()
    since.take_end(0, Spent(children={child: list(agents)}), known)
    more = since.of_children.values()
    return msgspec.structs.replace(
        spent,
        last_nano_usd=sum(each.nano_usd for each in more),
        last_tokens=sum(tokens_of(each.usage) or 0 for each in more),
    )


def spent_after_replay(before: Spent | None, outcome: Outcome) -> Spent | None:
    """What the item has cost, and was spared, once it has taken over the outcome of another item's work."""
    if outcome.agent is None:
        return before
    past = before or Spent()
    return msgspec.structs.replace(
        past,
        is_lost=False,  # what it does from here on is no repetition of an attempt of its own
        replayed=past.replayed + 1,
        replayed_nano_usd=past.replayed_nano_usd + (cost_of_attempt(outcome) or 0),
    )


def _with(spent: list[AgentSpent], attempt: AgentSpent) -> list[AgentSpent]:
    """`spent` with one more attempt: each agent and model once, in the order in which they came."""
    for place, each in enumerate(spent):
        if (each.agent, each.model) == (attempt.agent, attempt.model):
            return [*spent[:place], add_spent(each, attempt), *spent[place + 1 :]]
    return [*spent, attempt]
