"""The keys of a job that say how an agent works: what it is told, what it may do, where, and for how much.

They are keys of a job like all others (`keys.JobTable`); most of them mean something for jobs with `agent` alone.
"""

from __future__ import annotations

import msgspec

from orchestrator.jobsfile.key_types import (
    Count,
    Dollars,
    Duration,
    Expected,
    Flag,
    Limit,
    Name,
    Permission,
    PromptFiles,
    Script,
    Text,
    Texts,
    UsageLimit,
    WorkspaceKind,
    Workspaces,
)


class AgentKeys(msgspec.Struct, kw_only=True):
    """The keys of `keys.JobTable` about agents."""

    agent: Name | None = None
    """Action: an agent CLI, with `prompt` or `prompt_file`. Template of the name of its profile (see `orchestrate agents`)."""
    prompt: Script | None = None
    """Template of what the agent is told."""
    prompt_file: PromptFiles | None = None
    """Template of the path of a file that holds the prompt, a template too; not so with `{ path = …, template = false }`."""
    model: Text | None = None
    """Template of the model that the agent uses; default: what the agent is set to."""
    permissions: Permission | None = None
    """What the agent may do without asking. Default: edit in a workspace of its own (worktree, copy, temp), else read."""
    args: Texts | None = None
    """More arguments for the agent CLI, as they are. Each is a template; a lone `{{ list }}` becomes several."""
    max_turns: Count | None = None
    """How many turns the agent may take, where its CLI can bound them."""
    schema: Name | None = None
    """Template of the path of a JSON Schema that the agent's answer has to fit. Implies `output = "json"`."""
    expect: Expected | None = None
    """What a success has to come with, or it has failed: an "answer" that is not empty, or a "change" in its own workspace."""
    resume_session: Flag | None = None
    """Whether the attempt after a crash, a timeout, a limit or a failed check goes on in the session of the one before."""
    resume_prompt: Script | None = None
    """Template of what a resumed session is told instead of the prompt."""
    retry_prompt: Script | None = None
    """Template of what it is told after a failed check, whose output is `{{ attempt.check_output }}`."""
    budget_usd: Dollars | None = None
    """What the items of this job may cost together, failed attempts included. Then nothing more starts, and the run pauses."""
    budget_tokens: Count | None = None
    """The same in tokens, for agents that tell no cost."""
    estimate_usd: Dollars | None = None
    """What an item is expected to cost, until the first have ended: reserved of the budget before it starts."""
    on_usage_limit: UsageLimit | None = None
    """When the account's usage limit is reached: wait until it resets, pause the run, fail the item, or go on with `fallback`."""
    fallback: Texts | None = None
    """Agents that take over, in this order, while the usage limit of those before them is reached."""
    stall_timeout: Limit | None = None
    """How long an attempt may write nothing at all before it is ended as stalled."""
    pass_env: Texts | None = None
    """Environment variables (`NAME` or `PREFIX*`) that the agent gets besides those that its profile names."""
    workspace: Workspaces | None = None
    """Where the command works: in the folder itself, in a git worktree, a copy or an empty folder of its own."""
    check: Script | None = None
    """A script for `/bin/sh -e` that runs there after a success: exit 0 confirms it, else its output reaches the next attempt."""
    artifacts: Texts | None = None
    """Patterns of files of the workspace that are kept with the result. Templates."""
    land: Name | None = None
    """Action: bring home what the items of this job did in their worktrees, in item order."""


class PromptFileTable(msgspec.Struct, kw_only=True):
    """`prompt_file = { … }`: a file that holds the prompt."""

    path: Name | None = None
    """Template of the path of the file."""
    template: Flag | None = None
    """Whether what the file says is a template; default: true. False: the agent is told each `{{ … }}` in it as it stands."""


class WorkspaceTable(msgspec.Struct, kw_only=True):
    """`workspace = { … }`: where the command works."""

    kind: WorkspaceKind | None = None
    """"shared": in the folder itself; "worktree": a git worktree; "copy": a copy of the folder; "temp": an empty folder."""
    base: Text | None = None
    """Template of the commit that a worktree starts from; default: what is checked out."""
    branch: Text | None = None
    """Template of the branch that a worktree is on; default: one named after run and item."""
    include: Texts | None = None
    """Files that git does not know (`.env`) and that a worktree gets copied. Patterns."""
    setup: Script | None = None
    """A script for `/bin/sh -e` that runs once in a new workspace, before the command."""
    keep: Duration | None = None
    """How long a workspace that was changed stays after its item has ended."""
