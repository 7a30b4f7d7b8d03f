"""What is known of one agent CLI: how it is called, what it may do, and how what it writes is read. Data, no rules.

The argv of an attempt is, in this order: `command`, the args of its permissions, of the flags that the job makes use of (in
the order of `Flags`), the job's own `args`, `flags.session` if it resumes, and `prompt_args`. So a subcommand such as
codex's `resume ID` stands behind all options, and a prompt behind everything.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from orchestrator.workers.protocol.reading import Reading, Scalar

PromptWay = Literal["stdin", "file", "argument"]
Origin = Literal["jobs file", "user", "shipped"]
"""Where a profile was found: beside the jobs file, among the user's own, or with the program."""
ShownAs = Literal["text", "thought", "tool", "result", "denial", "error", "end"]


class Flags(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Arguments with a placeholder of the same name in them (`schema_inline`: `{schema}`). None: the CLI cannot do that.

    `schema_file` takes the path of a JSON Schema, `schema_inline` its text; `budget` US dollars; `cwd` the folder it works in.
    """

    model: list[str] | None = None
    cwd: list[str] | None = None
    max_turns: list[str] | None = None
    budget: list[str] | None = None
    schema_file: list[str] | None = None
    schema_inline: list[str] | None = None
    session: list[str] | None = None


class Level(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What makes a CLI keep to one of `read`, `edit`, `full`: arguments, and variables of its environment."""

    args: list[str] = []
    env: dict[str, str] = {}


class ConfigDir(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The folder that a CLI keeps its own state in, where several at once get in each other's way.

    `variable` moves it; without one it is `default` (`~` is the user's home). `shared`: what of it, by relative path, each
    slot's own folder has links to (logins, settings). `warm`: an argv that is run once in a new one. `per_slot`: each attempt
    that runs at a time has a folder of its own; else all use the user's, and `warm` runs once in that.
    """

    variable: str
    default: str
    shared: list[str] = []
    warm: list[str] = []
    per_slot: bool = False


class ShowRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How people are shown an event of the stream: `where` as in `workers.protocol.reading`, and the paths of what is shown.

    `name` and `detail` are paths: of a tool and of what it was called with, for example. All rules that fit show a line each.
    """

    where: dict[str, list[Scalar]] = {}
    shown_as: ShownAs = "text"
    each: str | None = None
    """Path of a list or table: the rule is asked of each of its elements, and its paths start there."""
    where_each: dict[str, list[Scalar]] = {}
    name: list[str] = []
    detail: list[str] = []


class Profile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One agent. `name` is its file's, `path` where that lies.

    `command` may begin with `{python}`, the interpreter that runs us; `{orchestrator}` is the folder of our package. `prompt` is
    how the agent is told what to do; `prompt_args` ends in `{prompt_file}`, or has `{prompt}`, where that is not by stdin.
    `account_env`: variables that tell which account is used (the values are hashed, never written down). `pass_env`: names, or
    `PREFIX*`, that pass to the agent from our own environment.
    `env` is set for it. `version` is the argv that tells its version, `tested` the beginnings of those that we saw at work.
    """

    name: str
    origin: Origin
    path: str
    command: list[str]
    reading: Reading
    permissions: dict[Literal["read", "edit", "full"], Level]
    description: str = ""
    prompt: PromptWay = "stdin"
    prompt_args: list[str] = []
    provider: str = ""
    account_env: list[str] = []
    pass_env: list[str] = []
    env: dict[str, str] = {}
    version: list[str] = []
    tested: list[str] = []
    flags: Flags = Flags()
    config_dir: ConfigDir | None = None
    litter: list[str] = []
    """Files of its own that it leaves where it works, and that are no work: git's glob patterns from the workspace's top."""
    show: list[ShowRule] = []

    @property
    def needs_check(self) -> bool:
        """Only a `check` can tell that it succeeded: a job without one is refused."""
        return self.reading.needs_check

    @property
    def can_resume(self) -> bool:
        return self.flags.session is not None

    @property
    def has_schema(self) -> bool:
        """Whether the CLI itself sees to it that the answer fits a schema."""
        return self.flags.schema_file is not None or self.flags.schema_inline is not None

    def tells(self, name: str) -> bool:
        """Whether its output tells `name` (as of `workers.protocol.reading.TakeName`): `cost_usd`, `input_tokens`, …"""
        return any(name in rule.take for rule in self.reading.events) or any(
            f"(?P<{name}>" in rule.pattern for rule in self.reading.lines
        )
