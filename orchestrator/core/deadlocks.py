"""Deadlocks: which item waits for which across runs, over tokens, pools, slots and nested runs.

Holders are named: an *item* by the mark of its attempts without the attempt's number, an *attempt* by its whole mark.

- A wait is stuck if all of its holders are stuck, for any one of them would do: a token has one holder, a pool one a slot.
- An item or attempt is stuck if a run that is nested in it, at any depth, has a stuck wait. The run ends only when all of its
  items have ended; the attempt is taken to end only when the runs that it started have ended.
- An item that keeps its token while it waits (reserved through backoff) is stuck if one of its own waits is: it needs them all.
- Everything else is not stuck: holders without a name, attempts that simply run, items that wait for a time.

Promise: a deadlock that is told is one; it stays until somebody outside acts; and all runs that look at the same postings choose
the same victim.

Postings are written at different moments. So only waits that held at one common instant make a deadlock: postings that were read
late or early are never put together to a cycle that never was.

A knot is a set of stuck waits that depend on nothing but each other. It loses one wait at a time. Waits that are merely stuck
behind a knot are never victims: they go on when the knot is undone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

_NOBODY: frozenset[int] = frozenset()
_SHOWN_CHARACTERS = 80


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """What an item of a run cannot go on without.

    `item`: its name in its run ("port:0"); of `count` items that wait for the same and hold nothing, any one. `resource`: its
    whole name in words ("token ship", "pool anthropic"). `holders`: each holder that could give it away, by the name of an item
    (tokens) or the mark of an attempt (slots, pools, borrowed slots: one for each unit that would do); "" for a holder that is
    not known, and so is not stuck. `reserves`: the item keeps its token meanwhile. `since` (monotonic seconds): it waits for just
    these holders since then.
    """

    item: str
    resource: str
    holders: tuple[str, ...]
    reserves: bool = False
    count: int = 1
    since: float = 0.0


class Posting(msgspec.Struct, frozen=True, kw_only=True):
    """What one run waits for. `mark`: of the run (what its items' marks begin with); `ancestors`: marks of the attempts it is in.

    All `waits` held from their `since` to `seen` (monotonic seconds), without a break.
    """

    mark: str
    ancestors: tuple[str, ...] = ()
    seen: float
    waits: tuple[Wait, ...]


class Deadlock(msgspec.Struct, frozen=True):
    """A knot: the `mark`s of the `runs` in it, the wait that has to be given up and the mark of its run, the cycle in words."""

    runs: frozenset[str]
    victim_run: str
    victim: Wait
    words: str


def is_known(wait: Wait) -> bool:
    """Whether all of its holders are known: else nothing can come of it."""
    return bool(wait.holders) and all(wait.holders)


def waits_that_matter(waits: Iterable[Wait], mark: str, *, is_nested: bool, named: Collection[str]) -> list[Wait]:
    """Those of a run's `waits` that can be part of a knot. Waits of items that keep no token become one for each resource.

    A wait matters if somebody waits for its item: the attempts that the run is nested in, or a run that named the item as the
    holder of its token (`named`: holders of what is waited for on the board). So a thousand retries that wait for a slot are not
    worth a posting.
    """
    found: dict[tuple[str, str], Wait] = {}
    for wait in filter(is_known, waits):
        # Nobody waits for its token, so that it keeps the token blocks nobody.
        if wait.reserves and f"{mark}/{wait.item}" not in named:
            wait = msgspec.structs.replace(wait, reserves=False)
        if is_nested or wait.reserves:
            same = found.get(_key(wait))
            found[_key(wait)] = wait if same is None else msgspec.structs.replace(same, count=same.count + wait.count)
    return list(found.values())


def still_waiting(before: Iterable[Wait], found: Iterable[Wait], now: float) -> list[Wait]:
    """`found` at `now`, each with its `since`: of `before` if that waited for the same holders, else `now`."""
    known = {_key(wait): wait for wait in before}
    return [
        msgspec.structs.replace(
            wait, since=old.since if (old := known.get(_key(wait))) and set(old.holders) == set(wait.holders) else now
        )
        for wait in found
    ]


def find_deadlocks(postings: Iterable[Posting]) -> list[Deadlock]:
    """Every deadlock that `postings` prove, with its victim; [] if in some order everybody can go on."""
    graph = _Graph(postings)
    # First as if all waits held at once: what is not stuck then is never stuck, and mostly nothing is.
    suspects = graph.stuck_of(graph.all_waits)
    if not suspects:
        return []
    found: list[Deadlock] = []
    accounted: set[int] = set()
    # Waits that have an instant in common have also the one at which the first of them was seen last.
    for instant in sorted({graph.run_of(wait).seen for wait in suspects}, reverse=True):
        stuck = graph.stuck_of({wait for wait in suspects if graph.holds_at(wait, instant)})
        # The same knot is found at several instants: it is told once.
        for knot in graph.knots_of(stuck):
            if accounted.isdisjoint(knot):
                accounted |= knot
                found.append(graph.deadlock_of(knot, stuck))
    return found


def holders_in(notes: Iterable[str | None]) -> tuple[str, ...]:
    """`Wait.holders` from what the lock files of all units say (`RUN/ITEM MARK`); None or "": the unit is free, or does not say.

    Free units must be among the notes: without them the others would look like all that there are.
    """
    return tuple((note or "").rpartition(" ")[2] for note in notes)


def item_of(mark: str) -> str:
    """The name of the item whose attempt has this mark."""
    return mark.rpartition("/")[0]


def in_words(holder: str, *, is_attempt: bool) -> str:
    """RUN/ITEM of an item's name or an attempt's mark."""
    parts = (item_of(holder) if is_attempt else holder).split("/")
    return f"{parts[-2].rpartition('.')[0]}/{parts[-1]}" if len(parts) > 1 else holder


def _shortened(resource: str) -> str:
    return resource if len(resource) <= _SHOWN_CHARACTERS else f"{resource[:_SHOWN_CHARACTERS]}…"


def _key(wait: Wait) -> tuple[str, str]:
    """What makes it the same wait later. Of items that hold nothing any one will do: that some item waits is what counts."""
    return (wait.item if wait.reserves else "", wait.resource)


class _Graph:
    """Waits are numbers. `_blocking`: by the name of an item or attempt, the waits that would keep it from its end."""

    def __init__(self, postings: Iterable[Posting]) -> None:
        self._waits: list[tuple[Posting, Wait]] = []
        self._blocking: dict[str, set[int]] = {}
        for posting in postings:
            above = {*posting.ancestors, *map(item_of, posting.ancestors)}
            for wait in posting.waits:
                number = len(self._waits)
                self._waits.append((posting, wait))
                for name in above | {f"{posting.mark}/{wait.item}"} if wait.reserves else above:
                    self._blocking.setdefault(name, set()).add(number)

    @property
    def all_waits(self) -> Collection[int]:
        return range(len(self._waits))

    def run_of(self, number: int) -> Posting:
        return self._waits[number][0]

    def holds_at(self, number: int, instant: float) -> bool:
        posting, wait = self._waits[number]
        return wait.since <= instant <= posting.seen

    def stuck_of(self, waits: Iterable[int]) -> set[int]:
        """The largest set of `waits` in which every holder of every wait is blocked by a wait of the set."""
        stuck = set(waits)
        while True:
            going_on = {number for number in stuck if not self._is_stuck_among(number, stuck)}
            if not going_on:
                return stuck
            stuck -= going_on

    def _is_stuck_among(self, number: int, stuck: set[int]) -> bool:
        holders = self._waits[number][1].holders
        # Nobody known to hold it: nothing is known to stand in its way.
        return bool(holders) and all(not stuck.isdisjoint(self._blocking.get(holder, _NOBODY)) for holder in holders)

    def knots_of(self, stuck: set[int]) -> list[set[int]]:
        """Sets of stuck waits that all depend on one another and on nothing else, in a fixed order."""
        reached = {number: self._reachable(number, stuck) for number in stuck}
        knots: list[set[int]] = []
        for number in sorted(stuck):
            if not any(number in knot for knot in knots) and all(number in reached[other] for other in reached[number]):
                knots.append(reached[number])
        return knots

    def _next(self, number: int, among: Collection[int]) -> list[int]:
        """The waits of `among` that its holders wait for."""
        holders = self._waits[number][1].holders
        return sorted({other for holder in holders for other in self._blocking.get(holder, _NOBODY) if other in among})

    def _reachable(self, number: int, stuck: set[int]) -> set[int]:
        reached: set[int] = set()
        ahead = [number]
        while ahead:
            for other in self._next(ahead.pop(), stuck):
                if other not in reached:
                    reached.add(other)
                    ahead.append(other)
        return reached

    def deadlock_of(self, knot: set[int], stuck: set[int]) -> Deadlock:
        def preference(number: int) -> tuple[bool, bool, float, str, str, str]:
            posting, wait = self._waits[number]
            # A wait that reserves a token is the last choice: its failure takes along all items that joined it. Then comes a wait
            # that is not the only stuck one of its run: its failure alone does not free the run.
            is_alone = wait.count == 1 and sum(self._waits[other][0] is posting for other in stuck) == 1
            return (not wait.reserves, is_alone, wait.since, posting.mark, wait.item, wait.resource)

        victim = max(knot, key=preference)
        posting, wait = self._waits[victim]
        return Deadlock(
            runs=frozenset(self._waits[number][0].mark for number in knot),
            victim_run=posting.mark,
            victim=wait,
            words=self._cycle_in_words(self._shortest_cycle(victim, knot)),
        )

    def _shortest_cycle(self, start: int, knot: set[int]) -> list[int]:
        """Waits from `start` back to it, each for a holder that the next one blocks. People are told the shortest."""
        came_from: dict[int, int] = {}
        ahead = [start]
        while start not in came_from:
            level, ahead = ahead, []
            for number in level:
                for other in self._next(number, knot):
                    if other not in came_from:
                        came_from[other] = number
                        ahead.append(other)
        cycle = [start]
        while (before := came_from[cycle[-1]]) != start:
            cycle.append(before)
        return [start, *reversed(cycle[1:])]

    def _cycle_in_words(self, cycle: Sequence[int]) -> str:
        """`r2/x waits for pool a, held by r1/p, which waits, through r3/y, for …, held by r1/q, which cannot end before r2/x`."""
        posting, wait = self._waits[cycle[0]]
        me = in_words(f"{posting.mark}/{wait.item}", is_attempt=False)
        text = f"{me} waits for {_shortened(wait.resource)}"
        for number, following in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            holder, is_own = self._link(number, following)
            next_posting, next_wait = self._waits[following]
            name = in_words(f"{next_posting.mark}/{next_wait.item}", is_attempt=False)
            text += f", held by {holder}"
            if following == cycle[0]:
                text += "" if is_own else f", which cannot end before {me}"
            else:
                text += f", which waits{'' if is_own else f', through {name},'} for {_shortened(next_wait.resource)}"
        return text

    def _link(self, number: int, following: int) -> tuple[str, bool]:
        """The holder that `number` waits for and `following` blocks, in words; whether `following` is that item's own wait."""
        posting, wait = self._waits[following]
        own = f"{posting.mark}/{wait.item}"
        ancestors: Mapping[str, bool] = {item_of(mark): False for mark in posting.ancestors} | dict.fromkeys(
            posting.ancestors, True
        )
        holders = self._waits[number][1].holders
        holder = next(holder for holder in holders if holder in ancestors or (holder == own and wait.reserves))
        return in_words(holder, is_attempt=ancestors.get(holder, False)), holder not in ancestors
