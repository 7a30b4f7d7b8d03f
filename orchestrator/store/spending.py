"""What the agents of one job have cost, folded from the ends of its items.

Each end tells what its item has cost so far, over all attempts. So an end adds the difference to the end before it.

Invariant: the sums of a journal, which has every end, and of a checkpoint, which has the last ones, are the same. Money is whole
billionths of a dollar. Memory: 16 bytes an item, and only for jobs of agents.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import msgspec

from orchestrator.store.spending_records import AgentSpent, Spent
from orchestrator.workers.protocol import Usage

NANO = 1_000_000_000
"""So many of our units are a dollar."""

_NOTHING = -2
_UNKNOWN = -1

_USAGE_FIELDS = Usage.__struct_fields__


def tokens_of(usage: Usage | None) -> int | None:
    """All tokens that a model read and wrote, cached or not; None: not told. Reasoning is part of the output that is told."""
    if usage is None:
        return None
    written = usage.output_tokens if usage.output_tokens is not None else usage.reasoning_tokens
    told = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, written)
    counts = [each for each in told if each is not None]
    return sum(counts) if counts else None


def add_usage(one: Usage, other: Usage) -> Usage:
    """Both together; what neither tells stays untold."""
    return _each(one, other, 1)


def add_spent(one: AgentSpent, other: AgentSpent) -> AgentSpent:
    """Both together, as of the agent and model of `one`."""
    return _combined(one, other, 1)


def cost_of(spent: Iterable[AgentSpent]) -> int | None:
    """Billionths of a dollar, of the attempts whose cost is known; None: it is of none."""
    known = [each for each in spent if each.attempts > each.unknown]
    return sum(each.nano_usd for each in known) if known else None


class Spending:
    """Of one job. `by_agent`: what its attempts have cost, by agent and model; `of_children`: what its child runs' have cost."""

    def __init__(self) -> None:
        self.by_agent: dict[tuple[str, str | None], AgentSpent] = {}
        self.of_children: dict[tuple[str, str | None], AgentSpent] = {}
        self.replayed = self.replayed_nano_usd = 0
        self.adopted = self.adopted_nano_usd = 0
        self.paid_twice = 0
        """Attempts of items that had succeeded, or whose outcome was not waited for, without anybody having asked for them."""
        self.former = Spent()
        """Of all this, what items cost that began anew since: no end tells it any more."""
        self.changes = 0
        """How often something was counted: the sums are the same as long as this is."""
        self._last_nano_usd = array("q")
        self._last_tokens = array("q")

    def is_known(self, index: int) -> bool:
        """Whether something was spent, or saved, for item `index`."""
        return index < len(self._last_nano_usd) and self._last_nano_usd[index] != _NOTHING

    def take_end(self, index: int, spent: Spent, before: Spent | None) -> None:
        """The item has cost `spent` so far; `before` is what its end before this one told."""
        self.count(spent, before or Spent())
        self._put(self._last_nano_usd, index, spent.last_nano_usd)
        self._put(self._last_tokens, index, spent.last_tokens)

    def take_former(self, former: Spent, paid_twice: int) -> None:
        """Count what is told of the job as a whole, and of no item."""
        self.count(former, self.former)
        self.former = former
        self.paid_twice += paid_twice

    def begin_anew(self) -> Spending:
        """The same sums, of a job that has begun anew and has none of these items any more."""
        new = Spending()
        new.take_former(self.whole(), self.paid_twice)
        return new

    def count(self, spent: Spent, before: Spent) -> None:
        """Count what `spent` is more than `before`, of whatever both are the sums."""
        self.changes += 1
        _add(self.by_agent, spent.agents, before.agents)
        _add(self.of_children, children_of(spent), children_of(before))
        self.replayed += spent.replayed - before.replayed
        self.replayed_nano_usd += spent.replayed_nano_usd - before.replayed_nano_usd
        self.adopted += spent.adopted - before.adopted
        self.adopted_nano_usd += spent.adopted_nano_usd - before.adopted_nano_usd

    def last_costs(self) -> Iterator[tuple[int, int | None, int | None]]:
        """(index, billionths of a dollar, tokens) of the last attempt of each item; None: unknown."""
        for index, nano_usd in enumerate(self._last_nano_usd):
            if nano_usd != _NOTHING:
                tokens = self._last_tokens[index]
                yield index, None if nano_usd == _UNKNOWN else nano_usd, None if tokens == _UNKNOWN else tokens

    def whole(self) -> Spent:
        """All of it, as if it were one item's."""
        return Spent(
            agents=list(self.by_agent.values()),
            children={"": list(self.of_children.values())} if self.of_children else {},
            replayed=self.replayed,
            replayed_nano_usd=self.replayed_nano_usd,
            adopted=self.adopted,
            adopted_nano_usd=self.adopted_nano_usd,
        )

    @staticmethod
    def _put(column: array[int], index: int, value: int | None) -> None:
        missing = index + 1 - len(column)
        if missing > 0:
            # Doubled, so that items which end in order do not copy the arrays each time.
            column.extend([_NOTHING] * max(missing, len(column)))
        column[index] = _UNKNOWN if value is None else value


def children_of(spent: Spent) -> list[AgentSpent]:
    """What all child runs have cost, each agent and model once."""
    found: dict[tuple[str, str | None], AgentSpent] = {}
    for each in spent.children.values():
        _add(found, each, ())
    return list(found.values())


def _add(sums: dict[tuple[str, str | None], AgentSpent], now: Iterable[AgentSpent], before: Iterable[AgentSpent]) -> None:
    """Add what `now` is more than `before`, in which each agent and model stands once."""
    past = {(each.agent, each.model): each for each in before}
    for each in now:
        key = each.agent, each.model
        more = _combined(each, past[key], -1) if key in past else each
        sums[key] = add_spent(sums[key], more) if key in sums else more


def _combined(one: AgentSpent, other: AgentSpent, sign: int) -> AgentSpent:
    return msgspec.structs.replace(
        one,
        attempts=one.attempts + sign * other.attempts,
        unknown=one.unknown + sign * other.unknown,
        nano_usd=one.nano_usd + sign * other.nano_usd,
        untold=one.untold + sign * other.untold,
        after_loss=one.after_loss + sign * other.after_loss,
        usage=_each(one.usage, other.usage, sign),
    )


def _each(one: Usage, other: Usage, sign: int) -> Usage:
    """`one` plus or minus `other`, field by field. A field is untold only if both leave it untold.

    Reason: sums only grow, so a field that was told of the smaller sum is told of the larger one.
    """
    pairs = ((field, getattr(one, field), getattr(other, field)) for field in _USAGE_FIELDS)
    return Usage(**{field: (a or 0) + sign * (b or 0) for field, a, b in pairs if a is not None or b is not None})
