"""What can happen to a run. Past tense; each names items by (job order, index)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum

import msgspec

from orchestrator.core.costs import Bounds, Cost
from orchestrator.core.states import ItemRef, RestoredJob, Stop


class Verdict(Enum):
    """What an ended attempt means for the rules."""

    SUCCEEDED = "succeeded"
    ROUND = "round"
    """One round of a loop is done, and another shall follow."""
    FAILED = "failed"
    """Another attempt may help."""
    CORRECTABLE = "correctable"
    """An agent says that it succeeded, and its answer is not what it should be, or its session could not go on: one more attempt,
    in which it is told so, or begins a new one, may be all that it takes."""
    HOPELESS = "hopeless"
    """Failed, and another attempt would fail in the same way (no such command, its template is wrong)."""
    SHORTAGE = "shortage"
    """The machine had no room for one more process: nothing was started."""
    NOT_BEGUN = "not begun"
    """Its worker died before anything was started."""
    THROTTLED = "throttled"
    """The provider takes no more just now, or cannot be reached; nothing is wrong with the item."""
    PARKED = "parked"
    """The usage limit of the account is reached; nothing is wrong with the item."""
    LOST = "lost"
    """Its worker died."""
    PAUSED = "paused"
    """A child run that waits for a choice: it goes on with the next attempt, once that is made."""
    CANCELLED = "cancelled"
    DRAINED = "drained"
    """We ended it because the supervisor stops."""


class RunOpened(msgspec.Struct, frozen=True):
    """The supervisor holds the run and is ready."""


class ItemsListed(msgspec.Struct, frozen=True):
    """The item list of a job is recorded durably. `restored`: what its items are, if it was listed before the run was updated.

    `is_growing`: these are the first of them, and others may be added, until `ListEnded`.
    """

    job: int
    count: int
    chosen: tuple[range, ...] | None = None
    """The items that are selected, in order; None: all."""
    restored: RestoredJob | None = None
    is_growing: bool = False


class ItemsAdded(msgspec.Struct, frozen=True):
    """A list that grows has so many items more, which are recorded durably."""

    job: int
    count: int


class ListEnded(msgspec.Struct, frozen=True):
    """A list that grew has all its items. Not `is_whole`: the others could not be read."""

    job: int
    is_whole: bool = True


class ListingFailed(msgspec.Struct, frozen=True):
    """`for_each` could not be evaluated."""

    job: int


class ListingPutOff(msgspec.Struct, frozen=True):
    """The list of a job was not finished, because the run is to end: the job stands where it stood before."""

    job: int


class Declined(Enum):
    """Why an item did not start although it had a slot."""

    SKIPPED = "skipped"
    UNSELECTED = "not selected"
    """It is only known now that it was not asked for."""
    SATISFIED = "succeeded"
    REFUSED = "failed"
    SLOT_HELD = "slot held"
    """The slot's lock is held by somebody else; nothing is wrong with the item."""
    HELD = "held"
    """A resource (`StartDeclined.resource`) is not to be had: a pool's slot or rate, memory, room for a nested item."""
    JOINS = "joins"
    """Its token is in flight: it shares what comes of that, or is told to try again."""


class StartDeclined(msgspec.Struct, frozen=True):
    """The supervisor did not start what it was told to start. `until`: no use in trying before (monotonic seconds).

    `account`: the one whose limit the resource is, if it is one. `words`: what to say of that if the run pauses for it.
    """

    item: ItemRef
    why: Declined
    resource: str = ""
    until: float = math.inf
    account: str | None = None
    words: str = ""


class StartReturned(msgspec.Struct, frozen=True):
    """The queued start of this item was given back, and never begins."""

    item: ItemRef


class MoreAsked(msgspec.Struct, frozen=True):
    """This item runs, and little or nothing is queued behind it: more may be."""

    item: ItemRef


class PaceTold(msgspec.Struct, frozen=True):
    """Items of the job last so long that so many may be queued behind one; 0: none."""

    job: int
    queue_length: int


class AccountTold(msgspec.Struct, frozen=True):
    """Which account the attempt of this item uses: it was only known at its start."""

    item: ItemRef
    account: str


class AttemptEnded(msgspec.Struct, frozen=True):
    """The attempt that ran of `item` ended; its slot is free again.

    `until`: of one that was throttled or parked, before when (monotonic seconds) its account takes no more, if that is known.
    `cost`: None if no agent was at work.
    """

    item: ItemRef
    verdict: Verdict
    until: float | None = None
    cost: Cost | None = None


class OutcomesDurable(msgspec.Struct, frozen=True):
    """The records of these ended items survive a power loss. Told for jobs that others depend on."""

    items: tuple[ItemRef, ...]


class SlotFreed(msgspec.Struct, frozen=True):
    """A slot that was held by somebody else may be tried again."""

    slot: int


class ResourceFreed(msgspec.Struct, frozen=True):
    """A resource that was not to be had may be tried again."""

    resource: str


class VerdictShared(msgspec.Struct, frozen=True):
    """The work that these items joined is done: each ends as it did. Also, failed: whose wait for anything is given up."""

    items: tuple[ItemRef, ...]
    is_success: bool


class JoinEnded(msgspec.Struct, frozen=True):
    """These items joined work that came to no verdict (or were found to wait in vain): they may try again."""

    items: tuple[ItemRef, ...]


class GateEnd(Enum):
    """What came of a gate."""

    OPEN = "waiting"
    """The question is out, and there is no choice yet."""
    APPROVED = "succeeded"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    """Its `when` was false."""
    UNSELECTED = "not selected"
    """It is only known now that it was not asked for."""
    REFUSED = "failed"
    """A template of it is wrong."""


class GateTold(msgspec.Struct, frozen=True):
    """The answer to `AskGate`: the question is out. Later, or at once: the choice, or that none is needed."""

    item: ItemRef
    how: GateEnd


class ChildAnswered(msgspec.Struct, frozen=True):
    """Somebody answered what the paused child run of this item waits for: it can go on."""

    item: ItemRef


class ItemsReopened(msgspec.Struct, frozen=True):
    """It is recorded that these items run again (`ReopenItems`). Each with the number of attempts that it has had.

    `jobs`: those besides that were closed before they were listed, and are to be looked at once more.
    """

    attempts: Mapping[ItemRef, int]
    jobs: tuple[int, ...] = ()


class LeftAlone(msgspec.Struct, frozen=True):
    """Nobody is there any more to be asked at once."""


class SlotsSet(msgspec.Struct, frozen=True):
    """`orchestrate set slots=N` (N >= 1), `fast_slots` of them the fast lane's."""

    slots: int
    fast_slots: int


class BudgetSet(msgspec.Struct, frozen=True):
    """The run (None), or this job, may cost so much from now on."""

    job: int | None
    bounds: Bounds


class StopAsked(msgspec.Struct, frozen=True):
    """A signal or `orchestrate stop`."""

    how: Stop


class CancelAsked(msgspec.Struct, frozen=True):
    """`orchestrate cancel`: the whole run (None) or some items. `words`: what halted the run, as an earlier session told."""

    items: tuple[ItemRef, ...] | None
    words: str = ""


class TimePassed(msgspec.Struct, frozen=True):
    """Nothing but time: backoffs, the drain's budget and the run's timeout are looked at (as with every event)."""


Event = (
    RunOpened
    | ItemsListed
    | ItemsAdded
    | ListEnded
    | ListingFailed
    | ListingPutOff
    | StartDeclined
    | StartReturned
    | MoreAsked
    | PaceTold
    | AccountTold
    | AttemptEnded
    | OutcomesDurable
    | SlotFreed
    | ResourceFreed
    | VerdictShared
    | JoinEnded
    | GateTold
    | ChildAnswered
    | ItemsReopened
    | LeftAlone
    | SlotsSet
    | BudgetSet
    | StopAsked
    | CancelAsked
    | TimePassed
)
