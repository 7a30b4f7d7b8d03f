"""The raw tables of a jobs file: which keys there are, what each takes, and in which words a wrong value is refused.

A field is None when its key is absent (TOML has no null). `Meta.description` completes the sentence "expected …". A callable
in an annotation parses the raw value and raises ValueError for what it refuses; without one msgspec checks the type.

`json_schema` makes of this what editors know of a jobs file. The string under a field says there what its key is for, and
`Meta.extra_json_schema` which values it takes, where the type alone does not tell.
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


JOB_ID = "[a-z][a-z0-9_]{0,63}"
POOL_NAME = "[a-z0-9][a-z0-9_-]{0,63}"
"""It is the name of a folder, also where upper and lower case are the same."""
INPUT_NAME = "[A-Za-z_][A-Za-z0-9_-]*"
CHOICE = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,39}"
"""It is typed at a prompt, with a message behind it."""

_DURATION_WORDS = 'a duration such as "90s", "20m" or "1h30m", or a number of seconds'
_TEMPLATE = {"type": "string", "pattern": r"\{[{%]"}


def _one_of(struct: str) -> dict[str, Any]:
    """The table of this module that is called so."""
    return {"$ref": f"#/$defs/{struct}"}


def _named(pattern: str, value: dict[str, Any]) -> dict[str, Any]:
    """A table whose keys are names like `pattern`, and whose values are like `value`."""
    return {"propertyNames": {"pattern": f"^{pattern}$"}, "additionalProperties": value}


Text = Annotated[str, Meta(description="a string")]
Name = Annotated[str, Meta(description="a string", extra_json_schema={"minLength": 1})]
Script = Annotated[str, Meta(description="a string", extra_json_schema={"pattern": r"\S"})]
Texts = Annotated[list[str], Meta(description="a list of strings")]
Argv = Annotated[
    list[str],
    Meta(
        min_length=1,
        description="a list of strings (the program and its arguments)",
        extra_json_schema={"prefixItems": [{"type": "string", "minLength": 1}]},
    ),
]
Flag = Annotated[bool, Meta(description="true or false")]
Whole = Annotated[int, Meta(description="a whole number")]
Depth = Annotated[int, Meta(ge=0, le=100, description="a whole number from 0 to 100")]
Slots = Annotated[int, Meta(ge=0, le=4096, description="a whole number from 0 to 4096")]
Count = Annotated[
    int,
    quantities.parse_count,
    Meta(description="a whole number of at least 1", extra_json_schema=quantities.COUNT_FORM),
]
Duration = Annotated[
    float, quantities.parse_duration, Meta(description=_DURATION_WORDS, extra_json_schema=quantities.DURATION_FORM)
]
Limit = Annotated[
    float | None,
    quantities.parse_limit,
    Meta(description=_DURATION_WORDS + " (0: no limit)", extra_json_schema=quantities.DURATION_FORM),
]
Size = Annotated[
    int,
    quantities.parse_size,
    Meta(description='a size such as "10MiB" or "10MB", or a number of bytes', extra_json_schema=quantities.SIZE_FORM),
]
SizeLimit = Annotated[
    int | None,
    quantities.parse_size_limit,
    Meta(description='a size such as "2GiB", or a number of bytes (0: no limit)', extra_json_schema=quantities.SIZE_FORM),
]
Failures = Annotated[
    MaxFailures,
    parse_max_failures,
    Meta(
        description='a whole number of at least 0, or a percentage such as "20%"',
        extra_json_schema={"type": ["integer", "string"], "minimum": 0, "pattern": quantities.PERCENT_PATTERN},
    ),
]
Backoff = Annotated[float, Meta(ge=1, le=1000, description="a number from 1 to 1000")]
Fraction = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
PoolSlots = Annotated[int, Meta(ge=1, le=4096, description="a whole number from 1 to 4096")]
StartRate = Annotated[
    Rate,
    parse_rate,
    Meta(
        description=f'a rate such as "50/min", "5/s" or "3/10s", of at most {quantities.MOST_STARTS} starts',
        extra_json_schema={"type": "string", "pattern": quantities.RATE_PATTERN},
    ),
]
Environment = Annotated[
    dict[str, Any],
    Meta(description="a table", extra_json_schema=_named("[^=]+", {"type": ["string", "number", "boolean"]})),
]
Inputs = Annotated[
    dict[str, Any],
    Meta(
        description="a table",
        extra_json_schema=_named(
            INPUT_NAME, {"anyOf": [_one_of("InputTable"), {"type": ["string", "number", "boolean", "array"]}]}
        ),
    ),
]
Run = Annotated[dict[str, Any], Meta(description="a table", extra_json_schema=_one_of("RunTable"))]
Pools = Annotated[dict[str, Any], Meta(description="a table", extra_json_schema=_named(POOL_NAME, _one_of("PoolTable")))]
Defaults = Annotated[dict[str, Any], Meta(description="a table", extra_json_schema=_one_of("JobTable"))]
Jobs = Annotated[
    dict[str, Any], Meta(description="a table", extra_json_schema={**_named(JOB_ID, _one_of("JobTable")), "minProperties": 1})
]
Given = Annotated[
    dict[str, Any],
    Meta(
        description="a table",
        extra_json_schema=_named(INPUT_NAME, {"type": ["string", "number", "boolean", "array"]}),
    ),
]
Output = Annotated[OutputKind, Meta(description='one of "text", "lines", "json" and "jsonl"')]
LaneName = Annotated[Lane, Meta(description='one of "main" and "fast"')]
Running = Annotated[IfRunning, Meta(description='one of "join", "reject", "replace" and "run_anyway"')]
Done = Annotated[IfDone, Meta(description='one of "replay", "rerun" and "reject"')]
Changed = Annotated[IfChanged, Meta(description='one of "rerun" and "reject"')]
Kind = Annotated[InputType, Meta(description='one of "string", "integer", "number", "boolean" and "list"')]
Value = Annotated[Any, Meta(description="a value", extra_json_schema={"type": ["string", "number", "boolean", "array"]})]
Values = Annotated[list[Any], Meta(min_length=1, description="a list of at least one value")]
ParentIds = Annotated[str | list[str], Meta(description="a job or a list of jobs")]
When = Annotated[
    Any,
    Meta(
        description='"always", "failed", true, false or a template such as "{{ item > 3 }}"',
        extra_json_schema={"anyOf": [{"enum": ["always", "failed"]}, {"type": "boolean"}, _TEMPLATE]},
    ),
]
Items = Annotated[
    Any,
    Meta(
        description="a list, a template that gives one, or a source table",
        extra_json_schema={"anyOf": [{"type": "array"}, _TEMPLATE, _one_of("SourceTable")]},
    ),
]
Axes = Annotated[
    dict[str, Any],
    Meta(
        description="a table",
        extra_json_schema={
            "minProperties": 1,
            "additionalProperties": {
                "anyOf": [
                    {"type": "array"},
                    _TEMPLATE,
                    {**_one_of("SourceTable"), "properties": {"matrix": False, "job": False}},
                ]
            },
        },
    ),
]
Condition = Annotated[str, Meta(description="a string", extra_json_schema=_TEMPLATE)]
Choices = Annotated[
    list[str],
    Meta(
        min_length=1,
        description="a list of at least one word",
        extra_json_schema={"allOf": [{"items": {"pattern": f"^{CHOICE}$"}}], "uniqueItems": True},
    ),
]
Rejection = Annotated[
    Any,
    Meta(
        description='"abort", "skip", "retry" or { retry = "JOB" }',
        extra_json_schema={"anyOf": [{"enum": ["abort", "skip", "retry"]}, _one_of("RejectionTable")]},
    ),
]
Repeats = Annotated[dict[str, Any], Meta(description="a table", extra_json_schema=_one_of("RepeatTable"))]
Delays = Annotated[
    Any,
    Meta(
        description='a table such as { delay = "10s", backoff = 2.0 } or a duration',
        extra_json_schema={"anyOf": [_one_of("RetryTable"), quantities.DURATION_FORM]},
    ),
]


class FileTable(msgspec.Struct, kw_only=True):
    """A jobs file: what `orchestrate run` runs."""

    name: Name | None = None
    """What the run is called; default: the file's name without its ending."""
    inputs: Inputs | None = None
    """What `-i NAME=VALUE` may give, and templates read as `inputs.NAME`: a default value, or a table."""
    run: Run | None = None
    """Settings of the run as a whole."""
    pools: Pools | None = None
    """Slots and start rates that all runs of this user share, by name. A job joins one with `pool`."""
    defaults: Defaults | None = None
    """Keys for every job; a job's own key wins."""
    jobs: Jobs | None = None
    """The jobs by id: a lower-case letter, then at most 63 lower-case letters, digits and _."""


class ConfigTable(msgspec.Struct, kw_only=True):
    """The top of the user's config.toml."""

    pools: Pools | None = None
    """Pools for every jobs file; a file's own key wins."""
    defaults: Defaults | None = None
    """Keys for every job of every file; those of the file win."""


class InputTable(msgspec.Struct, kw_only=True):
    """`[inputs.NAME]`, the long form."""

    type: Kind | None = None
    """What it takes; without it, what `default` is."""
    required: Flag | None = None
    """Whether a run has to be given it. Goes without `default`."""
    default: Value | None = None
    """Its value if none is given."""
    enum: Values | None = None
    """The values that are allowed; of a list, those that it may contain."""
    description: Text | None = None
    """What it is, for whoever has to give it."""


class RunTable(msgspec.Struct, kw_only=True):
    """`[run]`: settings of the run as a whole."""

    slots: Slots | None = None
    """How many items run at once; default: the CPUs that this process may use. 0 runs all inline, without workers."""
    fast_slots: Slots | None = None
    """Slots of their own for jobs in the fast lane; default: half of `slots`, if a job is in that lane."""
    drain_timeout: Duration | None = None
    """How long a run that is told to stop waits for what runs, before it ends it."""
    timeout: Limit | None = None
    """How long the whole run may take."""
    max_depth: Depth | None = None
    """How deep runs may be nested in items of this one."""
    min_free_memory: SizeLimit | None = None
    """No item starts while the machine has less memory free."""
    env: Environment | None = None
    """Environment variables of every command. Values are templates, which know `inputs` and `run`."""


class PoolTable(msgspec.Struct, kw_only=True):
    """`[pools.NAME]`: slots, a rate, or both, which all runs of this user share."""

    slots: PoolSlots | None = None
    """How many items run at once in all runs together."""
    rate: StartRate | None = None
    """How many items start in a time in all runs together."""


class JobTable(msgspec.Struct, kw_only=True):
    """`[jobs.ID]` and `[defaults]`: one kind of work. A job has exactly one action."""

    command: Argv | None = None
    """Action: a program and its arguments, without a shell. Each is a template; a lone `{{ list }}` becomes several."""
    shell: Script | None = None
    """Action: a script for /bin/sh. Each `{{ }}` is quoted for the shell, so none may stand inside quotes."""
    gate: Script | None = None
    """Action: a question (a template) that somebody answers, here on the terminal or with `approve`. What needs it waits."""
    workflow: Name | None = None
    """Action: another jobs file, run as a child of the item. Its results are the output. Template of a path."""
    inputs: Given | None = None
    """What the child run of `workflow` is given: templates, of which a lone `{{ }}` keeps its type."""
    needs: Texts | None = None
    """Jobs that have to be done before this one starts. Those that a template names as `jobs.ID` are implied."""
    when: When | None = None
    """Whether an item runs: a template; "always", also after a failure; "failed", only after one. False skips the item."""
    for_each: Items | None = None
    """What to run the job for: one item each, known to templates as `item` and `index`. Without it the job is one item."""
    label: Text | None = None
    """Template of what an item is called in words; default: the item, if it is short."""
    max_concurrency: Count | None = None
    """How many items of this job run at once."""
    lane: LaneName | None = None
    """"fast": short items that start no run of their own, in slots of their own (`[run] fast_slots`)."""
    pool: Text | None = None
    """The pool whose slots and rate bound this job together with all other runs."""
    priority: Whole | None = None
    """Of all items that could start, those of the job with the highest priority start first."""
    repeat: Repeats | None = None
    """A loop: round after round of the item, until a condition holds or while it does."""
    continue_on_error: Flag | None = None
    """After a failure go on with the other items, and with the jobs that need this one."""
    max_failures: Failures | None = None
    """How many items may fail with the job succeeding all the same; implies `continue_on_error`."""
    attempts: Count | None = None
    """How often an item is tried in all."""
    retry: Delays | None = None
    """How long to wait between two attempts."""
    timeout: Limit | None = None
    """How long one attempt may take."""
    grace: Duration | None = None
    """How long a command that is told to end (SIGTERM) has before it is killed (SIGKILL)."""
    cwd: Text | None = None
    """Template of the folder that the command runs in; default: the folder of the jobs file."""
    env: Environment | None = None
    """Environment variables of the command, by themselves over those of [defaults] and [run]. Values are templates."""
    stdin: Text | None = None
    """Template of what the command reads from its standard input; default: nothing."""
    memory: SizeLimit | None = None
    """What the processes of an attempt may use together. One that uses more is ended and has failed."""
    output: Output | None = None
    """What templates see of the standard output: its text, its lines, or the JSON that it is."""
    max_output: Size | None = None
    """How much of each stream is kept."""
    creates: Text | None = None
    """Template of a path. If the file exists the item is done; else the command writes to `{{ creates }}`, renamed at success."""
    token: Text | None = None
    """Template of what names this work: items with one token are the same work, done once, in this run and in all others."""
    token_ttl: Duration | None = None
    """For how long a finished outcome stands for the same work asked again. Within one run it always does."""
    if_running: Running | None = None
    """What an item does whose token is in flight elsewhere."""
    if_done: Done | None = None
    """What an item does whose token was completed within `token_ttl`."""
    if_changed: Changed | None = None
    """What an item does whose token was completed by other work, such as another command."""
    options: Choices | None = None
    """The choices of a gate. `reject` and `abort` reject, every other approves."""
    on_reject: Rejection | None = None
    """After a rejection: the run fails, the item is skipped, it is asked again, or a job that it needs runs again before."""
    show_file: Text | None = None
    """Template of the path of a file that is shown with a gate's question."""


class RetryTable(msgspec.Struct, kw_only=True):
    """`retry = { … }`: how long to wait between two attempts."""

    delay: Duration | None = None
    """Before the second attempt."""
    backoff: Backoff | None = None
    """Each later wait is so many times the one before."""
    max_delay: Duration | None = None
    """The longest wait."""
    jitter: Fraction | None = None
    """By which part of itself a wait is changed at random, so that not all come at once."""


class RepeatTable(msgspec.Struct, kw_only=True, rename={"while_": "while"}):
    """`repeat = { … }`: a loop, `until` or `while` something holds."""

    until: Condition | None = None
    """A template, asked after each round, of which it knows `round`, `output` and `exit_code`: true ends the loop."""
    while_: Condition | None = None
    """A template, asked before each round, the first one too: false ends the loop."""
    max: Count | None = None
    """The most rounds that there may be."""
    must: Flag | None = None
    """Whether the item has failed if `max` rounds did not bring the loop to its end."""
    delay: Duration | None = None
    """How long to wait between two rounds."""


class RejectionTable(msgspec.Struct, kw_only=True):
    """`on_reject = { retry = "JOB" }`: go back to a job."""

    retry: Name | None = None
    """This job, all between it and the gate, and the gate run again. It knows the message as `jobs.GATE.message`."""


class SourceTable(msgspec.Struct, kw_only=True):
    """`for_each = { … }`: one of `glob`, `lines`, `jsonl`, `csv`, `matrix` and `job`."""

    glob: Text | None = None
    """The files that a pattern matches, sorted; `**` goes through folders."""
    lines: Text | None = None
    """The lines of a file that are not empty."""
    jsonl: Text | None = None
    """The values of a file with one JSON value a line."""
    csv: Text | None = None
    """The rows of a CSV file, each a mapping by the names of the first line."""
    matrix: Axes | None = None
    """All combinations of some axes, each a list, a template or a source; `item` has one key for each axis."""
    job: ParentIds | None = None
    """A chain: item i starts as soon as item i of that job has succeeded (of all of them). `parent` is its result."""
    batch: Count | None = None
    """So many values make one item, which is a list. Does not go with `job`."""


RULES: dict[type[msgspec.Struct], dict[str, Any]] = {
    RepeatTable: {"oneOf": [{"required": [key]} for key in ("until", "while")]},
    RejectionTable: {"required": ["retry"]},
    SourceTable: {
        "oneOf": [{"required": [key]} for key in ("glob", "lines", "jsonl", "csv", "matrix", "job")],
        "dependentSchemas": {"job": {"properties": {"batch": False}}},
    },
}
"""How the keys of a table go together, for editors, in the words of JSON Schema."""

TOKEN_KEYS = ("token_ttl", "if_running", "if_done", "if_changed")
"""They say how a token is met; without one they would say nothing."""

GATE_KEYS = frozenset({"options", "on_reject", "show_file"})
"""They say how a gate asks; a job that is none has no use for them."""

KEYS_OF_A_GATE = GATE_KEYS | {"gate", "needs", "when", "for_each", "label", "continue_on_error", "max_failures"}
"""A gate runs nothing, so all other keys would say nothing of it."""

REJECTING = ("reject", "abort")
"""The choices that reject."""

NOT_OF_A_CHILD = ("cwd", "stdin", "output")
"""Keys that say nothing of a child run: it has its file's folder, is given `inputs`, and its output has a shape of its own."""

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
