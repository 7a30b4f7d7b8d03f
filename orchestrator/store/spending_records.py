"""Records of money and usage: what an item has cost so far, and what no end of an item tells."""

from __future__ import annotations

import msgspec

from orchestrator.workers.protocol import Usage


class AgentSpent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What attempts of one agent with one model have cost: `nano_usd` those whose cost was told, `unknown` others were there.

    Money is counted in billionths of a dollar: whole numbers, so that sums are exact in any order. `usage` is what was told;
    `untold` attempts told none. `after_loss` of them made again what an attempt did that was lost: whether that was paid for, and
    so paid for twice, nobody knows.
    """

    agent: str
    model: str | None = None
    attempts: int = 0
    unknown: int = 0
    nano_usd: int = 0
    untold: int = 0
    usage: Usage = Usage()
    after_loss: int = 0


class Spent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What an item has cost so far in this run, over all attempts that agents made for it, whatever came of them.

    `replayed` outcomes were taken over from other items (they count no attempt), `adopted` ones from workers that had outlived
    their supervisor; what these had cost, as far as it is known, would else have been paid once more.
    """

    agents: list[AgentSpent] = []
    children: dict[str, list[AgentSpent]] = {}
    """What agents of its child runs have cost, by the id of the run, whose own records tell it too."""
    last_nano_usd: int | None = None
    """Of the last attempt alone; None: unknown."""
    last_tokens: int | None = None
    is_lost: bool = False
    """The last attempt was lost: the next one makes it again."""
    replayed: int = 0
    replayed_nano_usd: int = 0
    adopted: int = 0
    adopted_nano_usd: int = 0


class JobSpent(msgspec.Struct, frozen=True, tag="job_spent", kw_only=True, omit_defaults=True):
    """Of a job, what no end of an item tells: the cost of items that an update let begin anew, and how often was paid twice."""

    job: str
    spent: Spent = Spent()
    paid_twice: int = 0
