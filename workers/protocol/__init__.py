"""What a supervisor and a worker say to each other, and what a worker leaves on disk.

One struct a message, msgpack on the socket, one JSON object a line in the worker's log. Both sides import this module and
nothing else of each other. A message that is larger than `INLINE_BYTES` travels as `ByFile`: SEQPACKET truncates silently
and fails at about 200 kB.
"""

from __future__ import annotations

import signal
from enum import StrEnum
from typing import Literal

import msgspec

from ..protocol.reading import Reading

INLINE_BYTES = 64 * 1024
"""Largest message that is sent through the socket itself; a larger one goes by file."""

INLINE_OUTPUT_BYTES = 4096
"""Largest captured stream that travels inside its outcome (and so is durable with the journal's group)."""

WORKER_SOCKET_FD = 3
"""Descriptor number of the worker's end of the socket."""

WORKER_LIVENESS_FD = 4
"""Descriptor number of the worker's liveness lock (`LIVENESS_LOCK_NAME` in its folder), which no agent inherits."""

LIVENESS_LOCK_NAME = "alive.lock"
"""In a worker's folder: locked as long as the worker lives. Who finds it free knows that nobody ends its agent any more."""

BORROW_LOCK_NAME = "borrow.lock"
"""In a worker's folder: who holds it uses the slots (run and pool) of the attempt that the worker runs."""

WORKER_FOLDER_VARIABLE = "ORCHESTRATE_WORKER"
"""Environment variable: the folder of the worker that runs the attempt. A nested run finds there what it may borrow."""

MARK_VARIABLE = "ORCHESTRATE_MARK"
"""Environment variable by which every process of an attempt is found. The mark of a nested attempt starts with its parent's."""

HURRY_SIGNAL = signal.SIGUSR1
"""To a worker: as SIGTERM (its attempt is ended as by a drain, then it exits), with at most `HURRIED_GRACE_SECONDS` of grace."""

HURRIED_GRACE_SECONDS = 1.0
"""Grace of a hurried end: long enough for an agent to close its files, short enough to be "at once"."""


class AttemptClass(StrEnum):
    """What an attempt came to. Only `OK` is a success."""

    OK = "ok"
    COMMAND_FAILED = "command_failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    """Ended because somebody asked for it: `cancel`, or a drain that ran out of time (then `ended_by` is `drain`)."""
    CANNOT_START = "cannot_start"
    """The command does not exist, may not be executed, or does not fit the kernel's argument limit: trying again is useless."""
    CREATES_MISSING = "creates_missing"
    """Exit 0, and the file that `creates` promised was not there."""
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
    """It exited with 0, and its output does not say that it succeeded."""
    MEMORY = "memory"
    """Its processes together used more than `memory`, and were ended."""
    SHORTAGE = "shortage"
    """The machine had no room for one more process or file just now: nothing was started, and nothing is wrong with the item."""
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
    EVENTS = "events"
    """It wrote more events than an attempt may."""
    FINDING = "finding"
    """It has told of an error that it would try again by itself, for long and in vain."""
    LINGERING = "lingering"
    """It had told its end, and did not exit."""


class Holding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an attempt holds, told to the runs that it starts (in the `Begun` of its worker's log).

    `run` is the folder of its run, `root` that of the outermost run, whose slots bound all that is nested in it; both absolute.
    `pools` are those of which it holds a slot. `depth` is 0 for a run that is nested in nothing, `max_depth` the deepest allowed.
    `parent` is the folder of the worker whose attempt started its run; None for a run that is nested in nothing.
    """

    run: str
    root: str
    item: str
    lane: Literal["main", "fast"] = "main"
    pools: list[str] = []
    depth: int = 0
    max_depth: int = 3
    parent: str | None = None


class Creates(msgspec.Struct, frozen=True):
    """The file an attempt makes: written as `temporary` (same folder), renamed to `final` after exit 0. Absolute paths."""

    temporary: str
    final: str


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model used, in tokens; None: not told. `input_tokens` are without what was read from a cache or written to it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


class AgentTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That an attempt is an agent's, and how what it writes is read.

    `text_path` is where its answer goes if it is long. `session_id` is the session that argv resumes; `usage_before` and
    `cost_before` are what that session had told before, to be taken off where the agent tells sums. No event may come for
    the `stall_timeout_seconds` of the start; after its last event the agent has `exit_grace_seconds` to exit.
    """

    agent: str
    reading: Reading
    text_path: str
    model: str | None = None
    session_id: str | None = None
    usage_before: Usage | None = None
    cost_before: float | None = None
    exit_grace_seconds: float = 10.0
    max_events: int | None = None
    asked: dict[str, str] = {}
    """What it was asked, part by part, for who wants to know whether it is asked the same again; long parts as hashes."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A script for /bin/sh that confirms a success: same folder, environment, mark and locks. `path` is where its output goes."""

    script: str
    path: str


class ConfigTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an agent CLI keeps its own state: `variable` tells it, `real` is the user's own folder (absolute).

    `is_own`: the attempt gets one of the folders below `folder` (absolute) that no other attempt uses, in which `shared`
    (relative paths) are links to the user's. `warm` is an argv that is run once in each new one, else once in the user's own.
    """

    variable: str
    folder: str
    real: str
    is_own: bool = False
    shared: list[str] = []
    warm: list[str] = []


class WorkspaceTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an attempt works, and what is kept of it.

    `path` is the workspace (absolute), `source` what it is made of: the root of the repository (worktree), or the folder that
    is copied. It is made anew unless it is there, ready, from an earlier attempt of the item, or of the item that this one goes
    on from. Shared: nothing is made, and `artifacts` alone count.

    `base` names the commit that a new worktree starts from, resolved once. `since` is the commit that the item's own work is
    counted from, in a workspace that it goes on in; None: what the workspace started from. `include` are patterns below
    `include_from` (absolute) and come to the same place in the workspace. `setup` is a script that runs once in a new
    workspace, in the attempt's cwd; the attempt's timeout bounds it, by itself. `artifacts` are patterns below `cwd` (absolute,
    the attempt's), kept in `artifacts_folder`, together no larger than the start's `max_output_bytes`. `is_followed`: another
    item may go on in the workspace, so it stays. `keep_seconds` 0: it is removed once its patch is kept.
    """

    kind: Literal["shared", "worktree", "copy", "temp"]
    path: str
    source: str
    cwd: str
    base: str = "HEAD"
    branch: str = ""
    since: str | None = None
    include_from: str = ""
    include: list[str] = []
    setup: str | None = None
    message: str = ""
    patch_path: str = ""
    artifacts: list[str] = []
    artifacts_folder: str = ""
    is_followed: bool = False
    keep_seconds: float | None = None
    litter: list[str] = []
    """Git's glob patterns, from the top, of what an agent leaves in a workspace and that is no work: no part of the patch."""
    left_out: list[str] = []
    """Absolute paths that a copy leaves out: the state folder, where it lies inside of what is copied."""


class Start(msgspec.Struct, frozen=True, tag="start", kw_only=True, omit_defaults=True):
    """Run one attempt. Comes with one lock descriptor or more (SCM_RIGHTS), which the agent inherits.

    At its end the worker unlocks them, but for the last `kept_locks`: those it only closes (a token, which stays its
    supervisor's until the outcome is published), unless the supervisor is gone.

    `sequence` is unique within a run for ever. `argv` is final: no shell is added. `cwd` is absolute. `env` holds what is
    added to the worker's own environment; `None` removes a variable. `stdin` is the text for the agent's standard input;
    None means /dev/null. A captured stream that is not empty is renamed to `stdout_path` / `stderr_path` (absolute; the
    folder is made if it is missing) once the attempt has ended. `script`: when given, it is written to a file and the path
    of that file is appended to argv (a shell script too large for one argument).
    """

    sequence: int
    item: str
    attempt: int
    mark: str
    argv: list[str]
    cwd: str
    stdout_path: str
    stderr_path: str
    env: dict[str, str | None] = {}
    stdin: str | None = None
    script: str | None = None
    timeout_seconds: float | None = None
    grace_seconds: float = 10.0
    max_output_bytes: int = 1 << 30
    memory_bytes: int | None = None
    creates: Creates | None = None
    kept_locks: int = 0
    holding: Holding | None = None
    stall_timeout_seconds: float | None = None
    agent: AgentTask | None = None
    check: Check | None = None
    workspace: WorkspaceTask | None = None
    config: ConfigTask | None = None
    env_allowed: list[str] | None = None
    """Names, or `PREFIX*`, of the variables that pass from the worker's own environment; None: all do."""
    recorded_through: int = -1
    """All of this worker's outcomes up to this sequence are in the journal: its log may forget them."""


class End(msgspec.Struct, frozen=True, tag="end", kw_only=True):
    """End the attempt `sequence`: SIGTERM to the whole tree, `grace_seconds`, SIGKILL. Ignored if it is not the one running.

    A second End with a shorter grace takes its place (0 kills at once).
    """

    sequence: int
    reason: EndReason
    grace_seconds: float


class ByFile(msgspec.Struct, frozen=True, tag="by_file", kw_only=True):
    """A message too large for the socket: `path` holds its msgpack bytes; the receiver removes the file."""

    path: str


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


ResetSource = Literal["field", "text"]
"""Where the time of a reset was read: in a field of an event, or in words that are meant for people."""


class AgentReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an agent told of an attempt. None: not told, unknown; never 0 for that.

    `text` is its answer; with a schema, the JSON of it. `usage` and `cost_usd` are of this attempt alone, `usage_told` and
    `cost_told` as it told them, which may be sums over a resumed session. `resets_at`: when a usage limit ends (seconds since
    the epoch). `denials`: what it was not allowed to do, a line each.
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


class Ended(msgspec.Struct, frozen=True, tag="ended", kw_only=True):
    """A worker's answer to a `Start`, sent when the tree is confirmed ended, the locks are let go, and the log has it."""

    sequence: int
    outcome: Outcome


class Begun(msgspec.Struct, frozen=True, tag="begun", kw_only=True, omit_defaults=True):
    """Line of a worker's log, written before the agent starts. Survives SIGKILL of everything, not power loss."""

    sequence: int
    boot_id: str
    mark: str
    holding: Holding | None = None


class Spawned(msgspec.Struct, frozen=True, tag="spawned", kw_only=True):
    """Line of a worker's log, written at once after the agent started: its pid (also its session) and kernel start ticks."""

    sequence: int
    pid: int
    start_ticks: int


class SessionSeen(msgspec.Struct, frozen=True, tag="session", kw_only=True):
    """Line of a worker's log, written as soon as the agent told the id of its session: a kill of everything leaves it.

    Of an attempt that resumes a session it is written before the agent tells anything. The last line of a sequence counts.
    """

    sequence: int
    agent: str
    session_id: str


LogLine = Begun | Spawned | SessionSeen | Ended
"""Every line of a worker's log is one of these as JSON, a space, and the CRC-32 of the JSON in eight hex digits."""
