"""The items of one run that wait for what comes of work in flight: they hold nothing, and a thousand of one token cost one look.

Promise: an item that waits is told exactly once what came of the work, or that it may ask again.
Invariant: an item waits for one token (`_joins`), or asks again after it has waited (`_has_waited`), never both.
It refuses to handle: when a token is looked at (`desk`), who gets it (`asks`).
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
    """What an item has waited for until now. `claim`: of the work that it found; `old_verdict`: of one that is no news to it.

    `since`: seconds since boot. All work that was begun or lost from then on it has waited for too, seen or not: of two holders
    that are gone between two looks the second counts as lost for it as well.
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
    """An item that waits. `is_successor`: it waits for the holder's end only, and shares nothing."""

    asking: Asking
    is_successor: bool
    waited: Waited


class _Joined(msgspec.Struct):
    """A token that is waited for: the items that do, and what was seen of it last."""

    paths: TokenPaths
    items: dict[ItemRef, _Joiner] = msgspec.field(default_factory=dict)
    record: TokenRecord | None = None
    stamp: object = None
    look_really_at: float = 0.0


class Waiters:
    """The waiting items of one run. `keep`: as of `TokenDesk`."""

    def __init__(self, run_id: str, files: TokenFiles, keep: Callable[[ItemRef, Outcome], Outcome | None]) -> None:
        self._run_id = run_id
        self._files = files
        self._keep = keep
        self._joined: dict[str, _Joined] = {}
        self._joins: dict[ItemRef, str] = {}
        self._has_waited: dict[ItemRef, Waited] = {}
        self._told: list[Told] = []
        self._delayed: list[ItemRef] = []
        """Items that may ask again with the next look: each keeps its token, at which another run just looks."""

    def __len__(self) -> int:
        """How many tokens are waited for."""
        return len(self._joined)

    # Items.

    def add_item(self, asking: Asking, record: TokenRecord | None, *, is_successor: bool, old_verdict: str | None) -> None:
        """The item waits. `record`: what was seen of the token; `old_verdict`: claim of a verdict that is no news to it."""
        item, token = asking.item, asking.token
        joined = self._joined.get(token)
        if joined is None:
            joined = self._joined[token] = _Joined(self._files.paths(token))
        joined.record = record
        waited = self._has_waited.pop(item, None)
        if waited is None:
            # An item that begins to wait only now has not waited for the verdict that is there.
            waited = Waited.begin(record, record.claim if record is not None and record.state == "done" else old_verdict)
        joined.items[item] = _Joiner(asking, is_successor, waited)
        self._joins[item] = token

    def hear_of_start(self, item: ItemRef, record: TokenRecord) -> None:
        """An item of this run does the work now. What this run holds is never looked at, so its joiners hear of it here."""
        self._has_waited.pop(item, None)
        joined = self._joined.get(record.token)
        if joined is not None:
            self._meet_in_flight(joined, record)

    def forget_item(self, item: ItemRef) -> None:
        """The item came to its end, whatever it waited for."""
        self._has_waited.pop(item, None)
        if item in self._joins:
            self._remove_item(item)

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
            # Taken away for this very item: nothing was lost, so no promotion is counted.
            if record.replaced_by == f"{self._run_id}/{asking.name}":
                return rules.Lost()
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

    # Tokens.

    def tokens(self) -> list[str]:
        """All that is waited for."""
        return list(self._joined)

    def token_of(self, item: ItemRef) -> str | None:
        """The token that the item waits for."""
        return self._joins.get(item)

    def record_of(self, token: str) -> TokenRecord | None:
        """What was seen last of a token that is waited for."""
        joined = self._joined.get(token)
        return None if joined is None else joined.record

    def names_of(self, token: str) -> dict[ItemRef, str]:
        """The items that wait for a token, in item order, with their names."""
        return {item: joiner.asking.name for item, joiner in sorted(self._joined[token].items.items())}

    def have_all_looked_at_really(self) -> None:
        """The next look at each token is a real one."""
        for joined in self._joined.values():
            joined.look_really_at = 0.0

    def look_at_token(
        self, token: str, holders: Holders, ending: Collection[str], not_cancelled: Collection[str], now: float
    ) -> None:
        """See what became of a token that another run has. Raises OSError.

        `ending`: claims whose processes are just being ended; `not_cancelled`: claims whose holders have not heard that they
        shall make room.
        """
        joined = self._joined[token]
        # Two `stat`s tell that nothing has changed. Now and then look all the same: a killed holder touches nothing.
        stamp = (stamp_of(joined.paths.lock), stamp_of(joined.paths.record))
        if stamp == joined.stamp and now < joined.look_really_at:
            return
        joined.stamp = stamp
        joined.look_really_at = now + REAL_LOOK_SECONDS
        try:
            record = joined.record = read_record(joined.paths.record)
        except StateRefusedError:
            record = None  # the item that asks again is told what is wrong with it
        if record is None:
            self.have_one_ask_again(token)
            return
        match record.state:
            case "done":
                self.share_verdict(token, record)
                # Items are left that knew this verdict before they waited: one of them may take the token now.
                if joined.items:
                    self.have_one_ask_again(token)
            case "held" if holders.lives(record.holder):
                self._meet_in_flight(joined, record, not_cancelled)
            case "held" if record.claim in ending:
                pass  # nobody can take it before nothing of the holder lives
            case _:
                # Lost, or released. Without its successor here any item will do: it finds out whether the token is kept.
                self.have_one_ask_again(token, record.replaced_by)

    def have_one_ask_again(self, token: str, first: str | None = None) -> None:
        """The work is lost: one waiter takes it over, and the others wait for that one. `first` (`RUN/ITEM`): if it is here."""
        joined = self._joined.get(token)
        if joined is None:
            return
        here = [item for item, joiner in joined.items.items() if f"{self._run_id}/{joiner.asking.name}" == first]
        item = here[0] if here else min(joined.items)
        self._have_ask_again(joined, item)

    def share_verdict(self, token: str, record: TokenRecord) -> None:
        """The work is done: the items that waited for it share what came of it, except those with another payload."""
        joined = self._joined.get(token)
        if joined is None:
            return
        assert record.outcome is not None
        self._refuse_other_payloads(joined, record, "was done")
        is_own = record.holder.run_id == self._run_id
        same: list[ItemRef] = []
        for item, joiner in sorted(joined.items.items()):
            # This verdict was there before the item began to wait: it waits for what comes next.
            if joiner.waited.old_verdict == record.claim:
                continue
            self._remove_item(item)
            # Outputs of another run are copied, for that run may be pruned. A successor shares nothing, so it needs no copy.
            is_copied = not is_own and not joiner.is_successor
            outcome = self._keep(item, record.outcome) if is_copied else record.outcome
            if joiner.is_successor or outcome is None:
                self._has_waited[item] = Waited.begin(record, record.claim)
                self.tell(TryAgain((item,)))
            elif is_own:
                same.append(item)
            else:
                self.tell(SharedWith((item,), outcome, record.is_success, record.holder.words))
        # Work of this run has one outcome for all its joiners: tell them together.
        if same:
            self.tell(SharedWith(tuple(same), record.outcome, record.is_success, record.holder.words))

    # What the items shall be told.

    @property
    def has_told(self) -> bool:
        """Whether `take_told` has something."""
        return bool(self._told)

    def tell(self, told: Told) -> None:
        """Have this told with the rest."""
        self._told.append(told)

    def take_told(self) -> list[Told]:
        """What is to be told since the last call."""
        told, self._told = self._told, []
        return told

    def have_ask_again_later(self, item: ItemRef) -> None:
        """The item keeps its token, at which another run looks for a moment: it may ask again with the next look."""
        self._delayed.append(item)

    def tell_delayed(self) -> None:
        """The look is over."""
        self._told += [TryAgain((item,)) for item in self._delayed]
        self._delayed.clear()

    def _meet_in_flight(self, joined: _Joined, record: TokenRecord, not_cancelled: Collection[str] = ()) -> None:
        """A living holder does the work. Items that joined before it was known, and would not join it, are answered now."""
        self._refuse_other_payloads(joined, record, "is in flight")
        for item, joiner in sorted(joined.items.items()):
            # A successor asks again only where the holder has not heard of it; any other only if its `if_running` is not "join".
            if record.claim in not_cancelled if joiner.is_successor else joiner.asking.if_running != "join":
                self._have_ask_again(joined, item)

    def _have_ask_again(self, joined: _Joined, item: ItemRef) -> None:
        joiner = joined.items[item]
        self._has_waited[item] = joiner.waited
        self._remove_item(item)
        self.tell(TryAgain((item,)))

    def _refuse_other_payloads(self, joined: _Joined, record: TokenRecord, what: str) -> None:
        """Refuse the items with another payload than the work that has come in the place of what they joined."""
        for item, joiner in sorted(joined.items.items()):
            if joiner.is_successor or joiner.asking.payload == record.payload or joiner.waited.old_verdict == record.claim:
                continue
            self._remove_item(item)
            message = rules.mismatch(record.token, what, record.holder.words, record.payload, joiner.asking.payload)
            self.tell(RefusedAll((item,), message))

    def _remove_item(self, item: ItemRef) -> None:
        token = self._joins.pop(item)
        joined = self._joined[token]
        del joined.items[item]
        if not joined.items:
            del self._joined[token]
