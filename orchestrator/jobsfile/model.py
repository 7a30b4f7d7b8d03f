"""A jobs file after loading: checked, defaults applied, templates compiled. What the rest of the program works with.

The structs that decode the raw TOML live in `keys`; `load` makes these of them, and tells all mistakes at once.
All durations are seconds, all sizes bytes.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from orchestrator.core.job_rules import Halt
from orchestrator.jobsfile.kept_files import FROM_DISK, Files, KeptFiles
from orchestrator.jobsfile.language.template import Template
from orchestrator.workers.protocol import DEFAULT_LIMITS, Expectation, Limits

OutputKind = Literal["text", "lines", "json", "jsonl"]
InputType = Literal["string", "integer", "number", "boolean", "list"]
WhenWord = Literal["always", "failed"]
Lane = Literal["main", "fast"]
IfRunning = Literal["join", "reject", "replace", "run_anyway"]
IfDone = Literal["replay", "rerun", "reject"]
IfChanged = Literal["rerun", "reject"]
Permissions = Literal["read", "edit", "full"]
CreatesWhen = Literal["missing", "newer", "changed"]
OnUsageLimit = Literal["wait", "pause", "fail", "fallback"]


class InputSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One declared input. `default` is None when `required`."""

    type: InputType
    required: bool = False
    default: Any = None
    enum: tuple[Any, ...] = ()
    description: str = ""
    is_secret: bool = False
    """Its value is kept nowhere: a run has a mark for it (`secret_inputs`)."""


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The table [run]. `slots` None: the CPUs this process may use; 0: inline. `fast_slots` None: half of them, if needed.

    `min_free_memory` in bytes; `max_depth` of runs nested in this one.
    """

    slots: int | None = None
    fast_slots: int | None = None
    drain_timeout: float = 300.0
    timeout: float | None = None
    max_depth: int = 3
    min_free_memory: int | None = None
    env: dict[str, Template] = msgspec.field(default_factory=dict)
    budget_usd: float | None = None
    budget_tokens: int | None = None


class CommandAction(msgspec.Struct, frozen=True, kw_only=True):
    """`command`: an argv without a shell. An element that is a lone placeholder and gives a list becomes several arguments."""

    argv: tuple[Template, ...]


class ShellAction(msgspec.Struct, frozen=True, kw_only=True):
    """`shell`: a script for `/bin/sh -e`, or what its `#!` or `shell_program` names; each placeholder shell-quoted."""

    script: Template


class GateAction(msgspec.Struct, frozen=True, kw_only=True):
    """`gate`: a question for somebody to answer; it runs nothing."""

    question: Template


class OnReject(msgspec.Struct, frozen=True, kw_only=True):
    """What a rejection brings about. `job`: with `retry`, the job that runs again before the gate asks again; None: only that."""

    how: Literal["abort", "skip", "retry"] = "abort"
    job: str | None = None


class WorkflowAction(msgspec.Struct, frozen=True, kw_only=True):
    """`workflow`: the path of a jobs file, relative to the folder, that is run as a child of the item."""

    path: Template


class AgentAction(msgspec.Struct, frozen=True, kw_only=True):
    """`agent`: the name of a profile. What it is told is the job's `prompt` or `prompt_file`."""

    agent: Template


class PromptFile(msgspec.Struct, frozen=True, kw_only=True):
    """`prompt_file`: a path, and whether what stands in that file is a template."""

    path: Template
    is_template: bool = True


class Promised(msgspec.Struct, frozen=True, kw_only=True):
    """`creates`: the paths of the files that an item makes. `is_list`: templates know them as a list, and not as one text."""

    paths: tuple[Template, ...]
    is_list: bool = False


class LandAction(msgspec.Struct, frozen=True, kw_only=True):
    """`land`: bring home what the items of `job` did in their worktrees."""

    job: str


Action = CommandAction | ShellAction | GateAction | WorkflowAction | AgentAction | LandAction


class Workspace(msgspec.Struct, frozen=True, kw_only=True):
    """Where an attempt works. `keep`: seconds that a changed workspace stays; None: as long as its run."""

    kind: Literal["shared", "worktree", "copy", "temp"] = "shared"
    is_said: bool = False
    """The file says so, and it is not only the default."""
    base: Template | None = None
    branch: Template | None = None
    include: tuple[str, ...] = ()
    setup: Template | None = None
    keep: float | None = None


class ListSource(msgspec.Struct, frozen=True, kw_only=True):
    """A list as written (each element a template or a plain value), or one template that gives a list."""

    values: tuple[Any, ...] | Template
    batch: int | None = None


class FileSource(msgspec.Struct, frozen=True, kw_only=True):
    """`{ glob = }`, `{ lines = }`, `{ jsonl = }`, `{ csv = }`: a pattern or a path (a template), relative to the folder."""

    kind: Literal["glob", "lines", "jsonl", "csv"]
    path: Template
    batch: int | None = None
    delimiter: str | None = None
    """Of a CSV file; None: a comma, unless the file looks otherwise."""


class MatrixSource(msgspec.Struct, frozen=True, kw_only=True):
    """`{ matrix = { a = […], b = SOURCE } }`: the product, the last axis fastest; each item is a mapping axis -> value."""

    axes: dict[str, ListSource | FileSource]
    batch: int | None = None


class ChainSource(msgspec.Struct, frozen=True, kw_only=True):
    """`{ job = "port" }` or `{ job = ["a", "b"] }`: item i follows item i of each parent, no barrier."""

    jobs: tuple[str, ...]


Source = ListSource | FileSource | MatrixSource | ChainSource


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Wait before attempt n+1: min(delay * backoff ** (n - 1), max_delay), changed by up to ± `jitter` (a fraction)."""

    delay: float = 1.0
    backoff: float = 2.0
    max_delay: float = 300.0
    jitter: float = 0.1


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """A loop: rounds until `condition` holds (`until`, asked after each round), or while it does (asked before each, too).

    `max` rounds at most: then the item has succeeded, or failed if the loop `must` come to its end. `delay` between two rounds.
    """

    condition: Template
    is_until: bool
    max: int = 10
    must: bool = False
    delay: float = 0.0

    @property
    def takes_exit_code(self) -> bool:
        """Whether a non-zero exit ends a round like any other: the condition asks for it, so it is no failure."""
        return "exit_code" in self.condition.names


class MaxFailures(msgspec.Struct, frozen=True, kw_only=True):
    """`max_failures = 3` or `"20%"` (of the job's items, rounded down)."""

    count: int | None = None
    percent: float | None = None


class Rate(msgspec.Struct, frozen=True):
    """At most `starts` in any `seconds`."""

    starts: int
    seconds: float


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """`[pools.NAME]`: slots that all runs of this user share. `slots` None: no bound but the rate."""

    name: str
    slots: int | None = None
    rate: Rate | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job. `needs` has the written and the implied ones, in file order."""

    id: str
    action: Action
    inputs: dict[str, Any] = msgspec.field(default_factory=dict)
    """What a child run is given, by name: a plain value, a template, or a tuple of both."""
    needs: tuple[str, ...] = ()
    when: Template | WhenWord | None = None
    for_each: Source | None = None
    label: Template | None = None
    max_concurrency: int | None = None
    lane: Lane = "main"
    pool: str | None = None
    devices: tuple[str, ...] = ()
    priority: int = 0
    repeat: Repeat | None = None
    continue_on_error: bool = False
    max_failures: MaxFailures | None = None
    halt: Halt | None = None
    attempts: int = 1
    retry: Retry = Retry()
    limits: Limits = DEFAULT_LIMITS
    """What one attempt may take. The keys of it: `keys.LIMIT_KEYS`."""
    shell_program: tuple[str, ...] = ()
    cwd: Template | None = None
    env: dict[str, Template] = msgspec.field(default_factory=dict)
    stdin: Template | None = None
    output: OutputKind = "text"
    creates: Promised | None = None
    sources: tuple[Template, ...] = ()
    creates_when: CreatesWhen | None = None
    token: Template | None = None
    token_ttl: float = 0.0
    if_running: IfRunning = "join"
    if_done: IfDone = "replay"
    if_changed: IfChanged = "rerun"
    options: tuple[str, ...] = ("approve", "reject")
    on_reject: OnReject = OnReject()
    show_file: Template | None = None
    prompt: Template | None = None
    prompt_file: PromptFile | None = None
    model: Template | None = None
    permissions: Permissions | None = None
    args: tuple[Template, ...] = ()
    max_turns: int | None = None
    schema: Template | None = None
    expect: Expectation | None = None
    resume_session: bool = True
    resume_prompt: Template | None = None
    retry_prompt: Template | None = None
    budget_usd: float | None = None
    budget_tokens: int | None = None
    estimate_usd: float | None = None
    on_usage_limit: OnUsageLimit | None = None
    """None: fallback if there is one, else wait."""
    fallback: tuple[str, ...] = ()
    pass_env: tuple[str, ...] = ()
    control: bool = False
    workspace: Workspace = Workspace()
    check: Template | None = None
    artifacts: tuple[Template, ...] = ()
    sent_back_by: tuple[str, ...] = ()
    """Gates after which it runs again when they are rejected. Its templates see what they said then."""

    @property
    def is_gate(self) -> bool:
        """Whether it asks instead of running something."""
        return isinstance(self.action, GateAction)

    @property
    def is_agent(self) -> bool:
        """Whether an agent does the work."""
        return type(self.action) is AgentAction  # asked several times an item

    @property
    def renewed_when(self) -> CreatesWhen:
        """When files of `creates` that are there are made anew: as it says, else if a source is newer."""
        return self.creates_when or ("newer" if self.sources else "missing")

    @property
    def allowed(self) -> Permissions:
        """What its agent may do: as it says, else edit in a workspace of its own, else read."""
        return self.permissions or ("read" if self.workspace.kind == "shared" else "edit")


class JobsFile(msgspec.Struct, frozen=True, kw_only=True):
    """`path` is the real path of the file, `folder` what relative paths and the default cwd start from (absolute)."""

    name: str
    path: str
    folder: str
    text: str
    inputs: dict[str, InputSpec]
    run: RunSettings
    jobs: tuple[Job, ...]
    pools: dict[str, Pool] = msgspec.field(default_factory=dict)
    nests: int = 0
    """How deep runs of other files nest in a run of this one, as far as the files could be known when it was loaded."""
    kept: KeptFiles | None = None
    """What the file needs besides itself, as it was when the run was made; None: nothing, or a version that kept none made it."""

    @property
    def files(self) -> Files:
        """What reads the files that it names."""
        return Files(self.kept) if self.kept is not None else FROM_DISK


def templates_in(value: Any) -> list[Template]:
    """All templates of one attribute of a job."""
    match value:
        case Template():
            return [value]
        case dict():
            return [template for element in value.values() for template in templates_in(element)]
        case tuple():
            return [template for element in value for template in templates_in(element)]
        case msgspec.Struct():
            return [template for field in value.__struct_fields__ for template in templates_in(getattr(value, field))]
        case _:
            return []


def templates_of(job: Job) -> list[Template]:
    """All templates of a job."""
    return [template for name in job.__struct_fields__ for template in templates_in(getattr(job, name))]


def chain_of(job: Job) -> tuple[str, ...]:
    """The jobs whose items its items follow one by one, without a barrier."""
    return job.for_each.jobs if isinstance(job.for_each, ChainSource) else ()


def globs_of(job: Job) -> list[str]:
    """The patterns of files that its items are made of, as they are written."""
    source = job.for_each
    sources = source.axes.values() if isinstance(source, MatrixSource) else [source]
    return [each.path.source for each in sources if isinstance(each, FileSource) and each.kind == "glob"]


def barriers_of(job: Job) -> tuple[str, ...]:
    """The jobs that have to be done as a whole before it starts, in file order; a chain's parent if a template names it."""
    named = {name for template in templates_of(job) for name in template.jobs}
    return tuple(need for need in job.needs if need in named or need not in chain_of(job))
