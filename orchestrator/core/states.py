"""The state of a run as the rules see it.

    Pending --StartAttempt--> Running --AttemptEnded--> Succeeded | Failed | Cancelled | Interrupted
       |  ^                      |
       |  +--(due, slot)-- Waiting <--(attempts left, worker lost)
       +--StartDeclined--> Skipped | Succeeded | Failed

Item states are a tagged union; the ones without fields are shared objects, so that an item costs one reference.
A job goes Blocked -> Listing -> Open -> one of the closed phases.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Literal

import msgspec

from orchestrator.core.agenda import NO_LINE, Agenda, WaitingLine
from orchestrator.core.costs import UNBOUND, Bounds, Costs, Totals
from orchestrator.core.job_rules import JobRules

ItemRef = tuple[int, int]
"""(order of the job in the file, index of the item)."""


EndWord = Literal["cancel", "drain", "halt"]
"""Why a running item is to end: somebody's wish, a stop of the run, or what became of another item (`JobRules.halt`)."""


class Pending(msgspec.Struct, frozen=True):
    """Never started in this session."""


class Waiting(msgspec.Struct, frozen=True):
    """Holds nothing; may start again at `due` (monotonic seconds; never, until it is told otherwise: infinite).

    `reason`: a word, or the resource that was not to be had (`Declined.HELD`).
    """

    reason: str
    due: float


class Running(msgspec.Struct, frozen=True):
    """Has a slot. `ending`: its end was asked for, and why; `words`: of a halt, what it is told with.

    `account`: whose limits bound it, if it is known. `throttles`: how often that account had been throttled when it started.
    """

    attempt: int
    slot: int
    ending: EndWord | None = None
    account: str | None = None
    throttles: int = 0
    words: str = ""


class Succeeded(msgspec.Struct, frozen=True):
    """Done; never runs again."""


class Failed(msgspec.Struct, frozen=True):
    """No attempt is left."""


class Skipped(msgspec.Struct, frozen=True):
    """`when` was false, or what it needs did not succeed."""


class Cancelled(msgspec.Struct, frozen=True):
    """Somebody asked for its end; only `retry` runs it again."""


class Interrupted(msgspec.Struct, frozen=True):
    """An attempt was made or begun and there is no verdict; a resume runs it."""


ItemState = Pending | Waiting | Running | Succeeded | Failed | Skipped | Cancelled | Interrupted

PENDING = Pending()
SUCCEEDED = Succeeded()
FAILED = Failed()
SKIPPED = Skipped()
CANCELLED = Cancelled()
INTERRUPTED = Interrupted()


def waiting_for_choice() -> Waiting:
    """Until somebody has made a choice, at a gate or in a child run."""
    return Waiting("gate", math.inf)


ENDED_STATES = (Succeeded, Failed, Skipped, Cancelled, Interrupted)


class Phase(Enum):
    """Where a job stands. The last four are closed."""

    BLOCKED = "pending"
    LISTING = "listing"
    OPEN = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


CLOSED_PHASES = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.SKIPPED, Phase.CANCELLED})


class Tries(msgspec.Struct):
    """Attempts of one item: the last attempt's number, how many of this session's budget are used, and workers lost in a row.

    `refusals`: how often in a row its account was throttled or parked under it.
    """

    number: int = 0
    used: int = 0
    losses: int = 0
    refusals: int = 0
    is_corrected: bool = False
    """It has had the attempt that counts for none (`Verdict.CORRECTABLE`)."""


class JobState(msgspec.Struct):
    """One job. `items` is empty until it is listed. Only items in motion have an entry in a dict or a heap."""

    rules: JobRules
    phase: Phase = Phase.BLOCKED
    items: list[ItemState] = msgspec.field(default_factory=list)
    is_listed: bool = False
    next_index: int = 0
    """No pending item stands before it (jobs that are no chain)."""
    ready: list[int] = msgspec.field(default_factory=list)
    """Heap of chain items whose parents have ended durably."""
    backoff: list[tuple[float, int]] = msgspec.field(default_factory=list)
    """Heap of (due, index) of waiting items."""
    due: list[int] = msgspec.field(default_factory=list)
    """Heap of waiting items whose time has come."""
    held: dict[str, list[int]] = msgspec.field(default_factory=dict)
    """Account -> heap of waiting items that were found to need it, in a job whose items find out at their start."""
    joining: set[int] = msgspec.field(default_factory=set)
    """Waiting items whose token is in flight elsewhere: until they are told what came of it."""
    asking: set[int] = msgspec.field(default_factory=set)
    """Waiting items that go on when somebody has made a choice: of a gate, or of a gate in the run that they stand for."""
    posing: set[int] = msgspec.field(default_factory=set)
    """Of `asking`, those whose question is not out yet: it may turn out that it needs no choice."""
    tries: dict[int, Tries] = msgspec.field(default_factory=dict)
    running: int = 0
    unfinished: int = 0
    """Items that have not ended."""
    failed: int = 0
    skipped: int = 0
    unselected: int = 0
    """Of the skipped: those that were not selected. They keep nothing that needs the job from running."""
    cancelled: int = 0
    gone: int = 0
    """Items of an earlier list that are in it no more: skipped for ever, and the job is judged without them."""
    undurable: set[int] = msgspec.field(default_factory=set)
    """Ended items whose record is not yet durable, if other jobs depend on this one."""
    skip_reason: str = ""
    """All of its items are to be skipped once they are listed."""
    failures_allowed: int = 0
    """`max_failures` of so many items as are selected."""
    is_stopped: bool = False
    """No further item of it starts: more failed than `max_failures`, or it could not be listed."""
    halts_at: int = 0
    """So many items as `JobRules.halt` counts are enough; 0: it counts none, or its list has not come to its end."""
    enough: str = ""
    """Why nothing more of it is wanted, in words; empty: it has not come so far, or has no such goal."""
    wanted_again: set[int] = msgspec.field(default_factory=set)
    """Items that somebody asked for once more when it was enough already: until they have ended, it is not."""
    costs: Costs = msgspec.field(default_factory=Costs)
    budget: Bounds = UNBOUND
    is_cancelled_ahead: bool = False
    """Its one item was cancelled before it was listed."""
    dependents: list[int] = msgspec.field(default_factory=list)
    """Jobs that need this one, or follow its items."""
    chain_children: list[int] = msgspec.field(default_factory=list)
    watchers: set[int] = msgspec.field(default_factory=set)
    """Blocked jobs that wait for this one to be listed, or to be at rest."""
    kept_from_rest: set[int] = msgspec.field(default_factory=set)
    """In a halted run: jobs that are not at rest before this one is."""
    queue_length: int = 0
    """So many of its items may be queued behind one that runs, by how long they last. See `queueing`."""
    rank: int = 0
    """Its place in `RunState.by_rank`."""
    line: WaitingLine = NO_LINE
    """Where it stands when an item of it can start. See `turns.line_of`."""

    def count_end(self, ended: ItemState) -> None:
        """One more of its items has ended, as `ended`."""
        self.unfinished -= 1
        match ended:
            case Failed():
                self.failed += 1
            case Skipped():
                self.skipped += 1
            case Cancelled():
                self.cancelled += 1
            case _:
                pass

    @property
    def given_up(self) -> str:
        """Why what has not ended of it is given up, in words; empty: it is not."""
        return "" if self.wanted_again else self.enough

    @property
    def counted(self) -> int:
        """How many items have ended as its goal counts them."""
        succeeded = len(self.items) - self.unfinished - self.failed - self.skipped - self.cancelled
        is_of_all = self.rules.halt is not None and self.rules.halt.why == "done"
        return succeeded + self.failed if is_of_all else succeeded

    @property
    def bears_failures(self) -> bool:
        """Whether it may succeed although items of it failed."""
        rules = self.rules
        return rules.limits_failures or bool(self.enough and rules.halt is not None and rules.halt.why == "success")

    @property
    def has_dependents(self) -> bool:
        """Whether its ends have to be durable before anything follows from them."""
        return bool(self.dependents)

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will come of it."""
        return self.phase in CLOSED_PHASES

    @property
    def blocks_dependents(self) -> bool:
        """Whether what needs it is skipped."""
        if self.phase is Phase.FAILED:
            return self.is_stopped or not self.rules.continue_on_error
        is_left_out = self.rules.is_left_out or (self.unselected > 0 and self.unselected == self.skipped)
        return self.phase is Phase.CANCELLED or (self.phase is Phase.SKIPPED and not is_left_out)


class Stop(Enum):
    """How far a run is being stopped. A later word may be stronger, never weaker."""

    NO = 0
    PAUSE = 1
    """Start nothing more; what runs may take as long as it takes."""
    DRAIN = 2
    NOW = 3
    KILL = 4


class Shortage(msgspec.Struct):
    """What is known of the machine's room for processes and open files. The rules are in `shortage`."""

    bound: int | None = None
    """So many there is room for, as far as is known; None: nothing is missing yet."""
    wait: float = 0.0
    """Seconds between the last shortage and the trial after it."""
    waited_until: float = -math.inf
    """When (monotonic seconds) that wait was over."""
    deaths: int = 0
    """Waits in a row that began with a worker that died before it had begun its attempt."""


class Account(msgspec.Struct):
    """What this run knows of an account of agents: how many use it, and how it bears that. The rules are in `throttle`."""

    running: int = 0
    bound: int | None = None
    """So many at once; None: it was never throttled, or has recovered."""
    throttles: int = 0
    """How often it was throttled; what was in flight then counts as once."""
    wait: float = 0.0
    """Seconds of the last backoff; less after each success."""
    successes: int = 0
    """Since the bound was set."""


class RunState(msgspec.Struct):
    """A whole run. `slots` is at least 1 (an inline run has one)."""

    jobs: list[JobState]
    slots: int
    free_slots: list[int]
    fast_slots: int = 0
    """How many of the slots are the fast lane's alone; 0: there is one lane."""
    set_aside: set[int] = msgspec.field(default_factory=set)
    """Slots of this run whose locks somebody else holds."""
    holds: dict[str, float] = msgspec.field(default_factory=dict)
    """Resources that are not to be had now -> until when (monotonic; infinite: until `ResourceFreed`). See `resources_of`."""
    devices: dict[str, ItemRef] = msgspec.field(default_factory=dict)
    """Devices that running items have -> the item."""
    shortage: Shortage = msgspec.field(default_factory=Shortage)
    accounts: dict[str, Account] = msgspec.field(default_factory=dict)
    budget: Bounds = UNBOUND
    drain_timeout: float = 300.0
    timeout_at: float | None = None
    stop: Stop = Stop.NO
    pause_reason: str = ""
    """Why it pauses, in words, if that is a usage limit and not somebody's wish."""
    drain_until: float | None = None
    is_cancelled: bool = False
    is_timed_out: bool = False
    is_attended: bool = False
    """Somebody is there to be asked at once: the run waits for the choices of its gates, and does not pause."""
    is_rejected: bool = False
    """A gate whose rejection aborts the run was rejected."""
    is_reopening: bool = False
    """After a rejection, items are about to run again (`ReopenItems`)."""
    halted_by: ItemRef | None = None
    """The failing item that halted the run; of several, the first by (job order, index)."""
    is_open: bool = False
    """Nothing starts before `RunOpened`: a resume tells first what ended meanwhile."""
    is_finished: bool = False
    running: int = 0
    """How many items run, with those that are queued; `running_fast`: of these, in the fast lane."""
    queued: dict[int, int] = msgspec.field(default_factory=dict)
    """By slot how many items are queued behind the one that runs in it. See `queueing`."""
    queued_of: int = 0
    """The job whose items are queued: no other has any then."""
    is_recalling: bool = False
    """What is queued was asked for: until it is back, nothing starts."""
    running_fast: int = 0
    by_rank: list[int] = msgspec.field(default_factory=list)
    """All jobs, in the order in which their items come to start. See `turns`."""
    agenda: Agenda = msgspec.field(default_factory=Agenda)
    totals: Totals = msgspec.field(default_factory=Totals)
    """What all jobs together have cost."""
    ceilings: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    """Account -> the sum of `max_concurrency` of the jobs that use it, and how many of them have none."""

    @property
    def is_halted(self) -> bool:
        """Whether only cleanup jobs may still start."""
        return self.halted_by is not None

    @property
    def at_work(self) -> int:
        """How many items run and are not queued."""
        return self.running - sum(self.queued.values()) if self.queued else self.running


class AdoptedAttempt(msgspec.Struct, frozen=True):
    """An attempt of an earlier supervisor whose worker lives: it runs, and occupies a slot."""

    index: int
    attempt: int
    slot: int
    account: str | None = None
    device: str = ""


class RestoredJob(msgspec.Struct, frozen=True):
    """What a resume knows of a listed job. `states`: Pending for what shall run. The list becomes the core's own: a copy would be
    8 MB for a million items."""

    states: list[ItemState]
    attempts: dict[int, int]
    """Index -> number of the last attempt, of items that may run again."""
    adopted: tuple[AdoptedAttempt, ...] = ()
    unselected: int = 0
    """How many of the skipped ones are so because they were not selected."""
    gone: int = 0
    """How many of the skipped ones are no longer in the list."""
    is_cut: bool = False  # its list grew, and was not read to its end
    costs: Costs | None = None
    """What its attempts have cost so far."""
    wanted_again: frozenset[int] = frozenset()
    """Items that somebody asked for once more and that have not ended since."""
