"""An attempt that runs, as those who prepare it, watch it and judge its end know it."""

from __future__ import annotations

import msgspec

from orchestrator.core.states import ItemRef
from orchestrator.jobsfile.model import Job
from orchestrator.store.records import Started
from orchestrator.workers.protocol import Limits


class Flight(msgspec.Struct):
    """An attempt that runs, with the record of its start. It holds `slot`, which after a resume may be another than `start.slot`.

    `asked_end`: why this supervisor asked for its end ("cancel", "drain").
    """

    item: ItemRef
    name: str
    job: Job
    start: Started
    slot: int
    mark: str
    asked_end: str | None = None
    is_adopted: bool = False
    """An earlier supervisor started it."""
    is_over: bool = False
    is_queued: bool = False
    """It may have begun by now, and nobody has told."""
    is_start_untold: bool = False
    """It was queued, and has ended before anybody heard of its start: that is told with its end."""

    @property
    def limits(self) -> Limits:
        """Its own, by the jobs file."""
        return self.job.limits

    def has_ended(self) -> bool:
        """Whether nobody waits for it any more. For other threads, too."""
        return self.is_over
