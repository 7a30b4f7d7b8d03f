"""What an attempt came to: its class, its captured streams, what its agent and its workspace report.

An `Outcome` travels to the supervisor, lies in the worker's log, and stands in the journal: all three decode the same struct.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

INLINE_OUTPUT_BYTES = 4096
"""Largest captured stream that travels inside its outcome (and so is durable with the journal's group)."""


class AttemptClass(StrEnum):
    """What an attempt came to. Only `OK` is a success."""

    OK = "ok"
    """It succeeded."""
    COMMAND_FAILED = "command_failed"
    """The command exited with another code than 0, or a signal ended it."""
    TIMEOUT = "timeout"
    """It ran longer than `timeout`, and was ended."""
    CANCELLED = "cancelled"
    """Ended because somebody asked for it: `cancel`, or a drain that ran out of time (then `ended_by` is `drain`)."""
    CANNOT_START = "cannot_start"
    """The command does not exist, may not be executed, or does not fit the kernel's argument limit: trying again is useless."""
    CREATES_MISSING = "creates_missing"
    """Exit 0, and the file that `creates` promised was not there, or was there before and is the same."""
    BAD_OUTPUT = "bad_output"
    """Exit 0, and the output is not what `output = "json"` or `"jsonl"` promised. Given by the supervisor, which reads it."""
    LOOP_FAILED = "loop_failed"
    """The loop was to end before its last round and did not, or its condition could not be asked. Given by the supervisor."""
    PAUSED = "paused"
    """A child run that paused, or was stopped: it goes on with the next attempt. Given by the supervisor."""
    REJECTED = "rejected"
    """A gate of the child run was rejected. Given by the supervisor."""
    CHECK_FAILED = "check_failed"
    """It went well, and its `check` (or the schema of its answer) says otherwise."""
    AGENT_FAILED = "agent_failed"
    """The agent says that it failed, or exited with an error, for no reason that is known."""
    AUTH = "auth"
    BILLING = "billing"
    USAGE_LIMIT = "usage_limit"
    """The account has used up what it may in a time; it goes on when that time is over."""
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    """The provider's servers failed or had too much to do."""
    NETWORK = "network"
    CONTEXT = "context"
    """The prompt, or what came of it, is longer than the model takes."""
    BUDGET = "budget"
    """The agent's own bound of costs was reached."""
    TURNS = "turns"
    """The agent's own bound of turns was reached."""
    STALLED = "stalled"
    """It wrote nothing for `stall_timeout`, or far too many events."""
    DENIED = "denied"
    """It did not get its work done because it was not allowed to."""
    PROTOCOL_ERROR = "protocol_error"
    """It exited with 0, and its output does not say that it succeeded, or was removed or replaced while it ran."""
    MEMORY = "memory"
    """Its processes together used more than `memory`, and were ended."""
    SHORTAGE = "shortage"
    """The machine had no room for one more process or file just now: nothing was started, and nothing is wrong with the item."""
    NOT_BEGUN = "not_begun"
    """Its worker died, or its supervisor before it was sent: nothing of it was started, and nothing is wrong with the item. Given
    by the supervisor."""
    STATE_ERROR = "state_error"
    """The worker could not write this attempt's files (disk full, EIO, read-only)."""
    LOST = "lost"
    """Its worker died. Given by the supervisor."""


class EndReason(StrEnum):
    """Why a supervisor (or the worker's own timer) ends an attempt that still runs."""

    TIMEOUT = "timeout"
    CANCEL = "cancel"
    DRAIN = "drain"
    MEMORY = "memory"
    STALLED = "stalled"
    """It wrote nothing for `stall_timeout`."""
    STOPPED = "stopped"
    """Its process was stopped (SIGSTOP) again after we had continued it."""
    EVENTS = "events"
    """It wrote more events than an attempt may."""
    FINDING = "finding"
    """It has told of an error that it would try again by itself, for long and in vain."""
    LINGERING = "lingering"
    """It had told its end, and did not exit."""


class Capture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One captured stream. An empty one has `size` 0 and nothing else.

    `size` is the size in bytes of what was kept, `path` where it lies. Up to `INLINE_OUTPUT_BYTES` the bytes are here too
    (`inline`, base64 in JSON); a larger stream is fdatasynced, its folder fsynced, and `sha256` (hex) tells it.
    `is_cut`: more was written than `max_output` and the file ends in a mark that says so.
    """

    size: int = 0
    path: str | None = None
    inline: bytes | None = None
    sha256: str | None = None
    is_cut: bool = False


EMPTY_CAPTURE = Capture()


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model used, in tokens; None: not told. `input_tokens` are without what was read from a cache or written to it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


ResetSource = Literal["field", "text"]
"""Where the time of a reset was read: in a field of an event, or in words that are meant for people."""


class AgentReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent told of an attempt. None: not told, unknown; never 0 for that.

    `text` is its answer; with a schema, the JSON of it. `usage` and `cost_usd` are of this attempt alone, `usage_told` and
    `cost_told` as it told them, which may be sums over a resumed session. `resets_at`: when a usage limit ends (seconds since
    the epoch). `denials`: what it was not allowed to do, a line each. `notes`: of a success, in how far nothing may have
    been done.
    """

    agent: str
    model: str | None = None
    session_id: str | None = None
    is_resumed: bool = False
    text: Capture = EMPTY_CAPTURE
    usage: Usage | None = None
    usage_told: Usage | None = None
    cost_usd: float | None = None
    cost_told: float | None = None
    resets_at: float | None = None
    reset_source: ResetSource | None = None
    denials: list[str] = []
    turns: int | None = None
    events: int = 0
    notes: list[str] = []


class WorkspaceReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of an attempt's workspace. `path` None: it is gone, for nothing was changed in it, or it was not to be kept.

    `commit` has all of the item's changes, on `branch`; None: there are none, or it is no worktree. `base` is what they are
    counted from. `patch` is the same as a diff, binary files too. `artifacts` are absolute paths of the copies that were kept, in
    `artifacts_folder` at the places that they had in the workspace.
    `note`: what a person should know of it, in words.
    """

    kind: Literal["shared", "worktree", "copy", "temp"]
    path: str | None = None
    base: str | None = None
    branch: str | None = None
    commit: str | None = None
    patch: Capture = EMPTY_CAPTURE
    artifacts: list[str] = []
    artifacts_folder: str = ""
    bytes_on_disk: int | None = None
    note: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one attempt came to.

    `started_at` and `finished_at` are seconds since the epoch, for people; `duration_seconds` is monotonic. `message` says
    in words what went wrong ("exit code 3", "ended by SIGSEGV", "command not found: foo"), empty when it went well.
    `leftovers` counts the processes that the agent left behind and that were ended with it.
    """

    attempt_class: AttemptClass = msgspec.field(name="class")
    started_at: float
    finished_at: float
    duration_seconds: float
    exit_code: int | None = None
    signal: int | None = None
    ended_by: EndReason | None = None
    message: str = ""
    stdout: Capture = EMPTY_CAPTURE
    stderr: Capture = EMPTY_CAPTURE
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    leftovers: int = 0
    agent: AgentReport | None = None
    check: Capture = EMPTY_CAPTURE
    """What a failed `check` wrote."""
    workspace: WorkspaceReport | None = None
    bug: str = ""
    """The traceback of a bug of ours that was met while the attempt was judged, for supervisor.log. It is never recorded."""
    unproven: str = ""
    """Of a failure with `creates`: what stood at the final names when it had ended, a word each. As long as one is the same it
    proves nothing, for a failed attempt of this item may have made it."""
