"""What an item needs besides a free slot of its run, taken by try only: all of it, or nothing.

Promise: no item ever waits while it holds something. What was taken is let go before `admit` says that something is missing; the
item then waits, holding nothing, and `resources` watches what is missing. The order of the tries:

1. memory (`min_free_memory`)
2. the limit of the agent's account
3. the slot's own lock
4. the token
5. room, in a nested run
6. a slot of the pool
7. the trial of an account whose limit is over
8. a worker
9. a start within the pool's rate

An item that joins work already running in this run takes no resource. It refuses to handle: what a wait means for the item
(core), what a token's work came to (tokens).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from orchestrator.attempts.rendering import Prepared
from orchestrator.core.scheduling import MEMORY, ROOM, pool_rate, pool_slot
from orchestrator.core.shortage import SHORTAGE
from orchestrator.core.states import ItemRef
from orchestrator.engines.engine import Engine, ReadyWorker
from orchestrator.errors import StateUnwritableError
from orchestrator.jobsfile.model import Job
from orchestrator.shared.limits.trials import Parked, Trial, Tried
from orchestrator.shared.tokens.answers import Asking, Granted, Joins, Refused, Shared, Wanted
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.store.records import Started, WorkerStarted
from orchestrator.supervisor.resources import Missing, MissingResources, Resources
from orchestrator.supervisor.run import Run
from orchestrator.supervisor.slot_locks import SlotLocks
from orchestrator.system.locks.held import HeldLocks
from orchestrator.workers.locks import unlock
from orchestrator.workers.processes.spawn import SHORTAGES

if TYPE_CHECKING:
    from orchestrator.attempts.looks import Look

_MEMORY_LOOK_SECONDS = 1.0
_COLD_START_SECONDS, _WARM_START_SECONDS = 0.5, 0.02
"""How long after it was granted a start may happen, with a worker that was just started, and with one that waits for work."""


class Candidate(msgspec.Struct, frozen=True):
    """An attempt that is to start in `slot`. `mark`: what will stand in the environment of all that it starts; `account`: the one
    that its agent uses.
    """

    item: ItemRef
    name: str
    job: Job
    slot: int
    mark: str
    prepared: Prepared
    account: str | None


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """All that the attempt needs. `worker` runs it; the `locks` are the engine's to let go of, but for those of its slot
    and of its token."""

    locks: HeldLocks
    pools: list[str]
    has_token: bool
    promotions: int
    worker: ReadyWorker

    @property
    def new_worker(self) -> WorkerStarted | None:
        """It was just started, and must be recorded before it gets work."""
        return self.worker.record


class SlotHeld(msgspec.Struct, frozen=True):
    """Another process holds the slot's own lock."""


Answer = Admitted | Missing | SlotHeld | Joins | Shared | Refused


class _Taken(msgspec.Struct):
    """What one `admit` has taken so far. `undo`: the calls that let go of it again. `note`: what the lock files tell of their
    holder.
    """

    note: str
    undo: list[Callable[[], object]] = []
    lock_fds: list[int] = []
    kept_fds: list[int] = []
    pools: set[str] = set()
    has_token: bool = False
    promotions: int = 0

    def let_go(self) -> None:
        """Let go of all of it, the last first; also of the rest if one cannot be let go of, which is then raised."""
        with ExitStack() as stack:
            for each in self.undo:
                stack.callback(each)


class Admission:
    """Of one run. `slots`: the locks of its slots, which hear of ends from whoever knows them."""

    def __init__(self, run: Run, resources: Resources, missing: MissingResources, engine: Engine, tokens: TokenDesk) -> None:
        self._run = run
        self.slots = SlotLocks(run.dir)
        self._resources = resources
        self._missing = missing
        self._engine = engine
        self._tokens = tokens
        self._min_free_memory = run.jobs_file.run.min_free_memory

    def admit(self, candidate: Candidate) -> Answer:
        """Take all that the attempt needs, or tell what is missing. Raises StateUnwritableError."""
        try:
            asking = self._asking(candidate) if candidate.prepared.token is not None else None
            if asking is not None:
                # Before anything is taken: a duplicate of work in this run needs neither slot nor memory to join it.
                known = self._tokens.ask_this_run(asking)
                if isinstance(known, (Joins, Shared, Refused)):
                    return known
            if self._min_free_memory is not None and _free_memory() < self._min_free_memory:
                return Missing(MEMORY, time.monotonic() + _MEMORY_LOOK_SECONDS)
            account = candidate.account
            if account is not None and (limited := self._resources.trials.find_missing(account)) is not None:
                return self._missing.watch_account(account, limited)
            taken = _Taken(f"{self._run.id}/{candidate.name} {candidate.mark}")
            is_admitted = False
            try:
                answer = self._take_all(candidate, asking, taken)
                is_admitted = isinstance(answer, Admitted)
            finally:
                if not is_admitted:
                    taken.let_go()
            return answer
        except OSError as error:
            if error.errno not in SHORTAGES:
                # A worker's Python that is gone, or no program any more, is named by the error.
                where = error.filename or self._run.dir.path
                raise StateUnwritableError(f"{where}: {error.strerror}", "mend that, then resume the run") from error
            self._run.tell.note(f"{candidate.name}: {error.strerror}; tried again")
            return Missing(SHORTAGE)

    def watch_look(self, job_id: str, look: Look) -> Missing:
        """Until it is over nobody knows whether the item that it is for is to run, and no other item of its job is tried."""
        return self._missing.watch_look(job_id, look)

    def note_slot(self, slot: int, name: str, mark: str) -> None:
        """The attempt that runs in the slot from now on took its lock over from the one before."""
        self.slots.note(slot, f"{self._run.id}/{name} {mark}")

    def begin_token(self, candidate: Candidate, start: Started) -> None:
        """The attempt that `admit` gave a token is about to start: the token's record names it before its agent lives."""
        ids = {"attempt": start.attempt, "worker": start.worker, "sequence": start.sequence}
        self._tokens.begin_attempt(candidate.item, mark=candidate.mark, **ids)

    def adopt_token(self, item: ItemRef, name: str, start: Started) -> None:
        """An attempt of an earlier supervisor holds its token: go on for it as if it had been admitted here."""
        self._tokens.adopt_attempt(item, name, start)

    def _asking(self, candidate: Candidate) -> Asking:
        """What the token desk is asked for an item that has a token."""
        prepared = candidate.prepared
        assert prepared.token is not None
        wanted = Wanted(
            token=prepared.token,
            payload=prepared.payload,
            makes_file=bool(prepared.creates),
            is_asked=prepared.is_asked,
            schema=prepared.agent.schema if prepared.agent is not None else None,
        )
        return self._tokens.make_asking(candidate.item, candidate.name, candidate.job, wanted)

    def _take_all(self, candidate: Candidate, asking: Asking | None, taken: _Taken) -> Answer:
        # The slot of this run comes first: its lock is free unless an attempt outlived the supervisor that started it.
        slot_fd = self.slots.try_take(candidate.slot, taken.note)
        if slot_fd is None:
            self._missing.watch_slot(candidate.slot)
            return SlotHeld()
        if self.slots.keeps(candidate.slot):
            taken.undo.append(partial(self.slots.give_back, candidate.slot))
            taken.kept_fds.append(slot_fd)
        else:
            taken.undo.append(partial(os.close, slot_fd))
            taken.lock_fds.append(slot_fd)
        if asking is not None and (elsewhere := self._take_token(candidate.item, asking, taken)) is not None:
            return elsewhere
        if (missing := self._take_shared(candidate, taken)) is not None:
            return missing
        # A worker only for an attempt that has all else, or idle workers would fill the machine.
        worker = self._engine.prepare(candidate.slot)
        # The rate is asked last: what it grants is spent, and a worker that cannot be had must not spend it again and again.
        if candidate.job.pool in self._resources.rates:
            too_soon = self._missing_start(candidate.job.pool, worker.record)
            if too_soon is not None:
                return too_soon
        locks = HeldLocks(taken.lock_fds, taken.kept_fds)
        return Admitted(
            locks=locks, pools=sorted(taken.pools), has_token=taken.has_token, promotions=taken.promotions, worker=worker
        )

    def _take_token(self, item: ItemRef, asking: Asking, taken: _Taken) -> Joins | Shared | Refused | None:
        """Take the item's token; or tell that its work is done, or is being done, elsewhere."""
        answer = self._tokens.ask_for_token(asking)
        if isinstance(answer, (Joins, Shared, Refused)):
            return answer
        if isinstance(answer, Granted):
            taken.undo.append(partial(self._tokens.give_back, item))
            taken.kept_fds.append(answer.lock_fd)
            taken.has_token = True
            taken.promotions = answer.promotions
        return None

    def _take_shared(self, candidate: Candidate, taken: _Taken) -> Missing | None:
        """Take what all runs share, tokens apart; or tell what is missing."""
        pool, resources = candidate.job.pool, self._resources
        if resources.capacity is not None:
            borrowed = resources.capacity.try_borrow(pool, taken.note)
            if borrowed is None:
                return self._missing.watch(ROOM)
            for fd in borrowed.lock_fds:
                taken.undo.append(partial(unlock, fd))
            taken.lock_fds += borrowed.lock_fds
            taken.pools |= borrowed.pools
        # What was borrowed may be a slot of this very pool.
        if pool in resources.pools and pool not in taken.pools:
            pool_fd = resources.pools[pool].try_take_slot(taken.note)
            if pool_fd is None:
                return self._missing.watch(pool_slot(pool))
            taken.undo.append(partial(unlock, pool_fd))
            taken.lock_fds.append(pool_fd)
            taken.pools.add(pool)
        account = candidate.account
        return None if account is None else self._take_trial(account, taken)

    def _take_trial(self, account: str, taken: _Taken) -> Missing | None:
        """Where the limit of the agent's account is just over, take the right to try it alone."""
        tried = self._resources.trials.try_use_account(account, taken.note)
        if isinstance(tried, (Parked, Tried)):
            return self._missing.watch_account(account, tried)
        if isinstance(tried, Trial):
            taken.undo.append(partial(unlock, tried.lock_fd))
            taken.lock_fds.append(tried.lock_fd)
        return None

    def _missing_start(self, pool: str, new_worker: WorkerStarted | None) -> Missing | None:
        """What is missing if the pool's rate allows no start now."""
        try:
            wait = self._resources.rates[pool].try_grant_start(_WARM_START_SECONDS if new_worker is None else _COLD_START_SECONDS)
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            return Missing(SHORTAGE, new_worker=new_worker)  # its worker is recorded, or the next one would get the same number
        return None if wait is None else Missing(pool_rate(pool), time.monotonic() + wait, new_worker)


def _free_memory() -> int:
    """Bytes that this machine could give to a new process."""
    import psutil

    return int(psutil.virtual_memory().available)
