"""What a supervisor tells while a run goes on: for the live view, for plain lines, and for `--events` (one JSON object a line).

The JSON is a public format: a key may be added at the end of a struct, none may change or go.

Times (`at`) are seconds since the epoch, durations seconds. `item` is `JOB:INDEX` or `JOB`; `label` what people call it.

An attempt has a `sequence` that no other attempt of the run has. What begins with the `item_started` of a sequence ends with the
`item_ended`, `item_retrying`, `item_round_ended` or `item_waiting` of the same sequence. That tells of the attempt: `worker` (the
number of the worker that it ran in), `attempt_class` (what it came to: `ok`, `command_failed`, `timeout`, ...), `cost_usd` and
`usage` (tokens by kind) of this attempt alone, `session_id`, `agent` and `model`. None: no attempt ended, or it did not tell. Of
an attempt that an earlier supervisor started, this one tells the end alone.
"""

from __future__ import annotations

from typing import Any

import msgspec


class RunBegan(msgspec.Struct, frozen=True, tag="run_began", tag_field="event", kw_only=True):
    """A supervisor took the run. `jobs`: ids in file order. `is_resumed`: an earlier supervisor had it before."""

    run_id: str
    name: str
    jobs: list[str]
    slots: int
    at: float
    is_resumed: bool


class JobListed(msgspec.Struct, frozen=True, tag="job_listed", tag_field="event", kw_only=True):
    """A job's items are known. `counts`: status -> number of items that have it already (a resume, or a gate sent some back)."""

    job: str
    count: int
    counts: dict[str, int]


class JobGrew(msgspec.Struct, frozen=True, tag="job_grew", tag_field="event", kw_only=True):
    """More items of a job are known, for its list still comes: `count` in all. Not `is_growing`: these are all."""

    job: str
    count: int
    is_growing: bool


class ItemStarted(msgspec.Struct, frozen=True, tag="item_started", tag_field="event", kw_only=True):
    """An attempt was handed to a worker."""

    item: str
    job: str
    label: str | None
    attempt: int
    at: float
    sequence: int | None = None
    worker: int | None = None
    session_id: str | None = None
    """The session that the agent goes on in; None: it begins one."""
    agent: str | None = None
    model: str | None = None


class ItemRetrying(msgspec.Struct, frozen=True, tag="item_retrying", tag_field="event", kw_only=True):
    """An attempt failed and another will come after `wait_s`."""

    item: str
    job: str
    label: str | None
    attempt: int
    message: str
    wait_s: float
    at: float
    sequence: int | None = None
    worker: int | None = None
    attempt_class: str | None = None
    cost_usd: float | None = None
    usage: dict[str, int] | None = None
    session_id: str | None = None
    agent: str | None = None
    model: str | None = None


class ItemRoundEnded(msgspec.Struct, frozen=True, tag="item_round_ended", tag_field="event", kw_only=True):
    """A round of a loop ended, and another will come after `wait_s`."""

    item: str
    job: str
    label: str | None
    round: int
    attempt: int
    exit_code: int | None
    duration_s: float
    wait_s: float
    at: float
    sequence: int | None = None
    worker: int | None = None
    attempt_class: str | None = None
    cost_usd: float | None = None
    usage: dict[str, int] | None = None
    session_id: str | None = None
    agent: str | None = None
    model: str | None = None


class ItemWaiting(msgspec.Struct, frozen=True, tag="item_waiting", tag_field="event", kw_only=True):
    """The item waits for something: work done elsewhere, a child run that paused, its agent's account. `message` says for what.

    It has a sequence if it waits because its own attempt ended.
    """

    item: str
    job: str
    label: str | None
    message: str
    at: float
    sequence: int | None = None
    worker: int | None = None
    attempt_class: str | None = None
    cost_usd: float | None = None
    usage: dict[str, int] | None = None
    session_id: str | None = None
    agent: str | None = None
    model: str | None = None


class GateAsked(msgspec.Struct, frozen=True, tag="gate_asked", tag_field="event", kw_only=True):
    """An item waits for a person's choice. `is_here`: the question is put at the terminal of this supervisor.

    `run_id`, `gate`: the gate that asks, if it belongs to the item's child run.
    """

    item: str
    job: str
    label: str | None
    question: str
    options: list[str]
    is_here: bool
    at: float
    run_id: str | None = None
    gate: str | None = None


class GateAnswered(msgspec.Struct, frozen=True, tag="gate_answered", tag_field="event", kw_only=True):
    """The choice was made, and the run acts on it now."""

    item: str
    job: str
    label: str | None
    choice: str
    message: str
    at: float


class PromptOpened(msgspec.Struct, frozen=True, tag="prompt_opened", tag_field="event", kw_only=True):
    """A person types at the terminal from now on: no view may draw there."""


class PromptClosed(msgspec.Struct, frozen=True, tag="prompt_closed", tag_field="event", kw_only=True):
    """The question is gone: views may draw at the terminal again."""


class ItemEnded(msgspec.Struct, frozen=True, tag="item_ended", tag_field="event", kw_only=True):
    """An item came to its end (`status`). `attempts` 0: it was never started (skipped, found done, refused, or done elsewhere).

    `deduped_from` (`RUN/ITEM`): the item whose outcome this one shares. `tail`: of one that failed the last lines of what its
    attempt wrote, without secrets; None: there are none.
    """

    item: str
    job: str
    label: str | None
    status: str
    attempts: int
    message: str
    duration_s: float | None
    exit_code: int | None
    at: float
    deduped_from: str | None = None
    sequence: int | None = None
    worker: int | None = None
    attempt_class: str | None = None
    cost_usd: float | None = None
    usage: dict[str, int] | None = None
    session_id: str | None = None
    agent: str | None = None
    model: str | None = None
    tail: list[str] | None = None


class JobClosed(msgspec.Struct, frozen=True, tag="job_closed", tag_field="event", kw_only=True):
    """Nothing more will come of a job."""

    job: str
    status: str
    message: str = ""


class Charged(msgspec.Struct, frozen=True, tag="charged", tag_field="event", kw_only=True):
    """An agent's attempt has ended and cost `cost_usd` (None: it did not tell). All other numbers are of the run so far.

    `attempts`: of agents; `spent_usd`: what those with a known cost have cost (None: there is none); `unknown_costs`: how many
    others there are. `item` None: this tells what was spent before this supervisor began.
    """

    item: str | None
    job: str | None
    cost_usd: float | None
    spent_usd: float | None
    unknown_costs: int
    attempts: int
    at: float


class AccountSpared(msgspec.Struct, frozen=True, tag="account", tag_field="event", kw_only=True):
    """How an account of agents is spared from now on, in words; empty: it is spared no longer.

    `until`: no attempt of the account starts before this time (seconds since the epoch); None: attempts start, but fewer.
    """

    account: str
    words: str
    until: float | None
    at: float


class Noted(msgspec.Struct, frozen=True, tag="note", tag_field="event", kw_only=True):
    """Something a person should know: an empty list, a drain, a lost worker.

    `is_warning`: also one who wants to hear of failures alone, for it may well be a mistake.
    """

    message: str
    at: float
    is_warning: bool = False


class RunFinished(msgspec.Struct, frozen=True, tag="run_finished", tag_field="event", kw_only=True):
    """The last word. `summary` is what `run --json` prints, with times as numbers.

    The other fields tell more of the item that its error names. That item may have failed before this supervisor began, so
    no other happening tells of it. `error_attempts` 0: it had none.
    """

    run_id: str
    status: str
    exit_code: int
    summary: dict[str, Any]
    at: float
    error_label: str | None = None
    error_attempts: int = 0
    error_class: str | None = None


Happening = (
    RunBegan
    | JobListed
    | JobGrew
    | ItemStarted
    | ItemRetrying
    | ItemRoundEnded
    | ItemWaiting
    | GateAsked
    | GateAnswered
    | PromptOpened
    | PromptClosed
    | ItemEnded
    | JobClosed
    | Charged
    | AccountSpared
    | Noted
    | RunFinished
)


class OpenQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """An item that goes on once a person has made a choice, by `approve RUN_ID GATE`."""

    item: str
    label: str | None
    question: str
    options: list[str]
    run_id: str
    gate: str
    show_file: str | None = None
