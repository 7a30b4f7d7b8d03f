"""The call of an agent for one attempt: argv, environment and standard input, from its profile and what the job asks.

Promise: the prompt is on argv only where the CLI takes it in no other way. What a profile has no flag for is left out.
It refuses to handle: whether that matters (a schema that the CLI does not know, a session that it cannot resume): `work` sees to
that.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from orchestrator.jobsfile.model import Permissions
from orchestrator.jobsfile.profiles.profile import ConfigDir, Profile
from orchestrator.store.home import agent_folder
from orchestrator.system.own_command import filled_command
from orchestrator.workers.protocol import ConfigTask

ALWAYS_PASSED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TERM", "TZ", "LANG", "LANGUAGE", "LC_*", "XDG_*"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"),
    *("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "VIRTUAL_ENV"),
)
"""What every agent gets of our own environment: where things are and how the network is reached, and whose name its commits bear.
What lets somebody act as the user is passed only where a profile or a job names it, because an agent runs what a model wrote:
keys of services, the socket of an ssh-agent, what git is told by its other variables (commands, headers with tokens). Of ours an
agent gets those that tell where it is (run, item, attempt, mark, worker), and not the state folder."""

_SCHEMA_BYTES = 100_000
"""Largest schema that is put on argv."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a job asks of its agent for one attempt, rendered.

    `prompt`: all that the agent is told now. `schema_path` (absolute), `schema_text`: the JSON Schema of its answer.
    `session_id`: the session that goes on. `budget_usd`: what the attempt may cost.
    """

    prompt: str
    permissions: Permissions
    model: str | None = None
    args: list[str] = []
    max_turns: int | None = None
    budget_usd: float | None = None
    schema_path: str | None = None
    schema_text: str | None = None
    session_id: str | None = None
    cwd: str | None = None
    pass_env: tuple[str, ...] = ()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent is called. `script`: the prompt, if it goes by a file whose path is appended to argv.

    `env`: variables that are set; `env_allowed`: names that pass of our own environment.
    """

    argv: list[str]
    stdin: str | None
    script: str | None
    env: dict[str, str]
    env_allowed: list[str]


def call_of(profile: Profile, asked: Asked) -> Call:
    """How the agent is called. The caller checks that argv fits the kernel's limits."""
    level = profile.permissions[asked.permissions]
    # The program, what the permissions need, flags, the job's own arguments, the session; the prompt is last.
    words = filled_command(profile.command)
    words += level.args
    words += _flags(profile, asked)
    words += asked.args
    if asked.session_id is not None and profile.flags.session is not None:
        words += _filled(profile.flags.session, {"session": asked.session_id})
    last, script = _prompt_words(profile, asked.prompt)
    # A program that our own interpreter runs finds its modules where we found ours.
    ours = ("PYTHONPATH",) if profile.command[0] == "{python}" else ()
    passed = (*ALWAYS_PASSED, *ours, *profile.pass_env, *profile.account_env, *asked.pass_env)
    return Call(
        argv=words + last,
        stdin=asked.prompt if profile.prompt == "stdin" else None,
        script=script,
        env={**profile.env, **level.env},
        env_allowed=list(dict.fromkeys(passed)),
    )


def config_task(home: Path, agent: str, config: ConfigDir) -> ConfigTask:
    """Where the CLI of `agent` keeps its state, as an attempt is told it."""
    return ConfigTask(
        variable=config.variable,
        folder=str(agent_folder(home, agent)),
        real=os.path.abspath(os.path.expanduser(os.environ.get(config.variable) or config.default)),
        is_own=config.per_slot,
        shared=config.shared,
        warm=config.warm,
    )


def takes_schema(profile: Profile, schema_text: str) -> bool:
    """Whether the CLI itself is given this schema; otherwise the prompt has to contain it."""
    flags = profile.flags
    return flags.schema_file is not None or (flags.schema_inline is not None and len(schema_text.encode()) <= _SCHEMA_BYTES)


def _flags(profile: Profile, asked: Asked) -> list[str]:
    """The arguments of all flags that are made use of, in the order of `Flags`."""
    flags = profile.flags
    words: list[str] = []
    # A flag that the profile has not is left out, and so is one whose value the job does not give.
    values = (
        (flags.model, "model", asked.model),
        (flags.cwd, "cwd", asked.cwd),
        (flags.max_turns, "max_turns", asked.max_turns),
        (flags.budget, "budget", asked.budget_usd),
    )
    for flag, name, value in values:
        if flag is not None and value is not None:
            words += _filled(flag, {name: f"{value:g}" if isinstance(value, float) else str(value)})
    # A schema by a file where the CLI takes one, else on argv, if it is small enough for that.
    if asked.schema_path is not None and asked.schema_text is not None and takes_schema(profile, asked.schema_text):
        if flags.schema_file is not None:
            words += _filled(flags.schema_file, {"schema_file": asked.schema_path})
        elif flags.schema_inline is not None:
            words += _filled(flags.schema_inline, {"schema": asked.schema_text})
    return words


def _prompt_words(profile: Profile, prompt: str) -> tuple[list[str], str | None]:
    """The end of argv; and the prompt if it goes by a file, whose path comes behind that."""
    match profile.prompt:
        case "stdin":
            return list(profile.prompt_args), None
        case "file":
            return [each for each in profile.prompt_args if each != "{prompt_file}"], prompt
        case "argument":
            # A prompt that begins with a dash would be taken for an option.
            shown = f" {prompt}" if prompt.startswith("-") else prompt
            return _filled(profile.prompt_args or ["{prompt}"], {"prompt": shown}), None


def _filled(words: Iterable[str], values: Mapping[str, str]) -> list[str]:
    """`words` with each `{name}` of `values` put in; other braces stay as they are."""
    filled = []
    for word in words:
        for name, value in values.items():
            word = word.replace(f"{{{name}}}", value)
        filled.append(word)
    return filled
