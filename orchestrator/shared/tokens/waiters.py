"""The items of one run that wait for what comes of work in flight: they hold nothing, and a thousand of one token cost one look.

Invariant: an item waits for one token at most, or asks again after it has waited (`waited`), never both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from orchestrator.core import tokens as rules
from orchestrator.core.states import ItemRef
from orchestrator.errors import StateRefusedError
from orchestrator.shared.tokens.answers import Asking, RefusedAll, SharedWith, Told, TryAgain
from orchestrator.shared.tokens.holders import Holders
from orchestrator.shared.tokens.record import TokenFiles, TokenPaths, TokenRecord, read_record
from orchestrator.system.locks.lock_file import REAL_LOOK_SECONDS, stamp_of
from orchestrator.workers.processes.identity import boot_clock
from orchestrator.workers.protocol import Outcome


class Waited(msgspec.Struct, frozen=True):
    """What an item has waited for until now. `old_verdict`: claim of one that is no news to it; `claim`: of the work it found.

    `since`: seconds since boot. All that was begun or lost from then on it has waited for too, seen or not: of two holders that
    are gone between two looks the second counts as lost for it as well.
    """

    old_verdict: str | None
    claim: str | None
    since: float

    @classmethod
    def begin(cls, record: TokenRecord | None, old_verdict: str | None) -> Waited:
        """The wait begins, with `record` as what is known of the token."""
        held = record.claim if record is not None and record.state == "held" else None
        return cls(old_verdict, held, boot_clock() / 1e9)

    def was_for(self, record: TokenRecord) -> bool:
        """Whether the item waited for this work."""
        return record.claim == self.claim or record.clock >= self.since


class _Joiner(msgspec.Struct, frozen=True):
    """`is_successor`: it waits for the holder's end only, and shares nothing."""

    asking: Asking
    is_successor: bool
    waited: Waited


class _Joined(msgspec.Struct):
    """Who waits for one token, in item order, and what was seen of it last."""

    paths: TokenPaths
    items: dict[ItemRef, _Joiner] = msgspec.field(default_factory=dict)
    record: TokenRecord | None = None
    stamp: object = None
    look_really_at: float = 0.0


class Waiters:
    """Of one run. `told` collects what they shall be told; `keep` makes another run's outcome this item's own, or gives None."""

    def __init__(self, run_id: str, files: TokenFiles, keep: Callable[[ItemRef, Outcome], Outcome | None]) -> None:
        self.told: list[Told] = []
        self._run_id = run_id
        self._files = files
        self._keep = keep
        self._joined: dict[str, _Joined] = {}
        self._joins: dict[ItemRef, str] = {}
        self._has_waited: dict[ItemRef, Waited] = {}

    def __len__(self) -> int:
        """How many tokens are waited for."""
        return len(self._joined)

    def join(self, asking: Asking, record: TokenRecord | None, *, is_successor: bool, old_verdict: str | None) -> None:
        """The item waits. `record`: what was seen of the token; `old_verdict`: claim of a verdict that is no news to it."""
        item, token = asking.item, asking.token
        joined = self._joined.get(token)
        if joined is None:
            joined = self._joined[token] = _Joined(self._files.paths(token))
        joined.record = record
        waited = self._has_waited.pop(item, None)
        if waited is None:
            # Who only now begins to wait did not wait for the verdict that is there.
            waited = Waited.begin(record, record.claim if record is not None and record.state == "done" else old_verdict)
        joined.items[item] = _Joiner(asking, is_successor, waited)
        self._joins[item] = token

    def began(self, item: ItemRef, record: TokenRecord) -> None:
        """An item of this run does the work now. What this run holds is never looked at; those who wait must know of it."""
        self._has_waited.pop(item, None)
        joined = self._joined.get(record.token)
        if joined is not None:
            self._in_flight(joined, record)

    def forget(self, item: ItemRef) -> None:
        """The item came to its end, whatever it waited for."""
        self._has_waited.pop(item, None)
        if item in self._joins:
            self._leave(item)

    def knows(self, item: ItemRef) -> bool:
        """Whether the item waits, or asks again."""
        return item in self._joins or item in self._has_waited

    def asks_again(self, item: ItemRef) -> bool:
        """Whether the item has waited already."""
        return item in self._has_waited

    def fact_for(self, asking: Asking, record: TokenRecord | None) -> rules.Fact:
        """What the record of a token that nobody works at means to the item, which may have waited for just that."""
        if record is None:
            return None
        waited = self._has_waited.get(asking.item)
        if record.state != "done":
            if record.replaced_by == f"{self._run_id}/{asking.name}":
                return rules.Lost()  # taken away for this very item: nothing was lost
            return rules.Lost(record.promotions, was_awaited=waited is not None and waited.was_for(record))
        is_this_run = record.holder.run_id == self._run_id
        return rules.Done(
            record.payload,
            record.holder.words,
            is_success=record.is_success,
            age=record.age,
            is_this_run=is_this_run and not asking.makes_file,
            is_own=is_this_run and record.holder.item == asking.name,
            is_news=waited is not None and waited.old_verdict != record.claim,
        )

    def tokens(self) -> list[str]:
        """All that is waited for."""
        return list(self._joined)

    def token_of(self, item: ItemRef) -> str | None:
        """What the item waits for."""
        return self._joins.get(item)

    def record_of(self, token: str) -> TokenRecord | None:
        """What was seen last of a token that is waited for."""
        joined = self._joined.get(token)
        return None if joined is None else joined.record

    def names_of(self, token: str) -> dict[ItemRef, str]:
        """Who waits for a token, in item order, and what they are called."""
        return {item: joiner.asking.name for item, joiner in sorted(self._joined[token].items.items())}

    def look_really(self) -> None:
        """The next look at each token is a real one."""
        for joined in self._joined.values():
            joined.look_really_at = 0.0

    def look(self, token: str, holders: Holders, ending: Collection[str], not_cancelled: Collection[str], now: float) -> None:
        """See what became of a token that others have.

        `ending`: claims whose processes are just being ended; `not_cancelled`: whose holders did not hear that they shall go.
        """
        joined = self._joined[token]
        stamp = (stamp_of(joined.paths.lock), stamp_of(joined.paths.record))
        if stamp == joined.stamp and now < joined.look_really_at:
            return
        joined.stamp = stamp
        joined.look_really_at = now + REAL_LOOK_SECONDS
        try:
            record = joined.record = read_record(joined.paths.record)
        except StateRefusedError:
            record = None  # who asks again is told what is wrong with it
        if record is None:
            self.try_next(token)
            return
        match record.state:
            case "done":
                self.share(token, record)
                if joined.items:
                    self.try_next(token)
            case "held" if holders.lives(record.holder):
                self._in_flight(joined, record, not_cancelled)
            case "held" if record.claim in ending:
                pass
            case _:
                # Who is to have it first, if he is here; else any: he finds out whether it is kept for somebody else.
                self.try_next(token, record.replaced_by)

    def try_next(self, token: str, first: str | None = None) -> None:
        """One may ask again: with the work lost, one of them takes it over, and the others wait for him."""
        joined = self._joined.get(token)
        if joined is None:
            return
        here = [item for item, joiner in joined.items.items() if f"{self._run_id}/{joiner.asking.name}" == first]
        item = here[0] if here else min(joined.items)
        self._have_ask_again(joined, item)

    def share(self, token: str, record: TokenRecord) -> None:
        """The work is done: who waited for it shares what came of it, but for those who have another work for the token."""
        joined = self._joined.get(token)
        if joined is None:
            return
        assert record.outcome is not None
        self._refuse_others(joined, record, "was done")
        is_own = record.holder.run_id == self._run_id
        same: list[ItemRef] = []
        for item, joiner in sorted(joined.items.items()):
            if joiner.waited.old_verdict == record.claim:
                continue
            self._leave(item)
            # Who replaces the holder shares nothing, so he needs no copy of the output either.
            is_copied = not is_own and not joiner.is_successor
            outcome = self._keep(item, record.outcome) if is_copied else record.outcome
            if joiner.is_successor or outcome is None:
                self._has_waited[item] = Waited.begin(record, record.claim)
                self.told.append(TryAgain((item,)))
            elif is_own:
                same.append(item)
            else:
                self.told.append(SharedWith((item,), outcome, record.is_success, record.holder.words))
        if same:
            self.told.append(SharedWith(tuple(same), record.outcome, record.is_success, record.holder.words))

    def _in_flight(self, joined: _Joined, record: TokenRecord, not_cancelled: Collection[str] = ()) -> None:
        """Somebody who lives does the work. Who came before that was known, and does not join, is answered only now."""
        self._refuse_others(joined, record, "is in flight")
        for item, joiner in sorted(joined.items.items()):
            if record.claim in not_cancelled if joiner.is_successor else joiner.asking.if_running != "join":
                self._have_ask_again(joined, item)

    def _have_ask_again(self, joined: _Joined, item: ItemRef) -> None:
        joiner = joined.items[item]
        self._has_waited[item] = joiner.waited
        self._leave(item)
        self.told.append(TryAgain((item,)))

    def _refuse_others(self, joined: _Joined, record: TokenRecord, what: str) -> None:
        """Those who wait with another payload, for what has come in the place of what they joined."""
        for item, joiner in sorted(joined.items.items()):
            if joiner.is_successor or joiner.asking.payload == record.payload or joiner.waited.old_verdict == record.claim:
                continue
            self._leave(item)
            message = rules.mismatch(record.token, what, record.holder.words, record.payload, joiner.asking.payload)
            self.told.append(RefusedAll((item,), message))

    def _leave(self, item: ItemRef) -> None:
        token = self._joins.pop(item)
        joined = self._joined[token]
        del joined.items[item]
        if not joined.items:
            del self._joined[token]
