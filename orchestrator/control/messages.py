"""What may be asked of a living supervisor, and what it replies: stop, pause, flush, cancel, other slots, why an item waits.

A request is one of these structs, told by its tag. Its words stay what they are: a command of another version may send it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from orchestrator.control.named_items import NamedItems, Ranges, all_items


class StopRequest(msgspec.Struct, frozen=True, tag="stop"):
    """Drain the run, or (`now`) end what runs at once."""

    now: bool = False


class Flush(msgspec.Struct, frozen=True, tag="flush"):
    """Make durable what has ended; disturb nothing."""


class CancelRequest(msgspec.Struct, frozen=True, tag="cancel", omit_defaults=True):
    """Cancel the run (`items` None) or some items, each as (job id, index); `ranges`: of more items (`named_items`).

    `replaced_by` (`RUN/ITEM`): on behalf of an item that takes the token of these (`if_running = "replace"`).
    """

    items: list[tuple[str, int]] | None = None
    replaced_by: str | None = None
    ranges: Ranges = {}

    @classmethod
    def of(cls, items: Sequence[tuple[str, int]] | None, replaced_by: str | None = None) -> CancelRequest:
        """Cancel the run (None) or these items, however many."""
        named = NamedItems.of(items) if items is not None else None
        return cls(replaced_by=replaced_by) if named is None else cls(named.items, replaced_by, named.ranges)


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Start nothing more, let what runs finish however long it takes, and end `paused`."""


class SetSlots(msgspec.Struct, frozen=True, tag="set_slots"):
    """From now on so many items at once (at least 1), also in resumes."""

    slots: int


class SetBudget(msgspec.Struct, frozen=True, tag="set_budget"):
    """From now on the run (`job` ""), or this job, may cost so much: dollars (`budget_usd`) or tokens; also in resumes."""

    kind: Literal["budget_usd", "budget_tokens"]
    amount: float
    job: str = ""


class Explain(msgspec.Struct, frozen=True, tag="explain"):
    """Why these items, each (job id, index), wait. The reply's `waits` has one entry for each, in this order."""

    items: list[tuple[str, int]]


class CountWaiting(msgspec.Struct, frozen=True, tag="count_waiting"):
    """How many items of each job wait, holding nothing, of which the records tell only some; and which accounts are spared."""


class Approve(msgspec.Struct, frozen=True, tag="approve", omit_defaults=True):
    """The choice that somebody made at these gates, each (job id, index), and in `ranges`.

    `choice` None: the one that approves.
    """

    items: list[tuple[str, int]]
    choice: str | None = None
    message: str = ""
    ranges: Ranges = {}

    @classmethod
    def of(cls, gates: Sequence[tuple[str, int]], choice: str | None = None, message: str = "") -> Approve:
        """For these gates, however many."""
        named = NamedItems.of(gates)
        return cls(named.items, choice, message, named.ranges)


class GoOn(msgspec.Struct, frozen=True, tag="go_on"):
    """The child run of this item, (job id, index), has the answer that it waited for."""

    item: tuple[str, int]


class RetryRequest(msgspec.Struct, frozen=True, tag="retry", omit_defaults=True):
    """Run these items, each (job id, index), and in `ranges`, one more time.

    `feedback`, `model`, `prompt` and `onto` as in `records.RetryAsked`.
    """

    items: list[tuple[str, int]]
    feedback: str = ""
    model: str | None = None
    prompt: str | None = None
    ranges: Ranges = {}
    onto: str | None = None

    @classmethod
    def of(
        cls,
        items: Sequence[tuple[str, int]],
        feedback: str = "",
        model: str | None = None,
        prompt: str | None = None,
        onto: str | None = None,
    ) -> RetryRequest:
        """For these items, however many."""
        named = NamedItems.of(items)
        return cls(named.items, feedback, model, prompt, named.ranges, onto)

    @property
    def all_items(self) -> list[tuple[str, int]]:
        """Every item, each (job id, index)."""
        return all_items(self.items, self.ranges)


Request = (
    StopRequest | Flush | CancelRequest | Pause | SetSlots | SetBudget | Explain | CountWaiting | Approve | GoOn | RetryRequest
)


class WhyItWaits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an item that has not ended waits for: `words`, empty if it waits for nothing (it runs), and who holds it.

    `holders` are processes, as far as they are known; whether one of them is stopped is for the asker to find out.
    `is_waiting`: it was tried, and holds nothing; else it stands in the line.
    """

    words: str = ""
    holders: list[int] = []
    is_waiting: bool = False


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the supervisor said: whether it does it, and a line for the user.

    `waits`: the answer to `Explain`; `waiting`, job id -> items, and `spared`, a line an account: to `CountWaiting`.
    """

    ok: bool
    message: str
    waits: list[WhyItWaits] = []
    waiting: dict[str, int] = {}
    spared: list[str] = []
