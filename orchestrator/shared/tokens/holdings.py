"""The tokens that the supervisor of one run holds: each for an item that works under it, or keeps it until its next attempt.

Promise: the record names the holder before anything of the item runs. Through a backoff it names a session that lives.
Invariant: an item holds one token at most, and a token is held for one item. The lock is here only while the item runs under this
supervisor: through a backoff the record alone keeps the token, and an adopted attempt's lock is its worker's.
It refuses to handle: who may take a token (`asks`), what comes of the work (`publications`).
"""

from __future__ import annotations

import os

import msgspec

from orchestrator.core.states import ItemRef
from orchestrator.jobsfile.model import OutputKind
from orchestrator.shared.tokens.answers import Asking
from orchestrator.shared.tokens.record import Holder, TokenFiles, TokenRecord, now_stamps
from orchestrator.store.records import Started
from orchestrator.system.locks.lock_file import try_lock_in_state
from orchestrator.workers.locks import unlock
from orchestrator.workers.processes.identity import boot_id, start_ticks


class Session(msgspec.Struct, frozen=True):
    """Which supervisor it is, as a record names it."""

    pid: int
    start_ticks: int
    boot_id: str
    session: str


class TakenOver(Exception):
    """Another item has the token by now, or somebody removed its record."""


class Held(msgspec.Struct):
    """A token that an item of this run holds. `record`: None only until the item begins.

    Without `lock_fd` the record keeps it; or, if `is_adopted`, the worker of an attempt that an earlier supervisor began.
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
    """The holdings of one run."""

    def __init__(self, run_id: str, files: TokenFiles) -> None:
        self.session = Session(os.getpid(), start_ticks(os.getpid()) or -1, boot_id(), os.urandom(4).hex())
        self._run_id = run_id
        self._files = files
        self._by_token: dict[str, Held] = {}
        self._by_item: dict[ItemRef, Held] = {}

    def of_token(self, token: str) -> Held | None:
        """This run's hold of a token."""
        return self._by_token.get(token)

    def of_item(self, item: ItemRef) -> Held | None:
        """The token that the item holds."""
        return self._by_item.get(item)

    def reserved_items(self) -> list[ItemRef]:
        """Items that keep their token while they do not run."""
        return [held.item for held in self._by_token.values() if held.lock_fd is None and not held.is_adopted]

    def take_token(self, asking: Asking, lock_fd: int, promotions: int) -> None:
        """The token is the item's: `begin_attempt` or `give_back` follows. The descriptor is kept here."""
        claim = os.urandom(8).hex()
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

    def begin_attempt(self, item: ItemRef, *, attempt: int, worker: int, sequence: int, mark: str) -> TokenRecord:
        """Note who has the token, before anything of the attempt runs. Raises StateUnwritableError."""
        held = self._by_item[item]
        # The record leads to the attempt by its worker, sequence and mark: that is how a dead holder's processes are found.
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
                **msgspec.structs.asdict(self.session),
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
        """The item does not start after all. Returns the token if it is free for others now, None within a backoff."""
        held = self._by_item[item]
        assert held.lock_fd is not None
        os.close(held.lock_fd)
        held.lock_fd = None
        if held.record is not None:
            return None
        self.drop_token(held)
        return held

    def adopt_attempt(self, item: ItemRef, name: str, start: Started) -> None:
        """An attempt of an earlier supervisor runs on. Its token is this run's as long as the record says so."""
        assert start.token is not None
        record = self._files.find_record(start.token)
        if record is None or record.state != "held" or record.holder.run_id != self._run_id or record.holder.item != name:
            return  # another item took the token over, and published what came of it
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

    def reserve_token(self, held: Held) -> None:
        """The item will try again: until then the record keeps the token, and no lock. Raises StateUnwritableError."""
        if held.lock_fd is not None:
            unlock(held.lock_fd)
            held.lock_fd = None
        # The record of an attempt that this supervisor began names this session, which lives: that is enough.
        if not held.is_adopted:
            return
        # That of an adopted attempt names a killed supervisor. Its worker kept the token alive, and has ended: by now another
        # item may have taken the token over. Then it is dropped, and the item's next attempt asks like any other's.
        held.is_adopted = False
        try:
            lock_fd = self.try_relock(held)
        except TakenOver:
            lock_fd = None
        if lock_fd is None:
            self.drop_token(held)
            return
        # Name this session in the record while the lock is ours.
        try:
            assert held.record is not None
            holder = msgspec.structs.replace(held.record.holder, **msgspec.structs.asdict(self.session))
            held.record = msgspec.structs.replace(held.record, holder=holder)
            self._files.write_held(held.record)
        finally:
            unlock(lock_fd)

    def try_relock(self, held: Held) -> int | None:
        """The lock of a token that is held without one; None if it is not to be had just now. Raises TakenOver."""
        try:
            lock_fd = try_lock_in_state(self._files.paths(held.token).lock)
        except OSError:  # a shortage of descriptors, which passes
            return None
        if lock_fd is None:
            return None
        there = self._files.find_record(held.token)
        if there is None or there.claim != held.claim:
            os.close(lock_fd)
            raise TakenOver
        return lock_fd

    def drop_token(self, held: Held) -> None:
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
