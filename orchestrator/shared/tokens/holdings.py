"""What the supervisor of one run holds of tokens: each for the item that runs with it, or that keeps it until its next attempt.

Promise: the record names who holds a token before anything of the item runs, and through a backoff it names a session that lives.
Invariant: an item holds one token at most, and a token is held for one item. The lock is here only while the item runs under this
supervisor: through a backoff the record alone keeps the token, and of an adopted attempt the worker has the lock.
It refuses to handle: who may take a token (desk), what comes of the work (publications).
"""

from __future__ import annotations

import os
import secrets
from typing import NamedTuple

import msgspec

from orchestrator.core.states import ItemRef
from orchestrator.jobsfile.model import OutputKind
from orchestrator.shared.tokens.answers import Asking
from orchestrator.shared.tokens.record import Holder, TokenFiles, TokenRecord, now_stamps
from orchestrator.store.records import Started
from orchestrator.system.locks.lock_file import try_lock_in_state
from orchestrator.workers.locks import unlock
from orchestrator.workers.processes.identity import boot_id, start_ticks


class Session(NamedTuple):
    """Which supervisor it is, as a record names it."""

    pid: int
    start_ticks: int
    boot_id: str
    session: str


class TakenOver(Exception):
    """Somebody else has the token by now, or removed its record."""


class Held(msgspec.Struct):
    """A token that an item of this run holds. `record`: None only until it begins; without `lock_fd` the record keeps it.

    `is_adopted`: an attempt of an earlier supervisor runs, whose worker has the lock.
    """

    item: ItemRef
    name: str
    token: str
    payload: str
    claim: str
    promotions: int
    output: OutputKind
    schema: str | None
    is_loop: bool
    record: TokenRecord | None = None
    lock_fd: int | None = None
    is_adopted: bool = False


class Holdings:
    """Of one run."""

    def __init__(self, run_id: str, files: TokenFiles) -> None:
        self.session = Session(os.getpid(), start_ticks(os.getpid()) or -1, boot_id(), secrets.token_hex(4))
        self._run_id = run_id
        self._files = files
        self._by_token: dict[str, Held] = {}
        self._by_item: dict[ItemRef, Held] = {}

    def of_token(self, token: str) -> Held | None:
        """Who of this run holds it."""
        return self._by_token.get(token)

    def of_item(self, item: ItemRef) -> Held | None:
        """What the item holds."""
        return self._by_item.get(item)

    def reserved(self) -> list[ItemRef]:
        """Items that keep their token while they do not run."""
        return [held.item for held in self._by_token.values() if held.lock_fd is None and not held.is_adopted]

    def take(self, asking: Asking, lock_fd: int, promotions: int) -> None:
        """The token is the item's: `begin` or `give_back` follows."""
        claim = secrets.token_hex(8)
        held = Held(
            asking.item,
            asking.name,
            asking.token,
            asking.payload,
            claim,
            promotions,
            asking.output,
            asking.schema,
            asking.is_loop,
            lock_fd=lock_fd,
        )
        self._add(held)

    def begin(self, item: ItemRef, *, attempt: int, worker: int, sequence: int, mark: str) -> TokenRecord:
        """Note who has the token, before anything of the attempt runs. Raises StateUnwritableError."""
        held = self._by_item[item]
        at, clock, boot = now_stamps()
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
                **self.session._asdict(),
            ),
            promotions=held.promotions,
            output=held.output,
            schema=held.schema,
            is_loop=held.is_loop,
            at=at,
            clock=clock,
            boot=boot,
        )
        self._files.write_held(held.record)
        return held.record

    def give_back(self, item: ItemRef) -> Held | None:
        """The item does not start after all; the token, if it is free for others now (not within a backoff)."""
        held = self._by_item[item]
        assert held.lock_fd is not None
        os.close(held.lock_fd)
        held.lock_fd = None
        if held.record is not None:
            return None
        self.drop(held)
        return held

    def adopt(self, item: ItemRef, name: str, start: Started) -> None:
        """An attempt of an earlier supervisor runs on. Its token is this run's as long as the record says so."""
        assert start.token is not None
        record = self._files.read(start.token)
        if record is None or record.state != "held" or record.holder.run_id != self._run_id or record.holder.item != name:
            return  # somebody took the token over, and published what came of it
        held = Held(
            item,
            name,
            start.token,
            start.payload,
            record.claim,
            record.promotions,
            record.output,
            record.schema,
            record.is_loop,
            record,
            is_adopted=True,
        )
        self._add(held)

    def reserve(self, held: Held) -> None:
        """The item will try again: until then the record keeps the token, and no lock.

        That of an adopted attempt names the supervisor that was killed. Until its worker ended that was enough; now anybody may
        have taken the token over, and then the item's next attempt asks like any other's.
        """
        if held.lock_fd is not None:
            unlock(held.lock_fd)
            held.lock_fd = None
        if not held.is_adopted:
            return  # the record names this session
        held.is_adopted = False
        try:
            lock_fd = self.try_relock(held)
        except TakenOver:
            lock_fd = None
        if lock_fd is None:
            self.drop(held)
            return
        try:
            assert held.record is not None
            holder = msgspec.structs.replace(held.record.holder, **self.session._asdict())
            held.record = msgspec.structs.replace(held.record, holder=holder)
            self._files.write_held(held.record)
        finally:
            unlock(lock_fd)

    def try_relock(self, held: Held) -> int | None:
        """The lock of a token that is held without one; None if it is not to be had just now. Raises TakenOver."""
        try:
            lock_fd = try_lock_in_state(self._files.paths(held.token).lock)
        except OSError:  # no room for an open file just now
            return None
        if lock_fd is None:
            return None
        there = self._files.read(held.token)
        if there is None or there.claim != held.claim:
            os.close(lock_fd)
            raise TakenOver
        return lock_fd

    def drop(self, held: Held) -> None:
        """The item holds it no longer. Its lock is the caller's."""
        del self._by_token[held.token]
        del self._by_item[held.item]

    def close(self) -> None:
        """What runs, runs on, and keeps its token by its own descriptors."""
        for held in self._by_token.values():
            if held.lock_fd is not None:
                os.close(held.lock_fd)

    def _add(self, held: Held) -> None:
        self._by_token[held.token] = self._by_item[held.item] = held
