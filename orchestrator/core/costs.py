"""What attempts have cost, as the rules need it: sums, and what the next one is likely to cost.

Money is whole billionths of a dollar, usage whole tokens: the rules are the same for both.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import msgspec

MOST_DOLLARS = 1_000_000
"""More is no cost of an attempt and no budget; so all sums, in billionths of a dollar, stay within 64 bits."""
MOST_TOKENS = 1 << 53
"""Of a budget: up to here each number is one of its own, also where it is told as a number of JSON."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt of an agent cost. None: it did not tell, which is not the same as 0."""

    nano_usd: int | None = None
    tokens: int | None = None


class Meter(msgspec.Struct):
    """What a job has cost, in one unit. `known`: the sum of the `told` attempts; `unknown`: how many others there were."""

    known: int = 0
    told: int = 0
    unknown: int = 0
    last: dict[int, int] = msgspec.field(default_factory=dict)
    """Index -> what the last attempt of that item cost, if it told."""
    in_order: list[int] = msgspec.field(default_factory=list)
    """The values of `last`, the smallest first."""

    def charge(self, index: int, amount: int | None) -> None:
        """One more attempt of item `index` has ended."""
        if amount is None:
            self.unknown += 1
        else:
            self.known += amount
            self.told += 1
        self.note_last(index, amount)

    def note_last(self, index: int, amount: int | None) -> None:
        """Note what the last attempt of item `index` cost, without adding it to the sums.

        `in_order` is kept sorted: the median is asked for before each start, of jobs of many items.
        """
        if (past := self.last.pop(index, None)) is not None:
            del self.in_order[bisect_left(self.in_order, past)]
        if amount is not None:
            self.last[index] = amount
            insort(self.in_order, amount)

    @property
    def median(self) -> int | None:
        """Of what the last attempts of the items cost (of two in the middle the dearer one); None: none has told yet."""
        return self.in_order[len(self.in_order) // 2] if self.in_order else None


class Costs(msgspec.Struct):
    """What a job has cost, in both units."""

    nano_usd: Meter = msgspec.field(default_factory=Meter)
    tokens: Meter = msgspec.field(default_factory=Meter)

    def charge(self, index: int, cost: Cost) -> None:
        """One more attempt of item `index` has ended."""
        self.nano_usd.charge(index, cost.nano_usd)
        self.tokens.charge(index, cost.tokens)


class Total(msgspec.Struct):
    """What all jobs of a run have cost, in one unit. `known`, `told`, `unknown`: as in `Meter`.

    `unknown_amount`: what those of the `unknown` attempts count as that are of jobs with a price of their own; `unpriced`: how
    many the others are.
    """

    known: int = 0
    told: int = 0
    unknown: int = 0
    unknown_amount: int = 0
    unpriced: int = 0

    def count(self, meter: Meter, price: int | None, times: int) -> None:
        """Count what a job has cost in (`times` 1), or out (-1). `price`: of its next attempt, as far as the job itself tells."""
        self.known += times * meter.known
        self.told += times * meter.told
        self.unknown += times * meter.unknown
        if price is None:
            self.unpriced += times * meter.unknown
        else:
            self.unknown_amount += times * meter.unknown * price

    @property
    def mean(self) -> int | None:
        """Of all attempts that told; None: none has."""
        return self.known // self.told if self.told else None


class Totals(msgspec.Struct):
    """What all jobs of a run have cost, in both units: no start adds up what each job has cost."""

    nano_usd: Total = msgspec.field(default_factory=Total)
    tokens: Total = msgspec.field(default_factory=Total)


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a run or a job may cost. None: no bound."""

    nano_usd: int | None = None
    tokens: int | None = None


UNBOUND = Bounds()
