"""What a watch over a process stands on: where it waits, what the process writes to, what reads along."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..protocol import End, EndReason


class Control(Protocol):
    """Where a running attempt waits."""

    def wait(self, timeout_seconds: float | None) -> Sequence[End]:
        """Return once a child changed its state (SIGCHLD, also one that came before the call), a request came, or time is up.

        Returning early for no reason is harmless.
        """

    def wake_at_write(self) -> bool:
        """Have the next write of the attempt to one of its streams end a wait, once. False: nothing tells of it here."""

    def is_supervisor_gone(self) -> bool:
        """Whether no supervisor is left that would let go of the locks that an attempt keeps."""


class Stream(Protocol):
    """Where the agent writes to."""

    def written(self) -> int:
        """How many bytes came so far; never less than before."""

    def cut_to(self, limit: int) -> int:
        """Drop what was written beyond `limit` bytes; returns how many bytes may still come."""

    def is_settled(self) -> bool:
        """Whether another look finds the same until something is written."""


class Onlooker(Protocol):
    """What reads along while the agent writes."""

    def look_at_streams(self) -> EndReason | None:
        """Read what has come; why the agent is to be ended now, if it is."""

    def pause_seconds(self) -> float:
        """When to look again, by the clock."""

    def due_at(self) -> float:
        """When there is something to do though nothing is written (monotonic seconds): 0: now; infinite: never."""

    def has_told_its_end(self) -> bool:
        """Whether the agent had done its work by now, as far as it told: nothing that ends it now takes that back."""


class Host(msgspec.Struct, frozen=True):
    """The process that watches. `strangers` are its children from before (`tree.children_now`), which are no attempt's.

    `is_subreaper`: orphans of its attempts come to it. `folder`: the worker's, beside those of the other workers of its run.
    """

    folder: str
    control: Control
    strangers: frozenset[int]
    is_subreaper: bool

    def count_workers(self) -> int:
        """How many workers the run has had so far; 1 if that cannot be seen now."""
        try:
            return len(os.listdir(os.path.dirname(self.folder)))
        except OSError:
            return 1


class Bounds(msgspec.Struct, frozen=True):
    """When a process is ended: at `timeout_at` (monotonic clock), or after `stall_seconds` without output (None: never)."""

    timeout_at: float = float("inf")
    stall_seconds: float | None = None
