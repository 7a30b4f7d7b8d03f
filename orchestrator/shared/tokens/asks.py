"""What an item is told when it asks for its token: it may start, joins, shares, runs unregistered, or must not run.

Two questions are asked, in this order. `ask_this_run`: does this run know the answer by itself? `ask_others`: what do the lock
and the record on disk say? `core.tokens` judges the facts; they are found here, and the judgement is carried out here.

Promise: an item is granted its token only under the token's lock, and only once nothing of the last holder lives. An item that
is told to join stands among the waiters when it hears of that.
It refuses to handle: what becomes of the item afterwards (`desk`); when the tokens that are waited for are looked at (`desk`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from orchestrator.core import tokens as rules
from orchestrator.core.deadlocks import item_of
from orchestrator.core.states import ItemRef
from orchestrator.errors import StateRefusedError
from orchestrator.shared.tokens.answers import Answer, Asking, Granted, Joins, Refused, ReplaceAsked, Shared, Unregistered
from orchestrator.shared.tokens.cancels import Cancels
from orchestrator.shared.tokens.dead_holders import DeadHolders
from orchestrator.shared.tokens.holders import Holders
from orchestrator.shared.tokens.holdings import Holdings
from orchestrator.shared.tokens.publications import Publications
from orchestrator.shared.tokens.record import TokenFiles, TokenRecord, read_record
from orchestrator.shared.tokens.verdict_records import lost_outcome
from orchestrator.shared.tokens.waiters import Waiters
from orchestrator.store.outcomes import DoneHere
from orchestrator.system.locks.lock_file import try_lock_in_state
from orchestrator.workers.protocol import Outcome


class DeskParts(msgspec.Struct, frozen=True):
    """Where the tokens of one run are: each token is in one part at a time."""

    files: TokenFiles
    own_session: tuple[str, str]
    """Run and session of this desk, for `Holders`."""
    holdings: Holdings
    holders: Holders
    dead_holders: DeadHolders
    publications: Publications
    waiters: Waiters
    cancels: Cancels

    @classmethod
    def of_run(cls, home: Path, run_id: str, keep: Callable[[ItemRef, Outcome], Outcome | None]) -> DeskParts:
        """The parts of a run that begins to ask. `keep`: as of `TokenDesk`."""
        files = TokenFiles(home)
        holdings = Holdings(run_id, files)
        own_session = (run_id, holdings.session.session)
        holders = Holders(home, own=own_session)
        return cls(
            files=files,
            own_session=own_session,
            holdings=holdings,
            holders=holders,
            dead_holders=DeadHolders(files, holders),
            publications=Publications(files, holdings),
            waiters=Waiters(run_id, files, keep),
            cancels=Cancels(home),
        )


class Asks:
    """The questions of one run's items. `ancestors`, `done_here` and `keep`: as of `TokenDesk`."""

    def __init__(
        self,
        parts: DeskParts,
        run_id: str,
        ancestors: Collection[str],
        done_here: Callable[[str], DoneHere | None],
        keep: Callable[[ItemRef, Outcome], Outcome | None],
    ) -> None:
        self._run_id = run_id
        self._ancestors = {item_of(mark) for mark in ancestors}
        self._done_here = done_here
        self._keep = keep
        self._files = parts.files
        self._holdings = parts.holdings
        self._holders = parts.holders
        self._dead_holders = parts.dead_holders
        self._publications = parts.publications
        self._waiters = parts.waiters
        self._cancels = parts.cancels
        self._replaced: set[str] = set()
        """Claims whose items were asked to make room."""

    def ask_this_run(self, asking: Asking) -> Joins | Shared | Refused | Unregistered | None:
        """The answer, if this run knows it without a lock and without a look at what others say; else None.

        Raises OSError for a shortage of the machine.
        """
        # Work that this run has done already. It does not count where the file that the item promises is missing.
        done = None if asking.makes_file else self._done_here(asking.token)
        if done is not None and (answer := self._meet_done_here(asking, done)) is not None:
            return answer
        # Work that an item of this run does.
        own = self._holdings.of_token(asking.token)
        if own is not None:
            if own.item == asking.item:
                return None  # its next attempt after a backoff: whether the token is still its own stands in the record
            assert own.record is not None, "an item begins, or gives its token back, before another asks"
            return self._meet_in_flight(asking, own.record)
        # Work that has ended without a success (else `done_here` had told). No item can start before that is durable.
        written = self._publications.claim_written(asking.token)
        if written is not None:
            return self._join(asking, None, f"what came of token {asking.token!r} is being written", old_verdict=written)
        # Work of another run that items of this run wait for: what they see of it is never older than one look.
        record = None if self._waiters.asks_again(asking.item) else self._waiters.record_of(asking.token)
        if record is not None and record.state == "held":
            return self._meet_in_flight(asking, record)
        return None

    def ask_others(self, asking: Asking) -> Answer:
        """The answer of the token's lock and record. Raises StateUnwritableError, OSError for a shortage of the machine."""
        try:
            return self._ask_lock_and_record(asking)
        except StateRefusedError as refused:
            # Nobody knows what a damaged or newer record says. Only this item fails; the others go on.
            return Refused(f"{refused.message}: {refused.hint}" if refused.hint else refused.message)

    def _meet_done_here(self, asking: Asking, done: DoneHere) -> Shared | Refused | None:
        """The answer to an item whose work this very run has done; None: it does it again."""
        holder = f"{self._run_id}/{done.item}"
        is_own = done.item == asking.name
        fact = rules.Done(done.payload, holder, is_success=True, age=0.0, is_this_run=True, is_own=is_own)
        judgement = rules.judge(fact, asking)
        if isinstance(judgement, rules.Share):
            return Shared(done.outcome, True, holder)
        return Refused(judgement.message) if isinstance(judgement, rules.Reject) else None

    def _ask_lock_and_record(self, asking: Asking) -> Answer:
        """Try the lock, then read the record: only the holder of the lock changes it. Raises StateRefusedError besides."""
        paths = self._files.paths(asking.token)
        lock_fd = try_lock_in_state(paths.lock)
        try:
            record = read_record(paths.record)
            # The item's own token, which its record kept through a backoff.
            own = self._holdings.of_item(asking.item)
            if own is not None and record is not None and record.claim == own.claim:
                if lock_fd is None:
                    # Another run looks at the token for a moment: no reason to give it up.
                    self._waiters.have_ask_again_later(asking.item)
                    return Joins(f"its token {asking.token!r} is being looked at")
                own.lock_fd, lock_fd = lock_fd, None
                return Granted(own.lock_fd, own.promotions)
            # Another item took it over, or somebody removed its record: from here on it asks like any other.
            if own is not None:
                self._holdings.drop_token(own)
            if lock_fd is None:
                return self._meet_locked(asking, record)
            answer = self._meet_free(asking, record)
            if isinstance(answer, rules.Run):
                self._holdings.take_token(asking, lock_fd, answer.promotions)
                granted, lock_fd = Granted(lock_fd, answer.promotions), None
                return granted
            return answer
        finally:
            # Closed unless the item holds it now.
            if lock_fd is not None:
                os.close(lock_fd)

    def _meet_locked(self, asking: Asking, record: TokenRecord | None) -> Answer:
        """Another process holds the lock. The record is the holder's, or is about to be."""
        if record is None or record.state != "held":
            return self._join(asking, record, f"token {asking.token!r} is being taken")
        if self._holders.lives(record.holder):
            return self._meet_in_flight(asking, record)
        # The holder is dead, but processes that it left keep the lock held.
        if self._dead_holders.must_end_processes(record):
            return self._join_behind_dead(asking, record)
        # Another run is taking the token over and has not written that yet; or no evidence leads to the processes that hold it.
        return self._join(asking, record, f"the lock of token {asking.token!r} is held since {record.holder.words} is gone")

    def _meet_free(self, asking: Asking, record: TokenRecord | None) -> Answer | rules.Run:
        """The lock is ours for the moment, so nobody else changes the record. `Run`: the token is the item's."""
        if record is not None and record.state == "held":
            # A living holder without its lock keeps the token through a backoff, or has locked a file that was removed since.
            if self._holders.lives(record.holder):
                return self._meet_in_flight(asking, record)
            cleared = self._dead_holders.clear_record(record)
            if cleared is None:
                return self._join_behind_dead(asking, record)
            record = cleared
        # A token that was taken away for another item: that one comes first, if it still may come.
        if record is not None and self._holders.is_kept_for_another(record, f"{self._run_id}/{asking.name}"):
            return self._join(asking, record, f"token {asking.token!r} is kept for {record.replaced_by}")
        judgement = rules.judge(self._waiters.fact_for(asking, record), asking)
        if isinstance(judgement, rules.Share) and record is not None and record.outcome is not None:
            kept = self._keep(asking.item, record.outcome)
            if kept is not None:
                return Shared(kept, record.is_success, record.holder.words)
            judgement = rules.Run()  # its output is gone: there is nothing to share
        if isinstance(judgement, rules.Reject):
            # The work was lost too often. Publish that, or each waiting item would take it over in turn.
            if judgement.is_final and record is not None:
                self._dead_holders.publish_verdict(record, lost_outcome(judgement.message), is_success=False)
            return Refused(judgement.message)
        assert isinstance(judgement, rules.Run), judgement
        return judgement

    def _meet_in_flight(self, asking: Asking, record: TokenRecord) -> Joins | Refused | Unregistered:
        """A living holder does the work, or keeps the token until its next attempt."""
        holder = record.holder
        judgement = rules.judge(rules.InFlight(record.payload, holder.words), asking)
        match judgement:
            case rules.Reject(message):
                return Refused(message)
            case rules.RunUnregistered():
                return Unregistered()
        # Compare items, not attempts: the ancestor may be at another attempt by now.
        if item_of(holder.mark) in self._ancestors:
            message = f"token {asking.token!r} is held by {holder.words}, in which this item runs: it would wait for itself"
            return Refused(message)
        if isinstance(judgement, rules.Replace):
            self._ask_for_cancel(asking, record)
            words = f"token {asking.token!r} is held by {holder.words}, which is being cancelled for this item"
            return self._join(asking, record, words, is_successor=True)
        return self._join(asking, record, f"token {asking.token!r} is in flight: {holder.words} does its work")

    def _ask_for_cancel(self, asking: Asking, record: TokenRecord) -> None:
        """Have the holder's item cancelled, once for each claim. Raises OSError for a shortage of the machine."""
        if record.claim in self._replaced - self._cancels.failed:
            return
        by = f"{self._run_id}/{asking.name}"
        own = self._holdings.of_token(asking.token)
        if own is not None:
            self._waiters.tell(ReplaceAsked(own.item, by))
        else:
            self._cancels.begin_cancel(record, by)
        # Only now: without room for a process the cancel is tried again with the next ask.
        self._replaced.add(record.claim)

    def _join(
        self,
        asking: Asking,
        record: TokenRecord | None,
        words: str,
        *,
        is_successor: bool = False,
        old_verdict: str | None = None,
    ) -> Joins:
        self._waiters.add_item(asking, record, is_successor=is_successor, old_verdict=old_verdict)
        return Joins(words)

    def _join_behind_dead(self, asking: Asking, record: TokenRecord) -> Joins:
        done = "judged" if self._dead_holders.is_judging(record) else "ended"
        return self._join(asking, record, f"token {record.token!r}: what {record.holder.words} left behind is being {done}")
