"""What a run has cost, and what it was spared: summed from its records alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from orchestrator.reading.money.costs import dollars, is_charged
from orchestrator.store.records import Started
from orchestrator.store.run_history import RunHistory
from orchestrator.store.spending import Spending, add_usage, children_of, cost_of, tokens_of
from orchestrator.store.spending_records import Spent
from orchestrator.workers.protocol import Outcome, Usage


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """`nano_usd`: billionths of a dollar, of the attempts whose cost is known (None: of none); `unknown`: how many others.

    `replayed_nano_usd`: what outcomes of other items had cost that were taken over instead of being paid once more;
    `adopted_nano_usd`: the same of workers that outlived their supervisor. `untold`: attempts whose tokens are unknown.
    `paid_twice`: attempts of items whose work was done and that nobody had asked for again; there must be none. `after_loss`:
    attempts that made again what a lost one did; whether that had been paid for is unknown.
    """

    attempts: int = 0
    nano_usd: int | None = None
    unknown: int = 0
    usage: Usage = Usage()
    untold: int = 0
    replayed: int = 0
    replayed_nano_usd: int = 0
    adopted: int = 0
    adopted_nano_usd: int = 0
    paid_twice: int = 0
    after_loss: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether no agent was at work, nor anything spared."""
        return not (self.attempts or self.replayed)

    @property
    def cost_usd(self) -> float | None:
        """Dollars, of the attempts whose cost is known (None: of none); 0 if only outcomes of other items were taken over."""
        return 0.0 if self.replayed and not self.attempts else dollars(self.nano_usd)

    @property
    def known_paid_twice(self) -> int | None:
        """How many attempts were paid for twice for certain; None if that is of none, and not known of others."""
        return None if self.after_loss and not self.paid_twice else self.paid_twice

    def as_json(self) -> dict[str, Any]:
        """The object `ledger` of `run --json`; costs in dollars."""
        return {
            "attempts": self.attempts,
            "cost_usd": self.cost_usd,
            "unknown_costs": self.unknown,
            "usage": usage_json(self.usage),
            "tokens": tokens_of(self.usage),
            "replayed": self.replayed,
            "saved_by_replay_usd": dollars(self.replayed_nano_usd),
            "adopted": self.adopted,
            "saved_by_adoption_usd": dollars(self.adopted_nano_usd),
            "paid_twice": self.known_paid_twice,
            "unknown_paid_twice": self.after_loss,
        }


def ledger_of(history: RunHistory) -> Ledger:
    """The ledger of the whole run, with its child runs, and with jobs that an update has removed since."""
    jobs = [job.spending for job in history.jobs.values()]
    return msgspec.structs.replace(_sum([job.whole() for job in jobs]), paid_twice=sum(job.paid_twice for job in jobs))


class KeptLedger:
    """The ledger of a run that goes on. Only the jobs of which something was counted since are added up anew."""

    def __init__(self, history: RunHistory) -> None:
        self._history = history
        self._all = Spending()
        self._seen: dict[str, tuple[Spending, int, Spent]] = {}
        """By job: its sums as they were at the last look, and what they said."""

    def now(self) -> Ledger:
        """The same as `ledger_of`."""
        paid_twice = 0
        for job in self._history.jobs.values():
            spending = job.spending
            paid_twice += spending.paid_twice
            known, changes, before = self._seen.get(job.id, (None, 0, Spent()))
            if spending is not known or spending.changes != changes:
                whole = spending.whole()
                self._all.count(whole, before)
                self._seen[job.id] = spending, spending.changes, whole
        return msgspec.structs.replace(_sum([self._all.whole()]), paid_twice=paid_twice)


def ledger_of_item(spent: Spent, before: Spent | None = None) -> Ledger:
    """The ledger of one item; with `before`, of what the item has cost since it had cost that."""
    since = Spending()
    since.take_end(0, spent, before)
    return _sum([since.whole()])


class Price(msgspec.Struct, frozen=True):
    """What one attempt alone cost (dollars) and used (tokens by kind). None: no agent was at work, or it did not tell."""

    usd: float | None = None
    usage: dict[str, int] | None = None


NO_PRICE = Price()


def price_of_attempt(start: Started, outcome: Outcome, spent: Spent | None, before: Spent | None) -> Price:
    """Of an attempt that has ended. `spent`, `before`: what its item has cost with it and without it."""
    if spent is None or not is_charged(start, outcome, spent):
        return NO_PRICE
    return Price(dollars(spent.last_nano_usd), usage_json(ledger_of_item(spent, before).usage))


def ledger_of_items(spent: Sequence[Spent]) -> Ledger:
    """The ledger of several items together."""
    return _sum(spent)


def usage_json(usage: Usage) -> dict[str, int] | None:
    """The counts that agents told, by kind; None if they told none."""
    told = {field: count for field in Usage.__struct_fields__ if (count := getattr(usage, field)) is not None}
    return told or None


def _sum(spent: Sequence[Spent]) -> Ledger:
    agents = [each for one in spent for each in (*one.agents, *children_of(one))]
    usage = Usage()
    for each in agents:
        usage = add_usage(usage, each.usage)
    return Ledger(
        attempts=sum(each.attempts for each in agents),
        nano_usd=cost_of(agents),
        unknown=sum(each.unknown for each in agents),
        usage=usage,
        untold=sum(each.untold for each in agents),
        replayed=sum(each.replayed for each in spent),
        replayed_nano_usd=sum(each.replayed_nano_usd for each in spent),
        adopted=sum(each.adopted for each in spent),
        adopted_nano_usd=sum(each.adopted_nano_usd for each in spent),
        after_loss=sum(each.after_loss for each in agents),
    )
