"""The messages between a supervisor and a worker, and the names by which the two find each other.

One struct a message, msgpack on the socket. A message that is larger than `INLINE_BYTES` travels as `ByFile`: SEQPACKET
truncates silently and fails at about 200 kB.
"""

from __future__ import annotations

import signal

import msgspec

from .outcome import EndReason, Outcome
from .tasks import DEFAULT_LIMITS, AgentTask, Check, ConfigTask, Creates, Holding, Limits, MadeNote, WorkspaceTask

INLINE_BYTES = 64 * 1024
"""Largest message that is sent through the socket itself; a larger one goes by file."""

WORKER_SOCKET_FD = 3
"""Descriptor number of the worker's end of the socket."""

WORKER_LIVENESS_FD = 4
"""Descriptor number of the worker's liveness lock (`LIVENESS_LOCK_NAME` in its folder), which no agent inherits."""

HURRY_SIGNAL = signal.SIGUSR1
"""To a worker: as SIGTERM (its attempt is ended as by a drain, then it exits), with at most `HURRIED_GRACE_SECONDS` of grace."""

HURRIED_GRACE_SECONDS = 1.0
"""Grace of a hurried end: long enough for an agent to close its files, short enough to be "at once"."""

WORKER_FOLDER_VARIABLE = "ORCHESTRATE_WORKER"
"""Environment variable: the folder of the worker that runs the attempt. A nested run finds there what it may borrow."""

MARK_VARIABLE = "ORCHESTRATE_MARK"
"""Environment variable by which every process of an attempt is found. The mark of a nested attempt starts with its parent's."""

LIVENESS_LOCK_NAME = "alive.lock"
"""In a worker's folder: locked as long as the worker lives. Found free, it tells that nobody ends the worker's agent any more."""

BORROW_LOCK_NAME = "borrow.lock"
"""In a worker's folder: its holder uses the slots (run and pool) of the attempt that the worker runs."""


class Start(msgspec.Struct, frozen=True, tag="start", kw_only=True, omit_defaults=True):
    """Run one attempt. Comes with one lock descriptor or more (SCM_RIGHTS), which are held as long as its agent lives.

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
    limits: Limits = DEFAULT_LIMITS
    creates: list[Creates] = []
    """The files that it makes: all of them, or it has not succeeded."""
    made_note: MadeNote | None = None
    secrets: list[str] = []
    """Secret inputs whose marks stand in `env` and `stdin` (`workers.secrets`)."""
    kept_locks: int = 0
    holding: Holding | None = None
    agent: AgentTask | None = None
    check: Check | None = None
    workspace: WorkspaceTask | None = None
    config: ConfigTask | None = None
    env_allowed: list[str] | None = None
    """Names, or `PREFIX*`, of the variables that pass from the worker's own environment; None: all do."""
    recorded_through: int = -1
    """All of this worker's outcomes up to this sequence are in the journal: its log may forget them."""


class Starts(msgspec.Struct, frozen=True, tag="starts", kw_only=True):
    """Run these attempts one after the other, all with the descriptors that came with them: the first is a start like any other,
    the others are queued behind it.

    A queued start is begun only right after one that ended well and lasted no longer than `seconds`, while the halt word of the
    run (`workers.halt_word`) is still `word`; else it is given back. An end is told no later than `seconds` after it.
    """

    starts: list[Start]
    word: bytes
    seconds: float


class MoreStarts(msgspec.Struct, frozen=True, tag="more", kw_only=True):
    """Queue these behind what runs, under the locks that it has, as those of `Starts` are; if nothing may be queued behind it any
    more, they are given back.

    If it has ended meanwhile they begin at once, under the lock that comes with them and if the halt word is still `word`; else
    they are given back.
    """

    starts: list[Start]
    word: bytes
    seconds: float


class Recall(msgspec.Struct, frozen=True, tag="recall"):
    """Give back at once what is queued."""


class End(msgspec.Struct, frozen=True, tag="end", kw_only=True):
    """End the attempt `sequence`: SIGTERM to the whole tree, `grace_seconds`, SIGKILL. If it is queued, all that is
    queued is given back; ignored if it is neither.

    A second End with a shorter grace takes its place (0 kills at once).
    """

    sequence: int
    reason: EndReason
    grace_seconds: float


class Ended(msgspec.Struct, frozen=True, tag="ended", kw_only=True):
    """A worker's answer to a `Start`, sent when the tree is confirmed ended, the locks are let go, and the log has it."""

    sequence: int
    outcome: Outcome


class Told(msgspec.Struct, frozen=True, tag="told", kw_only=True):
    """A worker's answer to `Starts`, in order: what has ended, what runs on (its sequence), what is given back and never begins.

    Once nothing runs on, the locks are let go. What runs on, if nothing is queued behind it any more, is told by `Ended`, as the
    end of a single `Start` is. `is_low`: half of what was queued has begun, so `MoreStarts` may come.
    """

    ended: list[Ended]
    running: int | None
    returned: list[int]
    is_low: bool = False


class ByFile(msgspec.Struct, frozen=True, tag="by_file", kw_only=True):
    """A message too large for the socket: `path` holds its msgpack bytes; the receiver removes the file."""

    path: str
