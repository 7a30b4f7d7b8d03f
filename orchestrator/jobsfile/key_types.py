"""What a key of a jobs file may take, as a type: how it is checked, parsed, explained to people and to editors.

A field is None when its key is absent (TOML has no null). `Meta.description` completes the sentence "expected …". A callable
in an annotation parses the raw value and raises ValueError for what it refuses; without one msgspec checks the type.
`Meta.extra_json_schema` says which values it takes, where the type alone does not tell.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from msgspec import Meta

from orchestrator.core.costs import MOST_DOLLARS
from orchestrator.core.job_rules import Halt, HaltReason
from orchestrator.jobsfile.language import quantities
from orchestrator.jobsfile.language.quantities import MOST_SLOTS
from orchestrator.jobsfile.model import (
    CreatesWhen,
    IfChanged,
    IfDone,
    IfRunning,
    InputType,
    Lane,
    MaxFailures,
    OnUsageLimit,
    OutputKind,
    Permissions,
    Rate,
)
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.protocol import Expectation

_HALT_FORM = r"(soon|now)(?:,(fail|success|done)=(0*[1-9][0-9]{0,8}|[0-9]{1,3}(?:\.[0-9]+)?%))?"
_HALT = lazy_pattern(_HALT_FORM)


def parse_max_failures(value: Any) -> MaxFailures:
    """`max_failures`: a whole number of at least 0, or `"20%"`. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return MaxFailures(count=value)
    return MaxFailures(percent=quantities.parse_percent(value))


def parse_halt(value: Any) -> Halt:
    """`halt`: `"now"`, `"soon,fail=3"`, `"now,success=1"`, `"soon,done=50%"`. Raises ValueError."""
    form = _HALT.fullmatch(value) if isinstance(value, str) else None
    if form is None:
        raise ValueError
    is_now, why, amount = form[1] == "now", cast("HaltReason", form[2] or "fail"), form[3]
    # The first failure halts a run that is told nothing else, unless `max_failures` bears it.
    if amount is None or (why == "fail" and amount == "1"):
        return Halt(is_now=is_now)
    if amount.isdecimal():
        return Halt(is_now=is_now, why=why, count=quantities.parse_count(amount))
    percent = quantities.parse_percent(amount)
    if not percent:
        raise ValueError
    return Halt(is_now=is_now, why=why, percent=percent)


def parse_rate(value: Any) -> Rate:
    """`rate`: `"50/min"`, `"5/10s"`. Raises ValueError."""
    return Rate(*quantities.parse_rate(value))


def parse_devices(value: Any) -> list[str]:
    """`devices`: names, each once; a number is its digits. Raises ValueError."""
    if not isinstance(value, list) or not value or not all(isinstance(each, str | int) for each in value):
        raise ValueError
    devices = [each if isinstance(each, str) else str(each) for each in value if not isinstance(each, bool)]
    if len(devices) < len(value) or "" in devices or len(set(devices)) < len(devices):
        raise ValueError
    return devices


JOB_ID = "[A-Za-z_][A-Za-z0-9_-]{0,63}"
"""It is the name of folders: no two of a file differ in case alone."""
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
Devices = Annotated[
    list[str],
    parse_devices,
    Meta(
        description='a list of names, each once, such as ["0", "1"]',
        extra_json_schema={
            "type": "array",
            "items": {"type": ["string", "integer"], "minLength": 1},
            "minItems": 1,
            "uniqueItems": True,
        },
    ),
]
Delimiter = Annotated[str, Meta(pattern=r"^[^\r\n\"]\Z", description='one character, such as ";" or "\\t"')]
ExitCodes = Annotated[
    tuple[Annotated[int, Meta(ge=0, le=255)], ...], Meta(min_length=1, description="a list of exit codes, from 0 to 255")
]
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
Slots = Annotated[int, Meta(ge=0, le=MOST_SLOTS, description=f"a whole number from 0 to {MOST_SLOTS}")]
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
Halting = Annotated[
    Halt,
    parse_halt,
    Meta(
        description='"soon" or "now", alone or with fail=N, success=N or done=N (a number or a percentage): "now,success=1"',
        extra_json_schema={"type": "string", "pattern": f"^{_HALT_FORM}$"},
    ),
]
Backoff = Annotated[float, Meta(ge=1, le=1000, description="a number from 1 to 1000")]
Fraction = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
PoolSlots = Annotated[int, Meta(ge=1, le=MOST_SLOTS, description=f"a whole number from 1 to {MOST_SLOTS}")]
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
Workspaces = Annotated[
    Any,
    Meta(
        description='"shared", "worktree", "copy", "temp" or a table such as { kind = "worktree", base = "main" }',
        extra_json_schema={"anyOf": [{"enum": ["shared", "worktree", "copy", "temp"]}, _one_of("WorkspaceTable")]},
    ),
]
PromptFiles = Annotated[
    Any,
    Meta(
        description='the path of a file or a table such as { path = "prompt.md", template = false }',
        extra_json_schema={"anyOf": [{"type": "string", "minLength": 1}, _one_of("PromptFileTable")]},
    ),
]
Created = Annotated[
    Any,
    Meta(
        description='the path of a file or a list of them such as ["a.pdf", "a.log"]',
        extra_json_schema={"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    ),
]
Renewed = Annotated[CreatesWhen, Meta(description='one of "missing", "newer" and "changed"')]
WorkspaceKind = Annotated[
    Literal["shared", "worktree", "copy", "temp"], Meta(description='one of "shared", "worktree", "copy" and "temp"')
]
Permission = Annotated[Permissions, Meta(description='one of "read", "edit" and "full"')]
Expected = Annotated[Expectation, Meta(description='one of "answer" and "change"')]
UsageLimit = Annotated[OnUsageLimit, Meta(description='one of "wait", "pause", "fail" and "fallback"')]
Dollars = Annotated[float, Meta(ge=0, le=MOST_DOLLARS, description=f"an amount in US dollars, from 0 to {MOST_DOLLARS}")]
