"""The records of a run: what the journal's lines and the checkpoint's entries say. One language for both.

A record is a fact that has happened, told by the supervisor (the only writer). Loading a run is one fold over the records of
its checkpoint and then of its journal (`history`). Times are seconds since the epoch, for people; no rule depends on them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

from orchestrator.workers.protocol import Outcome, Usage


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


RunStatus = Literal["running", "completed", "failed", "paused", "cancelled", "interrupted"]
"""States of a run. `interrupted` may be stored (after a drain); a run that is stored as `running` without a living supervisor
is told as `interrupted` too."""


class Selection(msgspec.Struct, frozen=True, tag="selection", kw_only=True, omit_defaults=True):
    """What of the jobs file is to run (`--only`, `--limit`); without either all of it. As a record: so from now on."""

    only: tuple[str, ...] = ()
    """Patterns: `JOB`, `JOB:INDEX`, `JOB:LABEL`, also with `*` and `?`."""
    limit: int | None = None
    """So many items of each fan-out, the first that match."""


class RunOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the command line chose for a run; kept for its resumes. None: as the jobs file says."""

    slots: int | None = None
    keep_going: bool = False
    fresh: bool = False
    """Outcomes of earlier runs are not replayed (`run --fresh`); work that is in flight is still joined."""
    selection: Selection = Selection()
    """At first; a resume may choose another."""
    replay: bool = False
    """Agents are not started: what the capsule in the run's folder recorded of them is played."""


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
    revision: int = 0
    """How often the run was updated: its copy of the jobs file, and the item lists made since, carry this number."""
    removed: dict[str, bool] = {}
    """As `jobs`: those that updates took out. Nobody sees their records, but they count again if the job comes back."""

    @property
    def mark(self) -> str:
        """`RUN.NONCE`: what tells this run's processes and temporary files from those of any other on the machine."""
        return f"{self.run_id}.{self.nonce}"


class SupervisorStarted(msgspec.Struct, frozen=True, tag="supervisor", kw_only=True):
    """A supervisor took this run: `orchestrate run`, or a resume."""

    pid: int
    start_ticks: int
    boot_id: str
    at: float


class WorkerStarted(msgspec.Struct, frozen=True, tag="worker", kw_only=True):
    """A worker process began to serve. `worker` is its number, never used again in this run; its files are in workers/NUMBER."""

    worker: int
    pid: int
    start_ticks: int
    boot_id: str


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
    """Whose limits bind it: a key that tells the provider, and no secret."""
    model: str | None = None
    session: str | None = None
    """The session of the agent that goes on with this attempt; None: it begins one."""
    folder: str = ""
    """Where the agent works (absolute): its session goes on nowhere else."""
    played: tuple[int, int] | None = None
    """In a replay: (index, attempt) of the recorded attempt of this job that is played instead of an agent."""
    workspace: str = ""
    """The name of the workspace that it works in (`RunDir.workspace`); empty: none of its own."""


class AgentSpent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What attempts of one agent with one model have cost: `nano_usd` those whose cost was told, `unknown` others were there.

    Money is counted in billionths of a dollar: whole numbers, so that sums are exact in any order. `usage` is what was told;
    `untold` attempts told none.
    """

    agent: str
    model: str | None = None
    attempts: int = 0
    unknown: int = 0
    nano_usd: int = 0
    untold: int = 0
    usage: Usage = Usage()


class Spent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What an item has cost so far in this run, over all attempts that agents made for it, whatever came of them.

    `replayed` outcomes were taken over from other items (they count no attempt), `adopted` ones from workers that had outlived
    their supervisor; what these had cost, as far as it is known, would else have been paid once more.
    """

    agents: list[AgentSpent] = []
    children: dict[str, list[AgentSpent]] = {}
    """What agents of its child runs have cost, by the id of the run, whose own records tell it too."""
    last_nano_usd: int | None = None
    """Of the last attempt alone; None: unknown."""
    last_tokens: int | None = None
    replayed: int = 0
    replayed_nano_usd: int = 0
    adopted: int = 0
    adopted_nano_usd: int = 0


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
    """The id of the child run that did the work."""
    folder: str = ""
    """Where its agent worked (absolute)."""
    workspace: str = ""
    """The name of the workspace that it worked in."""
    is_adopted: bool = False
    """A worker of a supervisor that was killed made the attempt."""
    spent: Spent | None = None
    """Of the item so far; None: no agent has worked for it."""


class ItemSettled(msgspec.Struct, frozen=True, tag="item", kw_only=True, omit_defaults=True):
    """An item came to `status` without an attempt: skipped, found done (`creates`), refused by its template, cancelled.

    Also a change of a word later on: a `waiting` item whose run ended is `interrupted`; a succeeded one may become `stale`.
    `pending`: an update set it back. It keeps its outcome if that is of the very payload that it has when its turn comes.
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


class GateAsked(msgspec.Struct, frozen=True, tag="asked", kw_only=True, omit_defaults=True):
    """A gate's question is out: the item waits for somebody's choice. An answer that it had before counts no more."""

    job: str
    index: int
    question: str
    options: list[str]
    at: float
    label: str | None = None
    show_file: str | None = None
    """Absolute path of a file that belongs to the question."""


class GateAnswered(msgspec.Struct, frozen=True, tag="answered", kw_only=True, omit_defaults=True):
    """Somebody made the choice. Durable before anything acts on it."""

    job: str
    index: int
    choice: str
    at: float
    message: str = ""


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
    has begun with the prompt, so its session may go on; else it begins one of its own.
    """

    job: str
    index: int
    attempts: int
    feedback: str = ""
    model: str | None = None
    prompt: str | None = None
    is_prompt_kept: bool = False

    @property
    def change(self) -> tuple[str, str | None, str | None]:
        """What is other than before; it is part of what the item does."""
        return (self.feedback, self.model, self.prompt)


class SlotsSet(msgspec.Struct, frozen=True, tag="slots", kw_only=True):
    """`orchestrate set RUN slots=N`: from now on this many, also in resumes."""

    slots: int


class BudgetSet(msgspec.Struct, frozen=True, tag="budget", kw_only=True, omit_defaults=True):
    """`orchestrate set RUN budget_usd=40`: from now on so much, of the run or of a job, also in resumes.

    It stands in for `instead_of`, the file's own number (None: it has none): once an update changes that, the file counts again.
    """

    kind: Literal["budget_usd", "budget_tokens"]
    amount: float
    instead_of: float | None = None
    job: str = ""


class JobSpent(msgspec.Struct, frozen=True, tag="job_spent", kw_only=True, omit_defaults=True):
    """Of a job, what no end of an item tells: the cost of items that an update let begin anew, and how often was paid twice."""

    job: str
    spent: Spent = Spent()
    paid_twice: int = 0


class JobClosed(msgspec.Struct, frozen=True, tag="job", kw_only=True):
    """Nothing more will come of a job in this session; `status` is its word (failures that are tolerated: succeeded)."""

    job: str
    status: str


class RunEnded(msgspec.Struct, frozen=True, tag="run_ended", kw_only=True, omit_defaults=True):
    """This supervisor's last word. `error_item` and `error_message` tell what halted or failed the run, if anything did."""

    status: RunStatus
    at: float
    exit_code: int = 0
    error_item: str | None = None
    error_message: str | None = None
    reason: str = ""
    """Why it is paused, in words."""


class Commit(msgspec.Struct, frozen=True, tag="commit", kw_only=True):
    """Ends a group: the group's records begin at byte `offset` of the journal of `generation`; `crc` is their CRC-32."""

    generation: int
    offset: int
    crc: int


Fact = (
    RunHeader
    | SupervisorStarted
    | WorkerStarted
    | Selection
    | ItemsListed
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
    | RunEnded
)
"""What is recorded beside the attempts and the ends of items: every pass over a run reads it whole."""

Record = Fact | Started | AttemptEnded | ItemSettled
"""Everything that a supervisor records. `Commit` is the journal's own."""
