"""What the rules need to know of a job: what its file says of order, bounds, retries and failures. A session never changes it."""

from __future__ import annotations

from typing import Literal

import msgspec

from orchestrator.core.costs import UNBOUND, Bounds

HaltReason = Literal["fail", "success", "done"]


class Halt(msgspec.Struct, frozen=True, kw_only=True):
    """When enough of a job has ended in this way, and whether what runs is ended then.

    `count`, or `percent` of its items, rounded up; neither: at the failure that stops the job, or the run, by its other rules.
    """

    is_now: bool
    why: HaltReason = "fail"
    count: int | None = None
    percent: float | None = None


class JobRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules need to know of a job. `needs` and `chain` are orders of jobs; a chain's parents are not in `needs`."""

    id: str
    order: int
    needs: tuple[int, ...] = ()
    chain: tuple[int, ...] = ()
    when_word: Literal["always", "failed"] | None = None
    has_own_when: bool = False
    judged: tuple[int, ...] = ()
    """Jobs that its own `when` tells of: whether it runs although they failed is for it to say."""
    is_single: bool = False  # without `for_each`: one item
    max_concurrency: int | None = None
    lane: Literal["main", "fast"] = "main"
    pool: str | None = None
    priority: int = 0
    continue_on_error: bool = False
    keeps_going: bool = False
    """Of the whole run (`-k`): after a failure what does not need it goes on."""
    max_failures: int | None = None
    max_failures_percent: float | None = None
    halt: Halt | None = None
    attempts: int = 1
    retry_delay: float = 1.0
    retry_backoff: float = 2.0
    retry_max_delay: float = 300.0
    retry_jitter: float = 0.1
    is_left_out: bool = False
    """Nothing of it is selected: what has not run is skipped, and what needs it goes on all the same."""
    repeat_delay: float = 0.0
    """Seconds between two rounds of a loop."""
    is_gate: bool = False
    on_reject: Literal["abort", "skip", "retry"] = "abort"
    retry_from: int | None = None
    """Of a gate: the job that runs again after a rejection, before the gate asks again; None: it only asks again."""
    devices: tuple[str, ...] = ()  # each of its items has one of them, and no other item of the run has it meanwhile
    accounts: tuple[str, ...] = ()
    """Accounts of which its items use one: the first that is not parked. Empty: none, or each item finds out at its start."""
    has_sources: bool = False
    """Whether its items run is found out by reading what they are made of, which may take minutes."""
    on_usage_limit: Literal["wait", "pause", "fail"] = "wait"
    """What becomes of an item that may use no account because all of them are parked."""
    is_paid: bool = False
    """Agents do its work: it costs money."""
    budget: Bounds = UNBOUND
    estimate_nano_usd: int | None = None
    """What an attempt is expected to cost before one has told."""

    @property
    def tolerates_failures(self) -> bool:
        """Whether a failed item lets the rest of the run go on."""
        return self.continue_on_error or self.keeps_going or self.limits_failures or self.has_goal or self.counts_failures

    @property
    def limits_failures(self) -> bool:
        """Whether it has `max_failures`."""
        return self.max_failures is not None or self.max_failures_percent is not None

    @property
    def has_goal(self) -> bool:
        """Whether nothing more of it is wanted once so many items have succeeded, or ended."""
        return self.halt is not None and self.halt.why != "fail"

    @property
    def counts_failures(self) -> bool:
        """Whether so many failures halt the run, and fewer do not."""
        if self.halt is None or self.halt.why != "fail" or self.continue_on_error or self.keeps_going:
            return False
        return self.halt.count is not None or self.halt.percent is not None

    @property
    def ends_at_once(self) -> bool:
        """Whether what runs is ended where it would be let finish."""
        return self.halt is not None and self.halt.is_now

    @property
    def is_cleanup(self) -> bool:
        """Whether it runs although the run was halted."""
        return self.when_word is not None
