"""A small world of runs, nested in each other's attempts, with slots, pools and tokens that are really taken and let go.

Independent of `core.cycles`: it knows no graph. Who is stuck is found by letting everybody go on who can, until nobody can.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.core.deadlocks import Posting, Wait, still_waiting, waits_that_matter

POOLS = {"p": 1, "q": 2}
TOKENS = ("t", "u", "v")


@dataclass
class Item:
    name: str
    run: int
    token: str | None
    pool: str | None
    state: Literal["waiting", "running", "ended"] = "waiting"
    attempt: int = 0
    has_token: bool = False
    lacks: str | None = None
    """The resource that was not to be had when it last tried. It tries again when that is free."""


@dataclass
class Run:
    number: int
    slots: int
    parent: tuple[Item, str] | None
    """The item whose attempt started it, and the mark of that attempt."""
    mark: str
    ancestors: tuple[str, ...]
    items: list[Item] = field(default_factory=list)
    observed: list[Wait] = field(default_factory=list)
    observed_at: float = 0.0
    posting: Posting | None = None

    @property
    def is_over(self) -> bool:
        return all(item.state == "ended" for item in self.items)


class World:
    """All runs. Each change is one step of one item, as a supervisor would make it: all that it needs at once, or nothing."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    @property
    def items(self) -> list[Item]:
        return [item for run in self.runs for item in run.items]

    @property
    def running(self) -> list[Item]:
        return [item for item in self.items if item.state == "running"]

    def mark(self, item: Item) -> str:
        return f"{self.key(item)}/{item.attempt}"

    def key(self, item: Item) -> str:
        return f"{self.runs[item.run].mark}/{item.name}"

    def add_run(self, parent: Item | None, slots: int, needs: list[tuple[str | None, str | None]]) -> None:
        number = len(self.runs)
        above = () if parent is None else (*self.runs[parent.run].ancestors, self.mark(parent))
        mark = f"r{number}.n" if parent is None else f"{above[-1]}/r{number}.n"
        run = Run(number, slots, None if parent is None else (parent, above[-1]), mark, above)
        # What an ancestor holds the token of is refused by the token desk at once.
        theirs = {item.token for item in self.items if item.has_token and self.mark(item) in above}
        for index, (token, pool) in enumerate(needs):
            run.items.append(Item(f"i:{index}", number, None if token in theirs else token, pool))
        self.runs.append(run)

    def missing(self, item: Item) -> dict[str, tuple[str, ...]]:
        """Resource -> its holders, of all that it cannot have now, in the order in which it tries."""
        found: dict[str, tuple[str, ...]] = {}
        run = self.runs[item.run]
        here = tuple(self.mark(other) for other in run.items if other.state == "running")
        if len(here) >= run.slots:
            found[f"a slot of r{run.number}"] = here
        if not item.has_token:
            found |= {
                f"token {item.token}": (self.key(other),) for other in self.items if other.has_token and other.token == item.token
            }
        if item.pool is not None:
            theirs = tuple(self.mark(other) for other in self.running if other.pool == item.pool)
            if len(theirs) >= POOLS[item.pool]:
                found[f"pool {item.pool}"] = theirs
        return found

    def try_start(self, item: Item) -> bool:
        if item.state != "waiting":
            return False
        missing = self.missing(item)
        if item.lacks not in missing:
            item.lacks = next(iter(missing), None)
        if item.lacks is not None:
            return False
        item.state = "running"
        item.attempt += 1
        item.has_token = item.token is not None
        return True

    def may_end(self, item: Item) -> bool:
        return item.state == "running" and all(
            run.is_over for run in self.runs if run.parent is not None and run.parent[0] is item
        )

    def try_end(self, item: Item) -> bool:
        if not self.may_end(item):
            return False
        self._publish(item)
        return True

    def try_fail_once(self, item: Item) -> bool:
        """The attempt fails and another will be made: the token stays reserved."""
        if not self.may_end(item):
            return False
        item.state = "waiting"
        return True

    def give_up(self, run_mark: str, wait: Wait) -> None:
        """Fail the victim, as the supervisor does it: of a token all of the run that wait for it, else one."""
        run = next(run for run in self.runs if run.mark == run_mark)
        waiting = [item for item in run.items if item.state == "waiting" and item.lacks == wait.resource]
        assert wait.item in [item.name for item in waiting], "the victim does not wait for this"
        for item in waiting:
            if item.name == wait.item or wait.resource.startswith("token"):
                self._publish(item)

    def _publish(self, item: Item) -> None:
        item.state = "ended"
        if item.has_token:
            item.has_token = False
            for joiner in self.items:
                if joiner.state == "waiting" and joiner.lacks == f"token {item.token}":
                    joiner.state = "ended"

    def end_all(self) -> None:
        """Everybody ends who can, until nobody can."""
        while sum(self.try_start(item) or self.try_end(item) for item in self.items):
            pass

    def stuck(self) -> set[str]:
        """The items that will never end, if from now on everybody ends as soon as he can and starts nothing more."""
        ahead = copy.deepcopy(self)
        ahead.end_all()
        return {ahead.key(item) for item in ahead.items if item.state != "ended"}

    def waits_of(self, run: Run, named: set[str]) -> list[Wait]:
        waits = [
            Wait(item=item.name, resource=item.lacks, holders=self.missing(item)[item.lacks], reserves=item.has_token)
            for item in run.items
            if item.state == "waiting" and item.lacks in self.missing(item)
        ]
        return waits_that_matter(waits, run.mark, is_nested=bool(run.ancestors), named=named)

    def observe(self, run: Run, now: float, settle: float) -> None:
        """What the board does for a run: it looks, and posts what has been so for a while, up to the look before."""
        others = [other.posting for other in self.runs if other.posting is not None and not other.is_over]
        named = {holder for posting in others for wait in posting.waits for holder in wait.holders}
        seen = run.observed_at
        run.observed = still_waiting(run.observed, self.waits_of(run, named), now)
        run.observed_at = now
        settled = tuple(wait for wait in run.observed if now - wait.since >= settle)
        run.posting = Posting(mark=run.mark, ancestors=run.ancestors, seen=seen, waits=settled) if settled else None

    def postings(self) -> list[Posting]:
        """What is on the board of runs whose supervisors live."""
        return [run.posting for run in self.runs if run.posting is not None and not run.is_over]

    def snapshot(self) -> list[Posting]:
        """What the board would say if all looked at one instant."""
        named = {self.key(item) for item in self.items}
        return [
            Posting(mark=run.mark, ancestors=run.ancestors, seen=1.0, waits=tuple(waits))
            for run in self.runs
            if (waits := self.waits_of(run, named))
        ]
