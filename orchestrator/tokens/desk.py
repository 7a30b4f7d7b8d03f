"""Where the items of one run ask for their tokens: the same work is done once, in this run and among all of this home.

Promise: nobody starts with a token whose last holder is not proven gone; what came of the work is durable before the lock is let
go; who waits holds nothing, and a thousand waiters cost one look. Invariant: a token of this run is held (`_held`: an item
runs, or keeps it through a backoff) or waited for (`waiters`), and an item does at most one of both.
It refuses to handle: processes that shed descriptors, session, mark and parent after worker and supervisor were killed; a home
that is deleted; what an answer means for the run (core).
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orchestrator.core import tokens as rules
from orchestrator.core.states import ItemRef
from orchestrator.errors import StateRefusedError
from orchestrator.jobsfile.model import Job, OutputKind
from orchestrator.locks.numbered import try_lock_in_state
from orchestrator.store.durable_file import unwritable, write_durably
from orchestrator.store.records import Started, Status
from orchestrator.tokens.answers import Answer, Granted, Joins, Refused, ReplaceAsked, Shared, Told, TryAgain, Unregistered
from orchestrator.tokens.holders import Holders
from orchestrator.tokens.publisher import Publisher
from orchestrator.tokens.record import DoneHere, Holder, TokenFiles, TokenRecord, encode_record, now_stamps, read_record
from orchestrator.tokens.verdicts import done_record, lost, verdict
from orchestrator.tokens.waiters import REAL_LOOK_SECONDS, Waiters
from orchestrator.tree_ending import TreeEndings
from workers.identity import boot_id, start_ticks
from workers.locks import unlock
from workers.protocol import AttemptClass, Outcome
from workers.spawn import SHORTAGES

if TYPE_CHECKING:
    import subprocess

LOOK_SECONDS = 0.1
SUCCESSOR_SECONDS = 30.0
"""How long a token that was taken away for somebody is kept for him."""


@dataclass(slots=True)
class _Held:
    """A token that an item of this run holds; `lock_fd` only while it runs, or while what came of it is published."""

    item: ItemRef
    name: str
    token: str
    payload: str
    claim: str
    promotions: int
    output: OutputKind = "text"
    record: TokenRecord | None = None
    lock_fd: int | None = None


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
        self._next_look: float | None = None
        self._home = home
        self._run_id = run_id
        self._is_fresh = is_fresh
        self._ancestors = ancestors
        self._done_here = done_here
        self._keep = keep
        self._files = TokenFiles(home)
        self._holders = Holders(home)
        self._publisher = Publisher()
        self._endings = TreeEndings()
        self._session = (os.getpid(), start_ticks(os.getpid()) or -1, boot_id())
        self._held: dict[str, _Held] = {}
        self._token_of: dict[ItemRef, str] = {}
        """Of items that hold their token."""
        self._waiters = Waiters(run_id, self._files, keep)
        self._next_ending = 0
        self._ending: dict[int, str] = {}
        """Trees of dead holders that are being ended -> the claim of the holder."""
        self._ended: set[str] = set()
        self._to_publish: list[tuple[_Held, TokenRecord]] = []
        """Verdicts that wait for the lock: somebody looked at the token just then."""
        self._publishing: dict[str, tuple[str, int]] = {}
        """Token -> the claim whose verdict is being made durable, and the lock that is let go then."""
        self._own_again: list[ItemRef] = []
        self._replacing: set[str] = set()
        self._cancels: list[subprocess.Popen[bytes]] = []

    # Asking.

    def ask(self, item: ItemRef, name: str, job: Job, token: str, payload: str, *, is_fresh: bool = False) -> Answer:
        """What the item is to do about its token. Raises StateUnwritableError.

        `is_fresh`: what was done before does not count for it.
        """
        asker = rules.Asker(
            token=token,
            payload=payload,
            if_running=job.if_running,
            if_done=job.if_done,
            if_changed=job.if_changed,
            ttl=job.token_ttl,
            is_fresh=self._is_fresh or is_fresh,
        )
        done = self._done_here(token) if not is_fresh else None
        if done is not None:
            holder = f"{self._run_id}/{done.item}"
            fact = rules.Done(done.payload, holder, is_success=True, age=0.0, is_this_run=True)
            judgement = rules.judge(fact, asker)
            if isinstance(judgement, rules.Share):
                return Shared(done.outcome, True, holder)
            if isinstance(judgement, rules.Reject):
                return Refused(judgement.message)
        held = self._held.get(token)
        if held is not None and held.item != item:
            return self._meet(item, name, asker, rules.InFlight(held.payload, f"{self._run_id}/{held.name}"), held.record)
        if token in self._publishing:
            # It is over, and nobody can start before that is durable. It did not succeed, or `done_here` would have told.
            claim, _ = self._publishing[token]
            return self._join(item, name, asker, None, f"what came of token {token!r} is being written", old_verdict=claim)
        waited_for = self._waiters.record_of(token) if self._waiters.waited(item) is None else None
        if held is None and waited_for is not None and waited_for.state == "held":
            # Somebody of this run waits for it already, and what he looks at is never older than a tenth of a second. (Not for
            # the item that keeps it through its backoff: that would wait for itself.)
            return self._meet(item, name, asker, _in_flight(waited_for), waited_for)
        try:
            return self._ask_others(item, name, asker, job.output, held)
        except StateRefusedError as refused:  # what it says nobody knows: this item fails, and the others go on
            return Refused(f"{refused.message}: {refused.hint}" if refused.hint else refused.message)

    def begin(self, item: ItemRef, *, attempt: int, worker: int, sequence: int, mark: str) -> None:
        """The item is about to start: note who has the token, before anything of it runs. Raises StateUnwritableError."""
        held = self._held[self._token_of[item]]
        at, clock, boot = now_stamps()
        pid, ticks, _ = self._session
        job_id, _, index = held.name.partition(":")
        held.record = TokenRecord(
            token=held.token,
            payload=held.payload,
            claim=held.claim,
            state="held",
            holder=Holder(
                run_id=self._run_id,
                item=held.name,
                job=job_id,
                index=int(index or 0),
                attempt=attempt,
                worker=worker,
                sequence=sequence,
                mark=mark,
                pid=pid,
                start_ticks=ticks,
                boot_id=boot,
            ),
            promotions=held.promotions,
            output=held.output,
            at=at,
            clock=clock,
            boot=boot,
        )
        self._files.write_held(held.record)
        self._waiters.began(item, held.token, held.claim)

    def give_back(self, item: ItemRef) -> None:
        """The item does not start after all: it was only looked whether it could."""
        held = self._held[self._token_of[item]]
        assert held.lock_fd is not None
        os.close(held.lock_fd)
        held.lock_fd = None
        if held.record is None:
            self._drop(held)
            self._waiters.try_next(held.token)

    def adopt(self, item: ItemRef, name: str, start: Started) -> None:
        """An attempt of an earlier supervisor runs on. Its token is this run's as long as the record says so."""
        assert start.token is not None
        record = self._files.read(start.token)
        if record is None or record.state != "held" or record.holder.run_id != self._run_id or record.holder.item != name:
            return  # somebody took the token over, and published what came of it
        held = _Held(item, name, start.token, start.payload, record.claim, record.promotions, record.output, record)
        self._held[start.token] = held
        self._token_of[item] = start.token

    def knows(self, item: ItemRef) -> bool:
        """Whether the item holds or joined a token."""
        return item in self._token_of or self._waiters.knows(item)

    def settled(self, item: ItemRef, status: Status, outcome: Outcome | None, replaced_by: str | None) -> None:
        """What the item is now, which its records say already. Holders publish what came of their work; joiners are forgotten."""
        if item not in self._token_of:
            if status is not Status.WAITING:
                self._waiters.forget(item)
            return
        held = self._held[self._token_of[item]]
        if status is Status.WAITING:
            self._reserve(held)
            return
        record = None if held.record is None else verdict(held.record, status, outcome, replaced_by)
        self._drop(held)
        self._share_here(held, record)
        if record is not None:
            self._publish(held, record)
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
        return [self._publisher.fileno(), self._endings.fileno()]

    def read(self, fileno: int) -> None:
        """Take in what was published, and which trees are ended. Raises StateUnwritableError."""
        if fileno == self._publisher.fileno():
            for record in self._publisher.take():
                unlock(self._publishing.pop(record.token)[1])
            return
        for number in self._endings.take():
            self._ended.add(self._ending.pop(number))
            self._waiters.look_really()
            self._next_look = 0.0

    @property
    def next_look(self) -> float | None:
        """When `poll` is due (monotonic seconds); None if nobody waits. What is to be told already is due at once."""
        return 0.0 if self._waiters.told else self._next_look

    def waits(self) -> list[tuple[list[str], str, Holder]]:
        """For each token that somebody else has: the items that wait for it, the token, who has it."""
        found = []
        for token in self._waiters.tokens():
            holder = self._holder_of(token)
            if holder is not None:
                found.append((self._waiters.names_of(token), token, holder))
        return found

    def _holder_of(self, token: str) -> Holder | None:
        own = self._held.get(token)
        record = own.record if own is not None else self._waiters.record_of(token)
        return record.holder if record is not None and record.state == "held" else None

    def joiners_of(self, token: str) -> tuple[ItemRef, ...]:
        """The items that wait for a token."""
        return self._waiters.items_of(token)

    def reserved(self) -> list[ItemRef]:
        """Items that keep their token while they do not run."""
        return [held.item for held in self._held.values() if held.lock_fd is None and held.record is not None]

    def holder_pids(self, item: ItemRef) -> list[int]:
        """Processes of who does the work that the item joined."""
        token = self._waiters.token_of(item)
        holder = self._holder_of(token) if token is not None else None
        return self._holders.pids(holder) if holder is not None else []

    def finish(self) -> None:
        """The run is over: wait until all that came of its tokens is published. Raises StateUnwritableError."""
        deadline = time.monotonic() + REAL_LOOK_SECONDS
        while self._to_publish and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS / 10)
            self._publish_waiting()
        self._publisher.finish()
        self.read(self._publisher.fileno())

    def close(self) -> None:
        """Let go without publishing: what runs, runs on, and keeps its token by its own descriptors."""
        self._publisher.close()
        self._endings.close()
        for fd in [
            *(fd for _, fd in self._publishing.values()),
            *(held.lock_fd for held in self._held.values() if held.lock_fd is not None),
        ]:
            os.close(fd)
        for cancel in self._cancels:
            cancel.wait()

    # Asking others.

    def _ask_others(self, item: ItemRef, name: str, asker: rules.Asker, output: OutputKind, own: _Held | None) -> Answer:
        """The token is not this run's, or it is the item's own through a backoff: what its lock and its record say counts."""
        paths = self._files.paths(asker.token)
        lock_fd = try_lock_in_state(paths.lock)
        try:
            record = read_record(paths.record)
            if own is not None and record is not None and record.claim == own.claim:
                if lock_fd is None:  # somebody looks at it for a moment
                    self._own_again.append(item)
                    self._look_soon()
                    return Joins(f"its token {asker.token!r} is being looked at")
                own.lock_fd, lock_fd = lock_fd, None
                return Granted(own.lock_fd, own.promotions)
            if own is not None:
                self._drop(own)  # somebody took it over, or removed it: this item asks like any other
            if lock_fd is None:
                return self._meet_locked(item, name, asker, record)
            answer = self._meet_free(item, name, asker, record)
            if isinstance(answer, rules.Run):
                claim = secrets.token_hex(8)
                held = _Held(item, name, asker.token, asker.payload, claim, answer.promotions, output, lock_fd=lock_fd)
                self._held[asker.token] = held
                self._token_of[item] = asker.token
                granted = Granted(lock_fd, answer.promotions)
                lock_fd = None
                return granted
            return answer
        finally:
            if lock_fd is not None:
                os.close(lock_fd)

    def _meet_locked(self, item: ItemRef, name: str, asker: rules.Asker, record: TokenRecord | None) -> Answer:
        """Somebody holds the lock. The record is his, or is about to be."""
        if record is None or record.state != "held":
            return self._join(item, name, asker, record, f"token {asker.token!r} is being taken")
        if not self._holders.lives(record.holder):
            # Nobody is left who would tell what comes of it: an orphan has the lock.
            self._end_processes(record)
            return self._join(item, name, asker, record, _orphan_words(record))
        return self._meet(item, name, asker, _in_flight(record), record)

    def _meet_free(self, item: ItemRef, name: str, asker: rules.Asker, record: TokenRecord | None) -> Answer | rules.Run:
        """The lock is ours for the moment: nobody else changes the record."""
        if record is not None and record.state == "held":
            if self._holders.lives(record.holder):
                # Through a backoff; or the lock file is not the one that he locked.
                return self._meet(item, name, asker, _in_flight(record), record)
            outcome = self._holders.left_outcome(record)
            if outcome is not None:
                record = self._publish_for(record, outcome)
            elif record.claim not in self._ended and self._holders.may_have_left_processes(record.holder):
                self._end_processes(record)
                return self._join(item, name, asker, record, _orphan_words(record))
        if record is not None and self._is_kept_for_another(record, name):
            words = f"token {asker.token!r} is kept for {record.replaced_by}"
            return self._join(item, name, asker, record, words)
        judgement = rules.judge(self._fact(item, f"{self._run_id}/{name}", record), asker)
        if isinstance(judgement, rules.Share) and record is not None and record.outcome is not None:
            kept = self._keep(item, record.outcome)
            if kept is not None:
                return Shared(kept, record.is_success, record.holder.words)
            judgement = rules.Run()  # its output is gone: there is nothing to share
        if isinstance(judgement, rules.Reject):
            if judgement.is_final and record is not None:
                self._publish_for(record, lost(judgement.message))
            return Refused(judgement.message)
        assert isinstance(judgement, rules.Run), judgement
        return judgement

    def _meet(self, item: ItemRef, name: str, asker: rules.Asker, fact: rules.InFlight, record: TokenRecord | None) -> Answer:
        """The work is in flight."""
        judgement = rules.judge(fact, asker)
        waits = isinstance(judgement, rules.Join | rules.Replace)
        if waits and record is not None and _is_around(record.holder.mark, self._ancestors):
            return Refused(f"token {asker.token!r} is held by {fact.holder}, in which this item runs: it would wait for itself")
        match judgement:
            case rules.Reject(message):
                return Refused(message)
            case rules.RunUnregistered():
                return Unregistered()
            case rules.Replace():
                self._replace(asker.token, name, record)
                words = f"token {asker.token!r} is held by {fact.holder}, which is being cancelled for this item"
                return self._join(item, name, asker, record, words, is_successor=True)
            case _:
                words = f"token {asker.token!r} is in flight: {fact.holder} does its work"
                return self._join(item, name, asker, record, words)

    def _fact(self, item: ItemRef, me: str, record: TokenRecord | None) -> rules.Fact:
        if record is None:
            return None
        waited = self._waiters.waited(item)
        if record.state != "done":
            if record.replaced_by == me:
                return rules.Lost()  # taken away for this very item: nothing was lost
            return rules.Lost(record.promotions, was_awaited=waited is not None and record.claim in waited.claims)
        return rules.Done(
            record.payload,
            record.holder.words,
            is_success=record.is_success,
            age=record.age,
            is_this_run=record.holder.run_id == self._run_id,
            is_news=waited is not None and waited.old_verdict != record.claim,
        )

    def _is_kept_for_another(self, record: TokenRecord, name: str) -> bool:
        """Whether it was taken away from its holder for somebody else, who may still come for it."""
        successor = record.replaced_by
        if record.state != "released" or successor is None or successor == f"{self._run_id}/{name}":
            return False
        return record.age < SUCCESSOR_SECONDS and self._holders.is_supervised(successor.partition("/")[0])

    # Joining.

    def _join(
        self,
        item: ItemRef,
        name: str,
        asker: rules.Asker,
        record: TokenRecord | None,
        words: str,
        *,
        is_successor: bool = False,
        old_verdict: str | None = None,
    ) -> Joins:
        self._waiters.join(item, name, asker, record, is_successor=is_successor, old_verdict=old_verdict)
        self._look_soon()
        return Joins(words)

    def _look_at_all(self, now: float) -> None:
        self._publish_waiting()
        holders = Holders(self._home, is_one_look=True)
        for token in self._waiters.tokens():
            if token not in self._held:
                self._waiters.look(token, holders, self._ending.values(), now)
        self._waiters.told += [TryAgain((item,)) for item in self._own_again]
        self._own_again.clear()
        self._cancels = [cancel for cancel in self._cancels if cancel.poll() is None]
        self._set_next_look(now)

    def _share_here(self, held: _Held, record: TokenRecord | None) -> None:
        """Those of this run need no disk to hear of it."""
        if record is not None and record.state == "done":
            self._waiters.share(held.token, record)
        else:
            self._waiters.try_next(held.token, record.replaced_by if record is not None else None)

    # Ending.

    def _reserve(self, held: _Held) -> None:
        """Through a backoff the record keeps the token, and no lock: it has to name a session that lives.

        That of an adopted attempt names the supervisor that was killed. Until its worker ended that was enough; now anybody may
        have taken the token over, and then the item's next attempt asks like any other's.
        """
        if held.lock_fd is not None:
            unlock(held.lock_fd)
            held.lock_fd = None
            return
        if held.record is not None and _session_of(held.record) == self._session:
            return  # it names this session already: nobody takes it over
        try:
            lock_fd = try_lock_in_state(self._files.paths(held.token).lock)
        except OSError:  # no room for an open file just now
            lock_fd = None
        if lock_fd is None:
            self._drop(held)
            return
        try:
            there = self._files.read(held.token)
            if there is None or there.claim != held.claim:
                self._drop(held)
                return
            pid, ticks, boot = self._session
            holder = msgspec.structs.replace(there.holder, pid=pid, start_ticks=ticks, boot_id=boot)
            held.record = msgspec.structs.replace(there, holder=holder)
            self._files.write_held(held.record)
        finally:
            unlock(lock_fd)

    def _drop(self, held: _Held) -> None:
        del self._held[held.token]
        del self._token_of[held.item]

    def _publish(self, held: _Held, record: TokenRecord) -> None:
        self._to_publish.append((held, record))
        self._look_soon()
        self._publish_waiting()

    def _publish_waiting(self) -> None:
        self._to_publish = [waiting for waiting in self._to_publish if not self._try_publish(*waiting)]

    def _try_publish(self, held: _Held, record: TokenRecord) -> bool:
        """Under the lock, and only over our own claim; False if it has to wait."""
        if held.lock_fd is None:
            try:
                lock_fd = try_lock_in_state(self._files.paths(held.token).lock)
            except OSError:  # no room for an open file just now
                return False
            if lock_fd is None:
                return False
            there = self._files.read(held.token)
            if there is None or there.claim != held.claim:
                os.close(lock_fd)  # taken over, and told by whoever did
                return True
            held.lock_fd = lock_fd
        self._publishing[held.token] = (held.claim, held.lock_fd)
        self._publisher.publish(self._files.paths(held.token), record)
        return True

    def _publish_for(self, record: TokenRecord, outcome: Outcome) -> TokenRecord:
        """On behalf of a holder who is dead. The lock is ours."""
        done = done_record(record, outcome, is_success=outcome.attempt_class is AttemptClass.OK)
        write_durably(self._files.record(record.token), encode_record(done))
        return done

    def _end_processes(self, record: TokenRecord) -> None:
        """End what a dead holder left behind, beside the loop."""
        if record.claim in self._ended or record.claim in self._ending.values():
            return
        number = self._next_ending
        self._next_ending += 1
        self._ending[number] = record.claim
        self._endings.begin(number, lambda: self._holders.end_processes(record.holder))

    def _replace(self, token: str, name: str, record: TokenRecord | None) -> None:
        """Have the holder's item cancelled: by its own supervisor, or in the place of one that is gone."""
        me = f"{self._run_id}/{name}"
        own = self._held.get(token)
        if own is not None:
            if own.claim not in self._replacing:
                self._replacing.add(own.claim)
                self._waiters.told.append(ReplaceAsked(own.item, me))
            return
        if record is None or record.claim in self._replacing:
            return
        argv = [sys.executable, "-m", "orchestrator", "--home", str(self._home)]
        argv += ["cancel", record.holder.run_id, record.holder.item, "--replaced-by", me]
        import subprocess  # 4 ms of a start that few runs need to pay

        null = subprocess.DEVNULL
        self._cancels.append(subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True))
        self._replacing.add(record.claim)  # only now: without room for a process it is tried again
        self._look_soon()

    def _look_soon(self) -> None:
        if self._next_look is None:
            self._next_look = time.monotonic() + LOOK_SECONDS

    def _set_next_look(self, now: float) -> None:
        """Rarer the more tokens there are to look at, so that waiting costs nothing that could be felt."""
        is_waiting = self._waiters or self._to_publish or self._cancels or self._own_again
        self._next_look = now + LOOK_SECONDS * max(1.0, len(self._waiters) / 50) if is_waiting else None


def _in_flight(record: TokenRecord) -> rules.InFlight:
    return rules.InFlight(record.payload, record.holder.words)


def _session_of(record: TokenRecord) -> tuple[int, int, str]:
    return record.holder.pid, record.holder.start_ticks, record.holder.boot_id


def _orphan_words(record: TokenRecord) -> str:
    return f"token {record.token!r}: what {record.holder.words} left behind is being ended"


def _is_around(mark: str, ancestors: Collection[str]) -> bool:
    """Whether `mark` is that of an attempt that this run is nested in, whichever attempt of that item it is by now."""
    item = mark.rpartition("/")[0]
    return any(ancestor.rpartition("/")[0] == item for ancestor in ancestors)
