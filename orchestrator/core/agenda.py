"""What of a run is to be looked at after an event, so that no event looks at every job.

Promise: an event costs as much in a run of five thousand jobs as in one of ten. Whoever changes a job notes it in `changed`; the
next look (`turns.review`) puts the job into the sets to which it belongs now, and what is asked of the whole run is asked of
these sets. Nothing here knows a rule: the rules are in `turns`, `resting` and `job_order`.
"""

from __future__ import annotations

import heapq

import msgspec


class WaitingLine(msgspec.Struct, frozen=True):
    """What items of several jobs need besides slots, of their run and of a pool: if one of them lacks it, all do, and none of the
    others is asked.

    `is_unpriced`: all of them are expected to cost what an attempt of the run has cost on average. `held`: the line is of items
    that were found to need this account, in jobs whose items find out at their start.
    """

    lane: str
    accounts: tuple[str, ...]
    on_usage_limit: str
    is_unpriced: bool
    held: str | None = None


NO_LINE = WaitingLine("main", (), "wait", is_unpriced=False)
"""Of a job that needs nothing but a slot."""


class Queue(msgspec.Struct):
    """The jobs of a line that need the same pool, by rank, the first first. One that no longer belongs here is dropped when it
    comes up.

    `missing`: what the pool lacks, as long as it does (`Agenda.held_up`).
    """

    heap: list[int] = msgspec.field(default_factory=list)
    ranks: set[int] = msgspec.field(default_factory=set)
    missing: str | None = None


class Line(msgspec.Struct):
    """The queues of a line, by pool (None: of the jobs without one).

    `heads`: heap of (rank of the first job, pool) of each queue whose pool lacks nothing, as far as is known. Some are stale.
    """

    queues: dict[str | None, Queue] = msgspec.field(default_factory=dict)
    heads: list[tuple[int, str | None]] = msgspec.field(default_factory=list)

    def tell_head(self, pool: str | None) -> None:
        """The queue has another first job, or its pool lacks nothing any more."""
        heapq.heappush(self.heads, (self.queues[pool].heap[0], pool))


class Agenda(msgspec.Struct):
    """Of one run. Jobs are named by their order in the file."""

    changed: set[int] = msgspec.field(default_factory=set)
    """Jobs of which something has changed since the last look."""
    to_open: set[int] = msgspec.field(default_factory=set)
    """Blocked jobs of which nobody knows yet what they wait for; all others stand among the `watchers` of a job."""
    closable: set[int] = msgspec.field(default_factory=set)
    """Open jobs of which nothing was left at the last look."""
    at_work: set[int] = msgspec.field(default_factory=set)
    """Jobs of which items run."""
    moving: set[int] = msgspec.field(default_factory=set)
    """Jobs that go on by themselves: something of them runs, is being listed, recorded, asked or awaited elsewhere."""
    wanting: set[int] = msgspec.field(default_factory=set)
    """Jobs of which an item can still start: now, or when its time has come."""
    lines: dict[WaitingLine, Line] = msgspec.field(default_factory=dict)
    """Of `wanting`, those that can start an item now, as soon as there is room and what else it needs."""
    held_up: dict[str, list[tuple[WaitingLine, str | None]]] = msgspec.field(default_factory=dict)
    """Resource of a pool that is missing -> the queues that were found to lack it, by line and pool."""
    looked_at: dict[str, int] = msgspec.field(default_factory=dict)
    """Look at sources that is not over -> the job that it is for: till then it stands in no line."""
    gates: set[int] = msgspec.field(default_factory=set)
    """Of `wanting`, those that have a question to put."""
    lacking: set[int] = msgspec.field(default_factory=set)
    """Of `wanting`, those that were refused money. They are asked again when anything has changed about money."""
    listing: dict[int, int] = msgspec.field(default_factory=dict)
    """Priority -> how many jobs of it are being listed."""
    resting: set[int] = msgspec.field(default_factory=set)
    """In a halted run: jobs that will never move again. See `resting`."""
    low: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """Items (job, index) that run with little queued behind them: more may be, if that is decided with this event."""
    growing: set[int] = msgspec.field(default_factory=set)
    """Jobs whose lists still grow. See `growing`."""
    cut: set[int] = msgspec.field(default_factory=set)
    """Jobs whose lists grew, and were not read to their end: they fail once nothing of them is left."""
    backoffs: list[tuple[float, int]] = msgspec.field(default_factory=list)
    """Heap of (due, job): when an item of a job's `backoff` is due. Entries may be stale, none is missing."""
    failed_before: dict[int, bool] = msgspec.field(default_factory=dict)
    """What `ancestry.has_failed` has found out for good."""
