"""The raw tables of a jobs file: which keys there are, what each takes, and in which words a wrong value is refused.

A field is None when its key is absent (TOML has no null). `Meta.description` completes the sentence "expected …". A callable
in an annotation parses the raw value and raises ValueError for what it refuses; without one msgspec checks the type.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from orchestrator.jobsfile import quantities
from orchestrator.jobsfile.model import IfChanged, IfDone, IfRunning, InputType, Lane, MaxFailures, OutputKind, Rate


def parse_max_failures(value: Any) -> MaxFailures:
    """`max_failures`: a whole number of at least 0, or `"20%"`. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return MaxFailures(count=value)
    return MaxFailures(percent=quantities.parse_percent(value))


def parse_rate(value: Any) -> Rate:
    """`rate`: `"50/min"`, `"5/10s"`. Raises ValueError."""
    return Rate(*quantities.parse_rate(value))


_DURATION_WORDS = 'a duration such as "90s", "20m" or "1h30m", or a number of seconds'

Text = Annotated[str, Meta(description="a string")]
Texts = Annotated[list[str], Meta(description="a list of strings")]
Argv = Annotated[list[str], Meta(min_length=1, description="a list of strings (the program and its arguments)")]
Flag = Annotated[bool, Meta(description="true or false")]
Whole = Annotated[int, Meta(description="a whole number")]
Depth = Annotated[int, Meta(ge=0, le=100, description="a whole number from 0 to 100")]
Slots = Annotated[int, Meta(ge=0, le=4096, description="a whole number from 0 to 4096")]
Count = Annotated[int, quantities.parse_count, Meta(description="a whole number of at least 1")]
Duration = Annotated[float, quantities.parse_duration, Meta(description=_DURATION_WORDS)]
Limit = Annotated[float | None, quantities.parse_limit, Meta(description=_DURATION_WORDS + " (0: no limit)")]
Size = Annotated[int, quantities.parse_size, Meta(description='a size such as "10MiB" or "10MB", or a number of bytes')]
SizeLimit = Annotated[
    int | None, quantities.parse_size_limit, Meta(description='a size such as "2GiB", or a number of bytes (0: no limit)')
]
Failures = Annotated[
    MaxFailures, parse_max_failures, Meta(description='a whole number of at least 0, or a percentage such as "20%"')
]
Backoff = Annotated[float, Meta(ge=1, le=1000, description="a number from 1 to 1000")]
Fraction = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
PoolSlots = Annotated[int, Meta(ge=1, le=4096, description="a whole number from 1 to 4096")]
StartRate = Annotated[
    Rate,
    parse_rate,
    Meta(description=f'a rate such as "50/min", "5/s" or "3/10s", of at most {quantities.MOST_STARTS} starts'),
]
Table = Annotated[dict[str, Any], Meta(description="a table")]
Output = Annotated[OutputKind, Meta(description='one of "text", "lines", "json" and "jsonl"')]
LaneName = Annotated[Lane, Meta(description='one of "main" and "fast"')]
Running = Annotated[IfRunning, Meta(description='one of "join", "reject", "replace" and "run_anyway"')]
Done = Annotated[IfDone, Meta(description='one of "replay", "rerun" and "reject"')]
Changed = Annotated[IfChanged, Meta(description='one of "rerun" and "reject"')]
Kind = Annotated[InputType, Meta(description='one of "string", "integer", "number", "boolean" and "list"')]
Values = Annotated[list[Any], Meta(min_length=1, description="a list of at least one value")]
ParentIds = Annotated[str | list[str], Meta(description="a job or a list of jobs")]


class FileTable(msgspec.Struct, kw_only=True):
    """The top of a jobs file."""

    name: Text | None = None
    inputs: Table | None = None
    run: Table | None = None
    pools: Table | None = None
    defaults: Table | None = None
    jobs: Table | None = None


class ConfigTable(msgspec.Struct, kw_only=True):
    """The top of the user's config.toml."""

    pools: Table | None = None
    defaults: Table | None = None


class InputTable(msgspec.Struct, kw_only=True):
    """`[inputs.NAME]`, the long form."""

    type: Kind | None = None
    required: Flag | None = None
    default: Any = None
    enum: Values | None = None
    description: Text | None = None


class RunTable(msgspec.Struct, kw_only=True):
    """`[run]`."""

    slots: Slots | None = None
    fast_slots: Slots | None = None
    drain_timeout: Duration | None = None
    timeout: Limit | None = None
    max_depth: Depth | None = None
    min_free_memory: SizeLimit | None = None
    env: Table | None = None


class PoolTable(msgspec.Struct, kw_only=True):
    """`[pools.NAME]`."""

    slots: PoolSlots | None = None
    rate: StartRate | None = None


class JobTable(msgspec.Struct, kw_only=True):
    """`[jobs.ID]` and `[defaults]`. `when`, `for_each` and `retry` take several forms, which `fields` tells apart."""

    command: Argv | None = None
    shell: Text | None = None
    needs: Texts | None = None
    when: Any = None
    for_each: Any = None
    label: Text | None = None
    max_concurrency: Count | None = None
    lane: LaneName | None = None
    pool: Text | None = None
    priority: Whole | None = None
    repeat: Table | None = None
    continue_on_error: Flag | None = None
    max_failures: Failures | None = None
    attempts: Count | None = None
    retry: Any = None
    timeout: Limit | None = None
    grace: Duration | None = None
    cwd: Text | None = None
    env: Table | None = None
    stdin: Text | None = None
    memory: SizeLimit | None = None
    output: Output | None = None
    max_output: Size | None = None
    creates: Text | None = None
    token: Text | None = None
    token_ttl: Duration | None = None
    if_running: Running | None = None
    if_done: Done | None = None
    if_changed: Changed | None = None


class RetryTable(msgspec.Struct, kw_only=True):
    """`retry = { … }`."""

    delay: Duration | None = None
    backoff: Backoff | None = None
    max_delay: Duration | None = None
    jitter: Fraction | None = None


class RepeatTable(msgspec.Struct, kw_only=True, rename={"while_": "while"}):
    """`repeat = { … }`: one of the first two."""

    until: Text | None = None
    while_: Text | None = None
    max: Count | None = None
    must: Flag | None = None
    delay: Duration | None = None


class SourceTable(msgspec.Struct, kw_only=True):
    """`for_each = { … }`: one of the first six."""

    glob: Text | None = None
    lines: Text | None = None
    jsonl: Text | None = None
    csv: Text | None = None
    matrix: Table | None = None
    job: ParentIds | None = None
    batch: Count | None = None


TOKEN_KEYS = ("token_ttl", "if_running", "if_done", "if_changed")
"""They say how a token is met; without one they would say nothing."""

ACTIONS = ("command", "shell", "agent", "gate", "workflow", "land")
"""A job has exactly one of these keys."""

SOURCES: tuple[Literal["glob", "lines", "jsonl", "csv"], ...] = ("glob", "lines", "jsonl", "csv")
"""The sources that read something; the others are `matrix` and `job`."""

UNSUPPORTED: dict[type[msgspec.Struct], frozenset[str]] = {
    RunTable: frozenset({"budget_usd"}),
    JobTable: frozenset(
        {
            "agent",
            "prompt",
            "prompt_file",
            "gate",
            "workflow",
            "inputs",
            "land",
            "stall_timeout",
            "pass_env",
            "workspace",
            "check",
            "artifacts",
            "model",
            "permissions",
            "args",
            "max_turns",
            "schema",
            "resume_session",
            "resume_prompt",
            "retry_prompt",
            "budget_usd",
            "estimate_usd",
            "on_usage_limit",
            "fallback",
            "options",
            "on_reject",
            "show_file",
        }
    ),
}
"""Keys of the contract that this version does not build yet: told, never ignored. A key that is built moves into its table."""

FILE_SCOPE = frozenset({"inputs", "run"})
"""Names that a template of [run] may use."""

LIST_SCOPE = frozenset({"inputs", "run", "jobs"})
"""Names that `for_each` may use: there is no item yet."""

ROUND_NAMES = frozenset({"round", "output", "exit_code"})
"""Names that the templates of a loop may use besides: the number of the round, and what came of the one before."""

ITEM_SCOPE = frozenset({"inputs", "run", "jobs", "item", "index", "label", "attempt", "parent", "creates"}) | ROUND_NAMES
"""Names that the templates of one item may use, as far as the job has them."""

HIDDEN_NAMES = {
    "label": frozenset({"label", "creates", "attempt"}) | ROUND_NAMES,
    "when": frozenset({"creates"}) | ROUND_NAMES,
    "cwd": frozenset({"creates"}),
    "creates": frozenset({"creates"}),
    # One token stands for all attempts and rounds of an item, and for the same work of any run.
    "token": frozenset({"creates", "attempt"}) | ROUND_NAMES,
}
"""Names that a key's template may not use, because they are not known yet when it is rendered."""

TEMPLATE_FUNCTIONS = frozenset({"range", "dict", "namespace"})
"""Functions that every template may call."""
