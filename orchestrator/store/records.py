"""The records of a run: what the journal's lines and the checkpoint's entries say. One language for both.

A record is a fact that has happened, told by the supervisor (the only writer). Loading a run is one fold over the records of
its checkpoint and then of its journal (`run_history`). Times are seconds since the epoch, for people; no rule depends on them.
A new field has a default that means what was before it: lines of all versions load (`formats`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from orchestrator.store.gate_records import GateAnswered, GateAsked
from orchestrator.store.list_records import ListGrew
from orchestrator.store.settings_records import BudgetSet, RunOptions, Selection, SlotsSet
from orchestrator.store.spending_records import JobSpent, Spent
from orchestrator.workers.protocol import AttemptClass, Outcome


class Status(StrEnum):
    """States of an item that a record can tell (design section 3). `running` and `waiting` follow from starts without ends."""

    PENDING = "pending"
    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


OVER = (Status.SUCCEEDED, Status.FAILED, Status.SKIPPED, Status.CANCELLED)
"""What an item is when its turn is over, until somebody asks for another."""

RunStatus = Literal["running", "completed", "failed", "paused", "cancelled", "interrupted"]
"""States of a run. `interrupted` may be stored (after a drain); a run that is stored as `running` without a living supervisor
is told as `interrupted` too."""


class RunHeader(msgspec.Struct, frozen=True, tag="run", kw_only=True, omit_defaults=True):
    """What a run is: the first record of its first checkpoint; only an update puts another one in its place.

    `nonce` makes `mark` unique on the machine.
    """

    run_id: str
    nonce: str
    name: str
    jobs_file: str
    folder: str
    created_at: float
    jobs: dict[str, bool] = {}
    """Job ids in file order; whether the job has `for_each` (its items are then called JOB:INDEX)."""
    inputs: dict[str, Any] = {}
    options: RunOptions = RunOptions()
    each: bool = False
    """Made by `orchestrate each`: there is no jobs file of the user's."""
    parent: str | None = None
    """Of a child run (`workflow`): `RUN/ITEM`, the item that runs it."""
    within: str = ""
    """`RUN/ITEM`, the agent's item in which the run was begun (`shared.nesting.inside`); empty: none."""
    revision: int = 0
    """How often the run was updated: its copy of the jobs file, and the item lists made since, carry this number."""
    removed: dict[str, bool] = {}
    """As `jobs`: the jobs that updates took out. Their records are not shown, but count again if a job comes back."""
    jobs_crc: int | None = None
    """The CRC-32 of the run's copy of the jobs file; None: a version that did not tell has written it."""
    config_crc: int | None = None
    """The same of its copy of the user's defaults; None: there were none, or a version that did not tell has written it."""
    kept_crc: int | None = None
    """The same of what it has kept of other files (`store.kept_files`); None: nothing, and these are read where they are."""

    @property
    def mark(self) -> str:
        """`RUN.NONCE`: tells this run's processes and temporary files from those of any other run on the machine."""
        return f"{self.run_id}.{self.nonce}"


class SupervisorStarted(msgspec.Struct, frozen=True, tag="supervisor", kw_only=True):
    """A supervisor took this run: `orchestrate run`, or a resume."""

    pid: int
    start_ticks: int
    boot_id: str
    at: float


class WorkerStarted(msgspec.Struct, frozen=True, tag="worker", kw_only=True, omit_defaults=True):
    """A worker began to serve. `worker` is its number, never used again in this run. All else is its engine's alone.

    A worker of this machine is found by its process; its files are in workers/NUMBER. `data`: by which an engine finds a worker
    that is no process of this machine.
    """

    worker: int
    pid: int = 0
    start_ticks: int = 0
    boot_id: str = ""
    data: str = ""


class ItemsListed(msgspec.Struct, frozen=True, tag="listed", kw_only=True, omit_defaults=True):
    """The job's item list stands durably with `count` items, in the file that was made for `revision` of the run."""

    job: str
    count: int
    revision: int = 0


class ListOutdated(msgspec.Struct, frozen=True, tag="outdated", kw_only=True):
    """An update could not know the job's list yet: it is evaluated again, and merged, before anything more of the job starts."""

    job: str


class ItemsChosen(msgspec.Struct, frozen=True, tag="chosen", kw_only=True, omit_defaults=True):
    """Which items of a job are selected, as `[first, last + 1]` each; None: all. The others are skipped if they have not run.

    `message`: why, in words. A later record of this job takes the place of an earlier one.
    """

    job: str
    ranges: list[tuple[int, int]] | None = None
    message: str = ""


class ListingFailed(msgspec.Struct, frozen=True, tag="listing_failed", kw_only=True):
    """`for_each` of this job could not be evaluated; the job is failed. A resume evaluates it again."""

    job: str
    message: str


class Started(msgspec.Struct, frozen=True, tag="start", kw_only=True, omit_defaults=True):
    """An attempt is about to be handed to a worker (written before it is sent). `payload` is the hash of what it will do."""

    job: str
    index: int
    attempt: int
    sequence: int
    worker: int
    at: float
    slot: int = 0
    label: str | None = None
    payload: str = ""
    token: str | None = None
    promotions: int = 0
    """How often in a row the token's work was lost before and taken over; above 0 this start is a promotion."""
    round: int = 0
    """The round of a loop, from 1; 0: the job is no loop. Round 1 forgets the rounds that the item had before."""
    child: str = ""
    """The id of the child run (`workflow`) that does the work."""
    agent: str | None = None
    account: str | None = None
    """The account whose limits bind the agent: a key that tells the provider, and no secret."""
    model: str | None = None
    session: str | None = None
    """The session of the agent that goes on with this attempt; None: it begins one."""
    folder: str = ""
    """Where the agent works (absolute): its session goes on nowhere else."""
    played: tuple[int, int] | None = None
    """In a replay: (index, attempt) of the recorded attempt of this job that is played instead of an agent."""
    workspace: str = ""
    """The name of the workspace that the attempt works in (`RunDir.workspace`); empty: none of its own."""
    because: str = ""
    """Why it runs, of an item with `creates`: a file is missing, or is to be made anew."""
    device: str = ""
    """The one of its job's `devices` that it has to itself; empty: its job has none."""
    is_queued: bool = False
    """It may begin when another attempt in its slot has ended: until `QueuedBegan`, or its end, nothing tells that it has. Till
    then its item is what it was before, and so it stays if the start is given back (`QueuedReturned`)."""


class QueuedBegan(msgspec.Struct, frozen=True, tag="began", kw_only=True):
    """A start that was queued runs now. Of one whose end comes soon nothing is recorded but that end."""

    job: str
    index: int
    at: float


class QueuedReturned(msgspec.Struct, frozen=True, tag="returned", kw_only=True):
    """A start that was queued was given back: it never was."""

    job: str
    index: int


class EarlierEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is told of an attempt after which others came; `message`: the beginning of what was said of it."""

    attempt: int
    attempt_class: AttemptClass = msgspec.field(name="class")
    exit_code: int | None = None
    signal: int | None = None
    message: str = ""


class AttemptEnded(msgspec.Struct, frozen=True, tag="end", kw_only=True, omit_defaults=True):
    """An attempt ended with `outcome`; the item is `status` after it (`waiting`: another attempt will come).

    `deduped_from` (`RUN/ITEM`): no attempt was made, the item has the outcome of that one, which did the same work.
    """

    job: str
    index: int
    attempt: int
    status: Status
    outcome: Outcome
    label: str | None = None
    payload: str = ""
    token: str | None = None
    deduped_from: str | None = None
    promotions: int = 0
    round: int = 0
    """The round of a loop that this attempt brought to its end; 0: none."""
    child: str = ""
    folder: str = ""
    workspace: str = ""
    because: str = ""
    """These four as of `Started`."""
    is_adopted: bool = False
    """A worker of a supervisor that was killed made the attempt."""
    spent: Spent | None = None
    """What the item has cost so far; None: no agent has worked for it."""
    earlier: list[EarlierEnd] = []
    """The item's attempts before this one, the newest ten; of a loop none, for it has its rounds."""


class ItemSettled(msgspec.Struct, frozen=True, tag="item", kw_only=True, omit_defaults=True):
    """An item came to `status` without an attempt: skipped, found done (`creates`), refused by its template, cancelled.

    Also a change of a word later on: a `waiting` item whose run ended is `interrupted`; a succeeded one may become `stale`.
    `pending`: an update set the item back. The item keeps its outcome if it has the same payload when its turn comes.
    """

    job: str
    index: int
    status: Status
    message: str = ""
    label: str | None = None
    stale: bool = False
    gone: bool = False
    """Its value is no longer in the job's list: skipped, and never looked at again unless the value comes back."""
    token: str | None = None
    payload: str = ""
    replaced_by: str | None = None
    """`RUN/ITEM` that took this item's token with `if_running = "replace"`."""


class Reopened(msgspec.Struct, frozen=True, tag="reopened", kw_only=True):
    """These items of a job run again; of a gate: ask again. They are pending, and their job is open.

    Because a gate was rejected, or somebody asked for it (`RetryAsked`).
    """

    job: str
    indices: list[int]


class RetryAsked(msgspec.Struct, frozen=True, tag="retry", kw_only=True, omit_defaults=True):
    """Somebody asked for one more time of an item (`orchestrate retry`), after so many `attempts`, perhaps with a change.

    It holds for all later attempts, until the next time that is asked for: `feedback` is what its agent is told, `model` and
    `prompt` take the place of the job's own. The next time takes them over, unless it names others. `is_prompt_kept`: an attempt
    has begun with the prompt, so its session may go on; else it begins one of its own. `onto`: the commit that its branch gets
    and its work counts from (`--rebase`); it stays until another is named, for the branch may not have it yet.
    """

    job: str
    index: int
    attempts: int
    feedback: str = ""
    model: str | None = None
    prompt: str | None = None
    is_prompt_kept: bool = False
    onto: str | None = None

    @property
    def change(self) -> tuple[str, str | None, str | None]:
        """What is other than before; it is part of what the item does."""
        return (self.feedback, self.model, self.prompt)


class JobClosed(msgspec.Struct, frozen=True, tag="job", kw_only=True, omit_defaults=True):
    """Nothing more will come of a job in this session; `status` is its word (failures that are tolerated: succeeded).

    `message`: why it was skipped before it had any items.
    """

    job: str
    status: str
    message: str = ""


class CancelTold(msgspec.Struct, frozen=True, tag="cancel", kw_only=True, omit_defaults=True):
    """Somebody cancels an item that runs, or the whole run (no `job`), and may be told so before anything has ended.

    A supervisor that is killed then leaves a cancelled run, and the next one has the attempts of these items ended. `message`:
    what halted the run or the job, if that is why; empty: somebody asked for it.
    """

    at: float
    job: str = ""
    index: int = 0
    message: str = ""


class RunEnded(msgspec.Struct, frozen=True, tag="run_ended", kw_only=True, omit_defaults=True):
    """This supervisor's last word. `error_item` and `error_message` tell what halted or failed the run, if anything did.

    The other fields of the error tell of that item, which may have failed in an earlier session. `reason`: why it is paused.
    """

    status: RunStatus
    at: float
    exit_code: int = 0
    error_item: str | None = None
    error_message: str | None = None
    error_label: str | None = None
    error_attempts: int = 0
    error_class: str | None = None
    reason: str = ""


class Commit(msgspec.Struct, frozen=True, tag="commit", kw_only=True):
    """Ends a group: the group's records begin at byte `offset` of the journal of `generation`; `crc` is their CRC-32.

    `number`: of the group in its journal, from 1; 0: by a version that did not count. `length`: of the records in bytes.
    `before`: the CRC-32 of the commit line before this one, 0 in the first group.
    """

    generation: int
    offset: int
    crc: int
    number: int = 0
    length: int = 0
    before: int = 0


Fact = (
    RunHeader
    | SupervisorStarted
    | WorkerStarted
    | Selection
    | ItemsListed
    | ListGrew
    | ItemsChosen
    | ListOutdated
    | ListingFailed
    | GateAsked
    | GateAnswered
    | Reopened
    | RetryAsked
    | SlotsSet
    | BudgetSet
    | JobSpent
    | JobClosed
    | CancelTold
    | QueuedBegan
    | QueuedReturned
    | RunEnded
)
"""What is recorded beside the attempts and the ends of items: every pass over a run reads it whole."""

Record = Fact | Started | AttemptEnded | ItemSettled
"""Everything that a supervisor records. `Commit` is the journal's own."""
