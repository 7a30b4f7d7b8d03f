"""Where the items of one run ask for their tokens: the same work is done once, in this run and among all of this home.

Promise: nobody starts with a token whose last holder is not proven gone; what came of the work is durable before the lock is let
go; who waits holds nothing, and a thousand waiters cost one look. Invariant: a token of this run is held (`holdings`: an item
runs, or keeps it through a backoff) or waited for (`waiters`), and an item does at most one of both.
It refuses to handle: processes that shed descriptors, session, mark and parent after worker and supervisor were killed; a home
that is deleted; what an answer means for the run (core).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

from orchestrator.core import tokens as rules
from orchestrator.core.deadlocks import item_of
from orchestrator.core.states import ItemRef
from orchestrator.errors import StateRefusedError
from orchestrator.jobsfile.model import Job
from orchestrator.shared.tokens.answers import (
    Answer,
    Asking,
    Granted,
    Joins,
    Refused,
    ReplaceAsked,
    Shared,
    Told,
    TryAgain,
    Unregistered,
)
from orchestrator.shared.tokens.cancels import Cancels
from orchestrator.shared.tokens.dead_holders import DeadHolders
from orchestrator.shared.tokens.holders import Holders
from orchestrator.shared.tokens.holdings import Holdings
from orchestrator.shared.tokens.publications import Publications
from orchestrator.shared.tokens.record import Holder, TokenFiles, TokenRecord, read_record
from orchestrator.shared.tokens.verdict_records import lost, verdict
from orchestrator.shared.tokens.waiters import Waiters
from orchestrator.store.durable_file import unwritable
from orchestrator.store.outcomes import DoneHere
from orchestrator.store.records import Started, Status
from orchestrator.system.locks.lock_file import LOOK_SECONDS, REAL_LOOK_SECONDS, try_lock_in_state
from orchestrator.workers.locks import unlock
from orchestrator.workers.processes.spawn import SHORTAGES
from orchestrator.workers.protocol import Outcome


class TokenDesk:
    """Of one run. `done_here` gives what the run itself has done; `keep` makes another run's outcome this item's own, or None.

    `ancestors`: marks of the attempts that this run is nested in.
    """

    def __init__(
        self,
        home: Path,
        run_id: str,
        *,
        is_fresh: bool,
        ancestors: Collection[str],
        done_here: Callable[[str], DoneHere | None],
        keep: Callable[[ItemRef, Outcome], Outcome | None],
    ) -> None:
        self._home = home
        self._run_id = run_id
        self._is_fresh = is_fresh
        self._ancestors = {item_of(mark) for mark in ancestors}
        self._done_here = done_here
        self._keep = keep
        self._files = TokenFiles(home)
        self._holdings = Holdings(run_id, self._files)
        self._own = (run_id, self._holdings.session.session)
        self._holders = Holders(home, own=self._own)
        self._dead = DeadHolders(self._files, self._holders)
        self._publications = Publications(self._files, self._holdings)
        self._waiters = Waiters(run_id, self._files, keep)
        self._cancels = Cancels(home)
        self._replaced: set[str] = set()
        """Claims whose items were asked to make room."""
        self._own_again: list[ItemRef] = []
        """Items that keep their token, which somebody looked at when they wanted to begin."""
        self._next_look: float | None = None

    # Asking.

    def asking(
        self,
        item: ItemRef,
        name: str,
        job: Job,
        token: str,
        payload: str,
        *,
        makes_file: bool = False,
        is_asked: bool = False,
        schema: str | None = None,
    ) -> Asking:
        """An item that wants its token.

        `makes_file`: what it promises is missing; what was done before does not count for it. `is_asked`: somebody wants it done
        once more; what another run did before does not count for it. `schema`: the JSON Schema that its answer has to fit.
        """
        return Asking(
            item=item,
            name=name,
            token=token,
            payload=payload,
            if_running=job.if_running,
            if_done=job.if_done,
            if_changed=job.if_changed,
            ttl=job.token_ttl,
            is_fresh=self._is_fresh or makes_file or is_asked,
            output=job.output,
            schema=schema,
            is_loop=job.repeat is not None,
            makes_file=makes_file,
        )

    def ask_here(self, asking: Asking) -> Joins | Shared | Refused | Unregistered | None:
        """The answer, if this run knows it without a lock and without a look at what others say; else None.

        Raises OSError for a shortage of the machine.
        """
        token = asking.token
        done = None if asking.makes_file else self._done_here(token)
        if done is not None:
            holder = f"{self._run_id}/{done.item}"
            is_own = done.item == asking.name
            fact = rules.Done(done.payload, holder, is_success=True, age=0.0, is_this_run=True, is_own=is_own)
            judgement = rules.judge(fact, asking)
            if isinstance(judgement, rules.Share):
                return Shared(done.outcome, True, holder)
            if isinstance(judgement, rules.Reject):
                return Refused(judgement.message)
        own = self._holdings.of_token(token)
        if own is not None:
            if own.item == asking.item:
                return None  # through its backoff; who took it over, if somebody did, stands in the record
            assert own.record is not None, "an item begins, or gives its token back, before another asks"
            return self._meet(asking, own.record)
        written = self._publications.claim_written(token)
        if written is not None:
            # It is over, and nobody can start before that is durable. It did not succeed, or `done_here` would have told.
            return self._join(asking, None, f"what came of token {token!r} is being written", old_verdict=written)
        record = None if self._waiters.asks_again(asking.item) else self._waiters.record_of(token)
        if record is not None and record.state == "held":
            # Somebody of this run waits for it already, and what he looks at is never older than a tenth of a second.
            return self._meet(asking, record)
        return None

    def ask(self, asking: Asking) -> Answer:
        """What the item is to do about its token. Raises StateUnwritableError, and OSError for a shortage of the machine."""
        answer = self.ask_here(asking)
        if answer is not None:
            return answer
        try:
            return self._ask_others(asking)
        except StateRefusedError as refused:  # what it says nobody knows: this item fails, and the others go on
            return Refused(f"{refused.message}: {refused.hint}" if refused.hint else refused.message)

    def begin(self, item: ItemRef, *, attempt: int, worker: int, sequence: int, mark: str) -> None:
        """The item is about to start: note who has the token, before anything of it runs. Raises StateUnwritableError."""
        record = self._holdings.begin(item, attempt=attempt, worker=worker, sequence=sequence, mark=mark)
        self._waiters.began(item, record)

    def give_back(self, item: ItemRef) -> None:
        """The item does not start after all: it was only looked whether it could."""
        freed = self._holdings.give_back(item)
        if freed is not None:
            self._waiters.try_next(freed.token)

    def adopt(self, item: ItemRef, name: str, start: Started) -> None:
        """An attempt of an earlier supervisor runs on."""
        self._holdings.adopt(item, name, start)

    def knows(self, item: ItemRef) -> bool:
        """Whether the item holds or joined a token."""
        return self._holdings.of_item(item) is not None or self._waiters.knows(item)

    def settled(self, item: ItemRef, status: Status, outcome: Outcome | None, replaced_by: str | None) -> None:
        """What the item is now, which its records say already. Holders publish what came of their work; joiners are forgotten."""
        held = self._holdings.of_item(item)
        if status is Status.WAITING:
            if held is not None:
                self._holdings.reserve(held)
            return
        if held is None:
            self._waiters.forget(item)
            return
        self._holdings.drop(held)
        record = None if held.record is None else verdict(held.record, status, outcome, replaced_by)
        if record is not None and record.state == "done":  # those of this run need no disk to hear of it
            self._waiters.share(held.token, record)
        else:
            self._waiters.try_next(held.token, replaced_by)
        if record is not None:
            self._publications.publish(held, record)
            self._look_soon()
        elif held.lock_fd is not None:
            unlock(held.lock_fd)

    # Hearing.

    def poll(self, now: float) -> list[Told]:
        """What items of this run shall be told. Raises StateUnwritableError."""
        if self._next_look is not None and now >= self._next_look:
            try:
                self._look_at_all(now)
            except OSError as error:
                if error.errno not in SHORTAGES:
                    raise unwritable(self._files.folder, error) from error
                self._next_look = now + REAL_LOOK_SECONDS
        told, self._waiters.told = self._waiters.told, []
        return told

    def filenos(self) -> list[int]:
        """Descriptors for `read`."""
        return [self._publications.fileno(), self._dead.fileno()]

    def read(self, fileno: int) -> None:
        """Take in what was published, and which processes are ended. Raises StateUnwritableError."""
        if fileno == self._publications.fileno():
            self._publications.take()
        elif self._dead.take():
            self._waiters.look_really()
            self._next_look = 0.0

    @property
    def next_look(self) -> float | None:
        """When `poll` is due (monotonic seconds); None if nobody waits. What is to be told already is due at once."""
        return 0.0 if self._waiters.told else self._next_look

    def waits(self) -> list[tuple[dict[ItemRef, str], str, Holder]]:
        """For each token that somebody else has: the items that wait for it with their names, the token, who has it."""
        found = [(token, self._holder_of(token)) for token in self._waiters.tokens()]
        return [(self._waiters.names_of(token), token, holder) for token, holder in found if holder is not None]

    def reserved(self) -> list[ItemRef]:
        """Items that keep their token while they do not run."""
        return self._holdings.reserved()

    def holder_pids(self, item: ItemRef) -> list[int]:
        """Processes of who does the work that the item joined."""
        token = self._waiters.token_of(item)
        holder = self._holder_of(token) if token is not None else None
        return self._holders.pids(holder) if holder is not None else []

    def finish(self) -> list[str]:
        """The run is over: wait until all that came of its tokens is published; what cannot be, in words.

        Raises StateUnwritableError.
        """
        return self._publications.finish()

    def close(self) -> None:
        """Let go without publishing: what runs, runs on, and keeps its token by its own descriptors."""
        self._publications.close()
        self._dead.close()
        self._holdings.close()

    # What others say.

    def _ask_others(self, asking: Asking) -> Answer:
        """The token is not this run's, or it is the item's own through a backoff: what its lock and its record say counts."""
        paths = self._files.paths(asking.token)
        lock_fd = try_lock_in_state(paths.lock)
        try:
            record = read_record(paths.record)
            own = self._holdings.of_item(asking.item)
            if own is not None and record is not None and record.claim == own.claim:
                if lock_fd is None:  # somebody looks at it for a moment
                    self._own_again.append(asking.item)
                    self._look_soon()
                    return Joins(f"its token {asking.token!r} is being looked at")
                own.lock_fd, lock_fd = lock_fd, None
                return Granted(own.lock_fd, own.promotions)
            if own is not None:
                self._holdings.drop(own)  # somebody took it over, or removed it: this item asks like any other
            if lock_fd is None:
                return self._meet_locked(asking, record)
            answer = self._meet_free(asking, record)
            if isinstance(answer, rules.Run):
                self._holdings.take(asking, lock_fd, answer.promotions)
                granted, lock_fd = Granted(lock_fd, answer.promotions), None
                return granted
            return answer
        finally:
            if lock_fd is not None:
                os.close(lock_fd)

    def _meet_locked(self, asking: Asking, record: TokenRecord | None) -> Answer:
        """Somebody holds the lock. The record is his, or is about to be."""
        if record is None or record.state != "held":
            return self._join(asking, record, f"token {asking.token!r} is being taken")
        if self._holders.lives(record.holder):
            return self._meet(asking, record)
        if self._dead.must_end(record):
            return self._join_behind_dead(asking, record)
        # Who takes it over and has not written that yet; or processes that no evidence leads to.
        return self._join(asking, record, f"the lock of token {asking.token!r} is held since {record.holder.words} is gone")

    def _meet_free(self, asking: Asking, record: TokenRecord | None) -> Answer | rules.Run:
        """The lock is ours for the moment: nobody else changes the record."""
        if record is not None and record.state == "held":
            if self._holders.lives(record.holder):
                # Through a backoff; or the lock file is not the one that he locked.
                return self._meet(asking, record)
            cleared = self._dead.clear(record)
            if cleared is None:
                return self._join_behind_dead(asking, record)
            record = cleared
        if record is not None and self._holders.is_kept_for_another(record, f"{self._run_id}/{asking.name}"):
            return self._join(asking, record, f"token {asking.token!r} is kept for {record.replaced_by}")
        judgement = rules.judge(self._waiters.fact_for(asking, record), asking)
        if isinstance(judgement, rules.Share) and record is not None and record.outcome is not None:
            kept = self._keep(asking.item, record.outcome)
            if kept is not None:
                return Shared(kept, record.is_success, record.holder.words)
            judgement = rules.Run()  # its output is gone: there is nothing to share
        if isinstance(judgement, rules.Reject):
            if judgement.is_final and record is not None:
                self._dead.publish_for(record, lost(judgement.message), is_success=False)
            return Refused(judgement.message)
        assert isinstance(judgement, rules.Run), judgement
        return judgement

    def _meet(self, asking: Asking, record: TokenRecord) -> Joins | Refused | Unregistered:
        """The work is in flight."""
        holder = record.holder
        judgement = rules.judge(rules.InFlight(record.payload, holder.words), asking)
        match judgement:
            case rules.Reject(message):
                return Refused(message)
            case rules.RunUnregistered():
                return Unregistered()
        if item_of(holder.mark) in self._ancestors:  # whichever attempt of that item it is by now
            message = f"token {asking.token!r} is held by {holder.words}, in which this item runs: it would wait for itself"
            return Refused(message)
        if isinstance(judgement, rules.Replace):
            self._replace(asking, record)
            words = f"token {asking.token!r} is held by {holder.words}, which is being cancelled for this item"
            return self._join(asking, record, words, is_successor=True)
        return self._join(asking, record, f"token {asking.token!r} is in flight: {holder.words} does its work")

    def _replace(self, asking: Asking, record: TokenRecord) -> None:
        """Have the holder's item cancelled."""
        if record.claim in self._replaced - self._cancels.failed:
            return
        by = f"{self._run_id}/{asking.name}"
        own = self._holdings.of_token(asking.token)
        if own is not None:
            self._waiters.told.append(ReplaceAsked(own.item, by))
        else:
            self._cancels.begin(record, by)
        self._replaced.add(record.claim)  # only now: without room for a process it is tried again

    # Waiting.

    def _join(
        self,
        asking: Asking,
        record: TokenRecord | None,
        words: str,
        *,
        is_successor: bool = False,
        old_verdict: str | None = None,
    ) -> Joins:
        self._waiters.join(asking, record, is_successor=is_successor, old_verdict=old_verdict)
        self._look_soon()
        return Joins(words)

    def _join_behind_dead(self, asking: Asking, record: TokenRecord) -> Joins:
        return self._join(asking, record, f"token {record.token!r}: what {record.holder.words} left behind is being ended")

    def _holder_of(self, token: str) -> Holder | None:
        own = self._holdings.of_token(token)
        record = own.record if own is not None else self._waiters.record_of(token)
        return record.holder if record is not None and record.state == "held" else None

    def _look_at_all(self, now: float) -> None:
        self._publications.try_again()
        is_cancelling = self._cancels.reap()
        holders = Holders(self._home, own=self._own, is_one_look=True)
        for token in self._waiters.tokens():
            if self._holdings.of_token(token) is None:
                self._waiters.look(token, holders, self._dead.ending, self._cancels.failed, now)
        self._waiters.told += [TryAgain((item,)) for item in self._own_again]
        self._own_again.clear()
        # Rarer the more tokens there are to look at, so that waiting costs nothing that could be felt.
        pause = LOOK_SECONDS * max(1.0, len(self._waiters) / 50)
        self._next_look = now + pause if self._waiters or self._publications.is_waiting or is_cancelling else None

    def _look_soon(self) -> None:
        if self._next_look is None:
            self._next_look = time.monotonic() + LOOK_SECONDS
