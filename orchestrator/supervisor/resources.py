"""What an item may need besides a slot of its run: room in a nested run, a slot and a start of its pool, its account's limit.

`Resources` is what there is; `MissingResources` watches what was found missing until it may be had. Promise: a watch holds
nothing; it costs one `stat` of a resource's lock files each 100 ms, however many items wait for it. It refuses to handle: taking
a resource (`admission`), what a wait means for an item (core).
"""

from __future__ import annotations

import math
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from orchestrator.core.events import Event, ResourceFreed, SlotFreed
from orchestrator.core.parking import trial, usage_limit
from orchestrator.core.scheduling import ROOM, look_at_sources, pool_slot
from orchestrator.jobsfile.model import JobsFile, Pool
from orchestrator.shared.limits.trials import Parked, Trials, Tried
from orchestrator.shared.nesting.ancestors import Nesting
from orchestrator.shared.nesting.borrowing import Capacity
from orchestrator.store.records import WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.system.locks.lock_file import LOOK_SECONDS, REAL_LOOK_SECONDS, is_free

if TYPE_CHECKING:
    from orchestrator.attempts.looks import Look
    from orchestrator.shared.pools.rates import PoolRate
    from orchestrator.shared.pools.slots import PoolSlots


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


class Resources:
    """What one run may take. `nesting`: the items in which it runs, and of which it borrows."""

    def __init__(self, home: Path, jobs_file: JobsFile, nesting: Nesting | None, trials: Trials) -> None:
        pools = jobs_file.pools.values()
        self.pools = {pool.name: _slots_of(home, pool) for pool in pools if pool.slots is not None}
        self.rates = {pool.name: _rate_of(home, pool) for pool in pools if pool.rate is not None}
        self.capacity = Capacity(nesting, home) if nesting is not None else None
        self.trials = trials


def _slots_of(home: Path, pool: Pool) -> PoolSlots:
    from orchestrator.shared.pools.slots import PoolSlots

    return PoolSlots(home, pool)


def _rate_of(home: Path, pool: Pool) -> PoolRate:
    from orchestrator.shared.pools.rates import PoolRate

    return PoolRate(home, pool)


class _Watch(msgspec.Struct):
    seen: object = None
    look_really_at: float = -math.inf


class MissingResources:
    """What was found missing in one run. `next_look`: when `poll` is due (monotonic), None if nothing is missing."""

    def __init__(self, run_dir: RunDir, resources: Resources) -> None:
        self._pools = resources.pools
        self._capacity = resources.capacity
        self._trials = resources.trials
        self._run_dir = run_dir
        self._slot_lock = cache(run_dir.slot_lock)
        self._pool_of = {pool_slot(name): name for name in resources.pools}
        self._account_of: dict[str, str] = {}
        """Limits and trials that were found missing -> the account."""
        self._looks: dict[str, Look] = {}
        """By resource the looks at sources that are not over yet, as far as is known."""
        self._watches: dict[str, _Watch] = {}
        self._aside: set[int] = set()
        self.next_look: float | None = None

    def watch(self, resource: str) -> Missing:
        """Look at a resource from now on, until it may be had."""
        # The first look goes beyond the `stat` and takes the stamp, so it sees what was freed since the try.
        self._watches.setdefault(resource, _Watch())
        self._look_soon()
        return Missing(resource)

    def watch_look(self, job_id: str, look: Look) -> Missing:
        """Look at the sources of an item of this job from now on, until it is known whether they have changed."""
        resource = look_at_sources(job_id)
        self._looks[resource] = look
        return self.watch(resource)

    def watch_slot(self, slot: int) -> None:
        """Look at a slot of the run, whose own lock somebody else holds."""
        self._aside.add(slot)
        self._look_soon()

    def watch_account(self, account: str, limited: Parked | Tried) -> Missing:
        """Look at the limit of an account until it may be used: any run may take a limit back."""
        if isinstance(limited, Tried):
            resource, until = trial(account), math.inf
        else:
            resource, until = usage_limit(account), time.monotonic() + limited.seconds
        self._account_of[resource] = account
        return msgspec.structs.replace(self.watch(resource), until=until, account=account, words=limited.words)

    def poll(self, now: float) -> list[Event]:
        """What may be tried again."""
        if self.next_look is None or now < self.next_look:
            return []
        free = [slot for slot in self._aside if is_free(self._slot_lock(slot), self._run_dir.path)]
        self._aside.difference_update(free)
        freed = [resource for resource, watch in self._watches.items() if self._is_freed(resource, watch, now)]
        for resource in freed:
            del self._watches[resource]
        self.next_look = now + LOOK_SECONDS if self._aside or self._watches else None
        return [*(SlotFreed(slot) for slot in free), *(ResourceFreed(resource) for resource in freed)]

    def notes(self, resource: str) -> list[str | None]:
        """Of each unit of a resource the note (`RUN/ITEM MARK`) of its holder, None if it is free; [] of one without units."""
        if (account := self._account_of.get(resource)) is not None:
            return [self._trials.holder_note(account)] if resource == trial(account) else []
        if resource == ROOM:
            return [] if self._capacity is None else self._capacity.notes()
        if (name := self._pool_of.get(resource)) is None:
            return []
        return self._pools[name].notes() + ([] if self._capacity is None else self._capacity.pool_notes(name))

    def limit_words(self, resource: str) -> str | None:
        """Of an account's limit: until when it holds, and which item was told so."""
        account = self._account_of.get(resource)
        return self._trials.until_words(account) if account is not None and resource == usage_limit(account) else None

    def _stamp(self, resource: str) -> object:
        if (look := self._looks.get(resource)) is not None:
            return look.is_over
        if (account := self._account_of.get(resource)) is not None:
            return self._trials.stamp(account)
        if resource == ROOM:
            assert self._capacity is not None
            return self._capacity.stamp()
        name = self._pool_of[resource]
        # An item of a nested run that waits for a pool may also borrow a slot of it.
        return self._pools[name].stamp(), None if self._capacity is None else self._capacity.pool_stamp(name)

    def _is_any_free(self, resource: str) -> bool:
        if (look := self._looks.get(resource)) is not None:
            return look.is_over
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
