"""The parts of a `Start`: what an attempt is to do besides running its command, and what it holds.

A part that is None is not asked for, and costs the worker nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .outcome import Usage
from .reading import Reading


class Holding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an attempt holds, told to the runs that it starts (in the `Begun` of its worker's log).

    `run` is the folder of its run, `root` that of the outermost run, whose slots bound all that is nested in it; both absolute.
    `pools` are those of which it holds a slot. `depth` is 0 for a run that is nested in nothing, `max_depth` the deepest allowed.
    `parent` is the folder of the worker whose attempt started its run; None for a run that is nested in nothing. `control`: what
    the attempt starts may steer runs. `is_agents`: its action is an agent.
    """

    run: str
    root: str
    item: str
    lane: Literal["main", "fast"] = "main"
    pools: list[str] = []
    depth: int = 0
    max_depth: int = 3
    parent: str | None = None
    control: bool = False
    is_agents: bool = False


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an attempt may take before its worker ends it. None: no bound.

    `timeout_seconds` bounds its whole time, `stall_timeout_seconds` the time in which it writes nothing, `memory_bytes` what its
    processes use together. `max_output_bytes` is how much of each captured stream is kept. An end begins with SIGTERM; SIGKILL
    follows after `grace_seconds`. `ok_exit_codes`: with which a command has succeeded, besides 0.
    """

    timeout_seconds: float | None = None
    stall_timeout_seconds: float | None = None
    grace_seconds: float = 10.0
    max_output_bytes: int = 1 << 30
    memory_bytes: int | None = None
    ok_exit_codes: tuple[int, ...] = ()


DEFAULT_LIMITS = Limits()


class Creates(msgspec.Struct, frozen=True):
    """A file that an attempt makes: written as `temporary` (same folder), renamed to `final` after exit 0. Absolute paths."""

    temporary: str
    final: str


class MadeNote(msgspec.Struct, frozen=True):
    """What the files of `creates` are made of: removed before they are made, written to `path` (absolute) when they are."""

    path: str
    data: bytes


Expectation = Literal["answer", "change"]
"""What the success of an agent has to come with: an answer that is not empty, or a change in its workspace."""


class AgentTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That an attempt is an agent's, and how what it writes is read.

    `text_path` is where its answer goes if it is long. `session_id` is the session that argv resumes; `usage_before` and
    `cost_before` are what that session had told before, to be taken off where the agent tells sums. No event may come for
    the `stall_timeout_seconds` of the limits; after its last event the agent has `exit_grace_seconds` to exit, but
    `task_grace_seconds` while it waits for tasks of its own: its CLI is bound to give them up before.
    """

    agent: str
    reading: Reading
    text_path: str
    model: str | None = None
    session_id: str | None = None
    usage_before: Usage | None = None
    cost_before: float | None = None
    exit_grace_seconds: float = 10.0
    task_grace_seconds: float = 900.0
    max_events: int | None = None
    expect: Expectation | None = None
    asked: dict[str, str] = {}
    """What the agent is asked, part by part, to be compared with another run; long parts as hashes."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """A script for `/bin/sh -e` that confirms a success: same folder, environment, mark, locks. `path`: where its output goes."""

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
    the attempt's), kept in `artifacts_folder`, together no larger than `max_output_bytes` of the limits. `is_followed`: another
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
    onto: str | None = None
    """The commit that the branch of a worktree is to have, and its work to count from, before the attempt (`retry --rebase`)."""
    resolves_conflicts: bool = False
    """Whether what runs there is an agent, and so resolves what conflicts in that."""
    settings_path: str = ""
    """The file (absolute) in which the run keeps settings of the repository as they were at first; empty: they are not kept."""
