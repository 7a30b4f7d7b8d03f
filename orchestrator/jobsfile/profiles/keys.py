"""The raw tables of a profile file: which keys there are, what each takes, and in which words a wrong value is refused.

A field is None when its key is absent. The words complete the sentence "expected …", as for a jobs file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from orchestrator.workers.protocol.reading import EventMeaning, LineMeaning
from orchestrator.workers.protocol.reading import Format as StreamFormat

FailureName = Literal[
    "agent_failed",
    "auth",
    "billing",
    "usage_limit",
    "rate_limit",
    "overloaded",
    "network",
    "context",
    "budget",
    "turns",
    "denied",
]
"""What a profile may call a failure. The other classes are found out by us, or are no failures of an agent."""


def _one_of(kind: Any) -> str:
    *first, last = (f'"{value}"' for value in get_args(kind))
    return f"one of {', '.join(first)} and {last}"


Text = Annotated[str, Meta(description="a string")]
Word = Annotated[str, Meta(min_length=1, description="a string that is not empty")]
Texts = Annotated[list[str], Meta(description="a list of strings")]
Argv = Annotated[list[str], Meta(min_length=1, description="a list of strings (the program and its arguments)")]
Table = Annotated[dict[str, Any], Meta(description="a table")]
Tables = Annotated[list[dict[str, Any]], Meta(description="a list of tables")]
Flag = Annotated[bool, Meta(description="true or false")]
Strings = Annotated[dict[str, str], Meta(description="a table of strings")]
Counts = Annotated[dict[str, Annotated[int, Meta(ge=1, le=100)]], Meta(description="a table of whole numbers from 1 to 100")]
Level = Annotated[Any, Meta(description="a list of strings, or a table such as { args = […], env = { … } }")]
FailureClass = Annotated[FailureName, Meta(description=_one_of(FailureName))]
Format = Annotated[StreamFormat, Meta(description=_one_of(StreamFormat))]
Way = Annotated[Literal["stdin", "file", "argument"], Meta(description=_one_of(Literal["stdin", "file", "argument"]))]
Scope = Annotated[Literal["call", "session"], Meta(description=_one_of(Literal["call", "session"]))]
Stream = Annotated[Literal["stdout", "stderr"], Meta(description=_one_of(Literal["stdout", "stderr"]))]
Means = Annotated[EventMeaning, Meta(description=_one_of(EventMeaning))]
LineMeans = Annotated[LineMeaning, Meta(description=_one_of(LineMeaning))]
_SHOWN_AS = Literal["text", "thought", "tool", "result", "denial", "error", "end"]
Shown = Annotated[_SHOWN_AS, Meta(description=_one_of(_SHOWN_AS))]


class EventTable(msgspec.Struct, kw_only=True):
    """`[[events]]`: what one kind of event means."""

    where: Table | None = None
    unless: Table | None = None
    present: Texts | None = None
    absent: Texts | None = None
    match: Table | None = None
    means: Means | None = None
    take: Table | None = None
    adds: Flag | None = None
    parts_answer: Flag | None = None
    words: Word | None = None
    class_name: FailureClass | None = msgspec.field(default=None, name="class")
    classes: Table | None = None
    status: Word | None = None


class LineTable(msgspec.Struct, kw_only=True):
    """`[[lines]]`: what a line of text means."""

    pattern: Word | None = None
    stream: Stream | None = None
    means: LineMeans | None = None
    gathers: Flag | None = None
    class_name: FailureClass | None = msgspec.field(default=None, name="class")


class ClassTable(msgspec.Struct, kw_only=True):
    """`[[classes]]`: the class of a failure by its words."""

    pattern: Word | None = None
    class_name: FailureClass | None = msgspec.field(default=None, name="class")


class FlagTable(msgspec.Struct, kw_only=True):
    """`[flags]`: arguments with a placeholder."""

    model: Texts | None = None
    cwd: Texts | None = None
    max_turns: Texts | None = None
    budget: Texts | None = None
    schema_file: Texts | None = None
    schema_inline: Texts | None = None
    session: Texts | None = None


class PermissionTable(msgspec.Struct, kw_only=True):
    """`[permissions]`: what the CLI may do at each level."""

    read: Level | None = None
    edit: Level | None = None
    full: Level | None = None


class LevelTable(msgspec.Struct, kw_only=True):
    """A level that is more than arguments."""

    args: Texts | None = None
    env: Strings | None = None


class ConfigDirTable(msgspec.Struct, kw_only=True):
    """`[config_dir]`: the folder that a CLI keeps its state in."""

    variable: Word | None = None
    default: Word | None = None
    shared: Texts | None = None
    warm: Texts | None = None
    per_slot: Flag | None = None


class ShowTable(msgspec.Struct, kw_only=True):
    """`[[show]]`: how people are shown an event."""

    where: Table | None = None
    shown_as: Shown | None = msgspec.field(default=None, name="as")
    each: Word | None = None
    where_each: Table | None = None
    name: Annotated[Any, Meta(description="a string or a list of strings")] | None = None
    detail: Annotated[Any, Meta(description="a string or a list of strings")] | None = None


class ErrorsTable(msgspec.Struct, kw_only=True):
    """A file of what providers say when a call fails, whatever the CLI."""

    classes: Tables | None = None
    statuses: Strings | None = None
    resets: Texts | None = None


class ProfileTable(ErrorsTable, kw_only=True):
    """A profile file."""

    extends: Word | None = None
    description: Text | None = None
    command: Argv | None = None
    prompt: Way | None = None
    prompt_args: Texts | None = None
    provider: Word | None = None
    account_env: Texts | None = None
    pass_env: Texts | None = None
    env: Strings | None = None
    version: Argv | None = None
    tested: Texts | None = None
    flags: Table | None = None
    permissions: Table | None = None
    config_dir: Table | None = None
    litter: Texts | None = None
    format: Format | None = None
    usage: Scope | None = None
    cost: Scope | None = None
    patience: Counts | None = None
    exit_codes: Strings | None = None
    events: Tables | None = None
    lines: Tables | None = None
    show: Tables | None = None
    needs_check: Flag | None = None
