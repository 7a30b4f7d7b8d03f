"""What an item needs besides a free slot of its run, taken by try only: all of it, or nothing.

Promise: nobody ever waits while holding. What was taken is let go before `admit` says that something is missing, and the item
then waits holding nothing; what is missing is looked at (one `stat` of its lock files, at most each 100 ms, however many items
wait) until it may be had. In this order: memory, an account's limit, the slot's own lock, token,
room in a nested run, pool slot, the trial of an account whose limit is over, worker, rate.
Who joins what this very run does already takes nothing at all.
It refuses to handle: what a wait means for the item (core), what a token's work came to (tokens).
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import msgspec

from orchestrator.attempts.rendering import Prepared
from orchestrator.core.events import Event, ResourceFreed, SlotFreed
from orchestrator.core.parking import trial, usage_limit
from orchestrator.core.scheduling import MEMORY, ROOM, pool_rate, pool_slot
from orchestrator.core.shortage import SHORTAGE
from orchestrator.core.states import ItemRef
from orchestrator.engines.engine import Engine, ReadyWorker
from orchestrator.errors import StateUnwritableError
from orchestrator.jobsfile.model import Job, JobsFile
from orchestrator.shared.limits.trials import Parked, Trial, Trials, Tried
from orchestrator.shared.nesting.ancestors import Nesting
from orchestrator.shared.nesting.borrowing import Capacity
from orchestrator.shared.pools.rates import PoolRate
from orchestrator.shared.pools.slots import PoolSlots
from orchestrator.shared.tokens.answers import Asking, Granted, Joins, Refused, Shared, Wanted
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.store.records import WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.held import HeldLocks
from orchestrator.system.locks.lock_file import LOOK_SECONDS, REAL_LOOK_SECONDS, is_free, try_take
from orchestrator.workers.locks import unlock
from orchestrator.workers.processes.spawn import SHORTAGES

_MEMORY_LOOK_SECONDS = 1.0
_COLD_START_SECONDS, _WARM_START_SECONDS = 0.5, 0.02
"""How long after it was granted a start may happen, with a worker that was just started, and with one that waits for work."""


class Admitted(msgspec.Struct, frozen=True):
    """All that the item needs. `worker` runs it; the `locks` are the engine's to let go of, but for that of its token."""

    locks: HeldLocks
    pools: list[str]
    promotions: int
    worker: ReadyWorker

    @property
    def new_worker(self) -> WorkerStarted | None:
        """It was just started, and must be recorded before it gets work."""
        return self.worker.record


class Missing(msgspec.Struct, frozen=True):
    """A resource is not to be had; no use in trying before `until` (monotonic seconds; infinite: until it is told).

    `new_worker`: it was started on the way, will be used later, and must be recorded. `account`: whose limit the resource is, if
    it is one; `words` say more of it.
    """

    resource: str
    until: float = math.inf
    new_worker: WorkerStarted | None = None
    account: str | None = None
    words: str = ""


class SlotHeld(msgspec.Struct, frozen=True):
    """The slot's own lock is held by somebody else."""


Answer = Admitted | Missing | SlotHeld | Joins | Shared | Refused


class _Watch(msgspec.Struct):
    seen: object = None
    look_really_at: float = -math.inf


class Admission:
    """Of one run. `next_look`: when `poll` is due (monotonic), None if nothing is missing."""

    def __init__(
        self,
        home: Path,
        run_dir: RunDir,
        jobs_file: JobsFile,
        engine: Engine,
        tokens: TokenDesk,
        nesting: Nesting | None,
        trials: Trials,
        note: Callable[[str], None],
    ) -> None:
        self._trials = trials
        self._account_of: dict[str, str] = {}
        """Limits and trials that were found missing -> the account."""
        self._run_dir = run_dir
        self._slot_lock = cache(run_dir.slot_lock)
        self._engine = engine
        self._tokens = tokens
        self._note = note
        self._min_free_memory = jobs_file.run.min_free_memory
        self._pools = {pool.name: PoolSlots(home, pool) for pool in jobs_file.pools.values() if pool.slots is not None}
        self._pool_of = {pool_slot(name): name for name in self._pools}
        self._rates = {pool.name: PoolRate(home, pool) for pool in jobs_file.pools.values() if pool.rate is not None}
        self._capacity = Capacity(nesting, home) if nesting is not None else None
        self._watches: dict[str, _Watch] = {}
        self._aside: set[int] = set()
        self.next_look: float | None = None

    def admit(self, item: ItemRef, name: str, job: Job, slot: int, mark: str, prepared: Prepared) -> Answer:
        """Take all that the item needs, or tell what is missing. Raises StateUnwritableError."""
        try:
            asking = None
            if prepared.token is not None:
                wanted = Wanted(
                    token=prepared.token,
                    payload=prepared.payload,
                    makes_file=prepared.creates is not None,
                    is_asked=prepared.is_asked,
                    schema=prepared.agent.schema if prepared.agent is not None else None,
                )
                asking = self._tokens.make_asking(item, name, job, wanted)
                known = self._tokens.ask_this_run(asking)
                if isinstance(known, Joins | Shared | Refused):
                    return known
            if self._is_memory_short():
                return Missing(MEMORY, time.monotonic() + _MEMORY_LOOK_SECONDS)
            account = prepared.agent.account if prepared.agent is not None else None
            if account is not None and (limited := self._trials.find_missing(account)) is not None:
                return self.limited(account, limited)
            with ExitStack() as undo:
                answer = self._take(item, name, job, slot, mark, asking, account, undo)
                if isinstance(answer, Admitted):
                    undo.pop_all()
                return answer
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise StateUnwritableError(f"{self._run_dir.path}: {error.strerror}", "mend that, then resume the run") from error
            self._note(f"{name}: {error.strerror}; tried again")
            return Missing(SHORTAGE)

    def poll(self, now: float) -> list[Event]:
        """What may be tried again."""
        if self.next_look is None or now < self.next_look:
            return []
        free = [slot for slot in self._aside if is_free(self._slot_lock(slot))]
        self._aside.difference_update(free)
        freed = [resource for resource, watch in self._watches.items() if self._is_freed(resource, watch, now)]
        for resource in freed:
            del self._watches[resource]
        self.next_look = now + LOOK_SECONDS if self._aside or self._watches else None
        return [*(SlotFreed(slot) for slot in free), *(ResourceFreed(resource) for resource in freed)]

    def notes(self, resource: str) -> list[str | None]:
        """Of each unit of a resource the note (`RUN/ITEM MARK`) of who holds it, None if it is free; [] of one without units."""
        if (account := self._account_of.get(resource)) is not None:
            return [self._trials.holder_note(account)] if resource == trial(account) else []
        if resource == ROOM:
            return [] if self._capacity is None else self._capacity.notes()
        if (name := self._pool_of.get(resource)) is None:
            return []
        return self._pools[name].notes() + ([] if self._capacity is None else self._capacity.pool_notes(name))

    def limit_words(self, resource: str) -> str | None:
        """Of an account's limit: until when it holds, and who was told so."""
        account = self._account_of.get(resource)
        return self._trials.until_words(account) if account is not None and resource == usage_limit(account) else None

    def _take(
        self,
        item: ItemRef,
        name: str,
        job: Job,
        slot: int,
        mark: str,
        asking: Asking | None,
        account: str | None,
        undo: ExitStack,
    ) -> Answer:
        note = f"{self._run_dir.run_id}/{name} {mark}"
        slot_fd = try_take(self._slot_lock(slot), note)
        if slot_fd is None:
            self._aside.add(slot)
            self._look_soon()
            return SlotHeld()
        undo.callback(os.close, slot_fd)
        fds = [slot_fd]
        token_fds: list[int] = []
        promotions = 0
        if asking is not None:
            answer = self._tokens.ask_for_token(asking)
            if isinstance(answer, Joins | Shared | Refused):
                return answer
            if isinstance(answer, Granted):
                undo.callback(self._tokens.give_back, item)
                token_fds.append(answer.lock_fd)
                promotions = answer.promotions
        pools: set[str] = set()
        shared = self._take_shared(job, account, note, fds, pools, undo)
        if shared is not None:
            return shared
        worker = self._engine.prepare(slot)
        if job.pool in self._rates and (missing := self._missing_start(job.pool, worker.record)) is not None:
            return missing
        return Admitted(HeldLocks(fds, token_fds), sorted(pools), promotions, worker)

    def _take_shared(
        self, job: Job, account: str | None, note: str, fds: list[int], pools: set[str], undo: ExitStack
    ) -> Missing | None:
        """Take what all runs share, tokens apart, and add it to `fds` and `pools`; or tell what is missing."""
        if self._capacity is not None:
            borrowed = self._capacity.try_borrow(job.pool, note)
            if borrowed is None:
                return self._missing(ROOM)
            for fd in borrowed.lock_fds:
                undo.callback(unlock, fd)
            fds += borrowed.lock_fds
            pools |= borrowed.pools
        if job.pool in self._pools and job.pool not in pools:
            pool_fd = self._pools[job.pool].try_take_slot(note)
            if pool_fd is None:
                return self._missing(pool_slot(job.pool))
            undo.callback(unlock, pool_fd)
            fds.append(pool_fd)
            pools.add(job.pool)
        if account is not None:
            tried = self._trials.try_use_account(account, note)
            if isinstance(tried, Parked | Tried):
                return self.limited(account, tried)
            if isinstance(tried, Trial):
                undo.callback(unlock, tried.lock_fd)
                fds.append(tried.lock_fd)
        return None

    def _missing_start(self, pool: str, new_worker: WorkerStarted | None) -> Missing | None:
        """What is missing if the pool's rate allows no start now. Asked for last: what it grants is spent, and a worker that
        cannot be had must not spend it again and again."""
        try:
            wait = self._rates[pool].try_grant_start(_WARM_START_SECONDS if new_worker is None else _COLD_START_SECONDS)
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            return Missing(SHORTAGE, new_worker=new_worker)  # a worker that nobody hears of would share its number
        return None if wait is None else Missing(pool_rate(pool), time.monotonic() + wait, new_worker)

    def limited(self, account: str, limited: Parked | Tried) -> Missing:
        """What is missing of an account: looked at from now on until it may be had, for anybody may take back a limit."""
        if isinstance(limited, Tried):
            resource, until = trial(account), math.inf
        else:
            resource, until = usage_limit(account), time.monotonic() + limited.seconds
        self._account_of[resource] = account
        missing = self._missing(resource)
        return msgspec.structs.replace(missing, until=until, account=account, words=limited.words)

    def _missing(self, resource: str) -> Missing:
        # The first look is a real one, and takes the stamp: what was freed since the try is seen by it.
        self._watches.setdefault(resource, _Watch())
        self._look_soon()
        return Missing(resource)

    def _stamp(self, resource: str) -> object:
        if (account := self._account_of.get(resource)) is not None:
            return self._trials.stamp(account)
        if resource == ROOM:
            assert self._capacity is not None
            return self._capacity.stamp()
        name = self._pool_of[resource]
        # Who is nested and waits for a pool may also borrow a slot of it.
        return self._pools[name].stamp(), None if self._capacity is None else self._capacity.pool_stamp(name)

    def _is_any_free(self, resource: str) -> bool:
        if (account := self._account_of.get(resource)) is not None:
            return self._trials.is_free(account) if resource == trial(account) else self._trials.is_past(account)
        if resource == ROOM:
            assert self._capacity is not None
            return self._capacity.is_any_free()
        name = self._pool_of[resource]
        return self._pools[name].is_any_free() or (self._capacity is not None and self._capacity.is_pool_free(name))

    def _is_freed(self, resource: str, watch: _Watch, now: float) -> bool:
        stamp = self._stamp(resource)
        if stamp == watch.seen and now < watch.look_really_at:
            return False
        watch.seen = stamp
        watch.look_really_at = now + REAL_LOOK_SECONDS
        return self._is_any_free(resource)

    def _look_soon(self) -> None:
        self.next_look = self.next_look or time.monotonic() + LOOK_SECONDS

    def _is_memory_short(self) -> bool:
        if self._min_free_memory is None:
            return False
        import psutil

        return psutil.virtual_memory().available < self._min_free_memory
