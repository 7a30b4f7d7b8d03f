"""Rendering: from a job and the names of an item to what one attempt does (argv, script, folder, environment, stdin, `creates`).

Promise: a worker can start what is rendered: no NUL, no argument that the kernel would not take, only UTF-8. A mistake in an
item's own values is found here and raised as `ItemRefused`: that item fails, named, and the others go on.
Invariant: the payload is the same for every attempt and every run that does the same work (`_what_it_does`).
It refuses to handle: whether the item is to run at all (`preparer`), what an agent is told (`agent.work`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, assert_never

import msgspec

from orchestrator.attempts.agent.work import AgentSurroundings, AgentWork, agent_work
from orchestrator.attempts.template_texts import (
    ARGUMENT_BYTES,
    ItemRefused,
    check_argument,
    refuse_nul,
    rendered_arguments,
    rendered_text,
    size_in_bytes,
    value_of_template,
)
from orchestrator.attempts.workspaces.place import Workplace
from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.child_files import first_of, mistakes_in, read_child
from orchestrator.jobsfile.kept_files import FROM_DISK, Files
from orchestrator.jobsfile.language.template import Template
from orchestrator.jobsfile.language.values import ValueRefused, check_token, kind_in_words
from orchestrator.jobsfile.model import (
    AgentAction,
    CommandAction,
    CreatesWhen,
    GateAction,
    Job,
    LandAction,
    ShellAction,
    WorkflowAction,
)
from orchestrator.system.digests import sha256_hex
from orchestrator.system.own_command import own_argv
from orchestrator.workers.byte_text import comparable_json, encode_json
from orchestrator.workers.protocol import Creates, MadeNote
from orchestrator.workers.shell import SHELL, argv_of_file, interpreter_of, script_argv

if TYPE_CHECKING:
    from orchestrator.attempts.replay.archive import CapsuleAttempt

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt is rendered for, besides its job and its names.

    `folder` (absolute): of the jobs file; `cwd` and other paths are relative to it. `temporary_suffix` makes the temporary name
    of `creates` unique to a run. `run_env`: what the file declares for all jobs. `place`: where the attempt works instead of
    `folder`; paths that are relative to the folder stay so. `files` reads what the job names. `within`: as of `RunHeader`.
    """

    folder: str
    temporary_suffix: str
    run_env: Mapping[str, Template] = {}
    place: Workplace | None = None
    agents: AgentSurroundings = AgentSurroundings()
    files: Files = FROM_DISK
    within: str = ""


class ChildWork(msgspec.Struct, frozen=True):
    """What a child run does: the jobs file at `path` (real), given these values."""

    path: str
    given: dict[str, Any]


class Prepared(msgspec.Struct, frozen=True):
    """One attempt, ready to be sent.

    If there is a `script`, the worker appends the path of a file with it to `argv`. `cwd` and `creates` are absolute. `env`: what
    the jobs file declares; None removes a variable. `payload`: 16 hex digits, the same for every attempt and run that does the
    same work. `token`: the item's, the same for every attempt.
    """

    argv: list[str]
    script: str | None
    cwd: str
    env: dict[str, str | None]
    stdin: str | None
    creates: list[Creates]
    label: str | None
    payload: str
    token: str | None
    child: ChildWork | None = None
    agent: AgentWork | None = None
    check: str | None = None
    """A script that confirms a success, or not."""
    sources: list[str] = []
    """Paths and patterns of what the files of `creates` are made of, relative to `made_from` (absolute)."""
    made_from: str = ""
    creates_when: CreatesWhen = "missing"
    because: str = ""
    """Why it runs, of an item with `creates`."""
    made_note: MadeNote | None = None
    place: Workplace | None = None
    """Where it works; None: in the folder itself, of which no files are kept."""
    played: CapsuleAttempt | None = None
    """In a replay: the recorded attempt that takes the place of its agent."""
    is_asked: bool = False
    """A person wants it done once more (`orchestrate retry`): what another run has done does not stand for it."""


class Question(msgspec.Struct, frozen=True):
    """What a gate asks. `show_file`: the absolute path of a file that belongs to it."""

    text: str
    show_file: str | None


def question_of(job: Job, context: Mapping[str, Any], folder: str) -> Question:
    """Render a gate. `folder` (absolute) is what its path is relative to. Raises ItemRefused."""
    assert isinstance(job.action, GateAction)
    text = rendered_text(job.action.question, context, "gate").strip()
    if not text:
        raise ItemRefused("gate: the question is empty")
    size_in_bytes(text, "the question")
    if job.show_file is None:
        return Question(text, None)
    path = rendered_text(job.show_file, context, "show_file")
    refuse_nul(path, "show_file")
    size_in_bytes(path, "show_file")
    return Question(text, os.path.join(folder, path) if path else None)


def is_wanted(job: Job, context: Mapping[str, Any]) -> bool:
    """Whether the item's `when` lets it run; the words `always` and `failed` always do. Raises ItemRefused."""
    return truth(job.when, context, "when") if isinstance(job.when, Template) else True


def truth(template: Template, context: Mapping[str, Any], key: str) -> bool:
    """Whether a condition holds. `key`: where it stands. Raises ItemRefused for a value that is neither true nor false."""
    match value_of_template(template, context, key):
        case bool(wanted):
            return wanted
        case str(text) if text.strip() in ("true", "false", ""):
            return text.strip() == "true"
        case value:
            raise ItemRefused(f"{key}: expected true or false, got {kind_in_words(value)}; compare it with something")


def render_attempt(job: Job, context: dict[str, Any], surroundings: Surroundings) -> Prepared:
    """Render one attempt. Adds `creates` to `context` if the job has it. Raises ItemRefused."""
    # The folder first: the path of `creates` is relative to it. The attempt itself may work in a workspace instead.
    cwd = _folder(job, context, surroundings.folder)
    works_in = surroundings.place.inside(cwd) if surroundings.place is not None else cwd
    # Then `creates`: all other templates of the job may name the files that are to be made.
    creates: list[Creates] = []
    if job.creates is not None:
        from orchestrator.attempts.promises import promised_files

        creates = promised_files(job.creates, context, cwd, surroundings.temporary_suffix)
    # The environment before the action: an agent's account is told by what the job declares.
    declared = _variables(surroundings.run_env, job.env, context)
    action = _action(job, context, declared, surroundings, works_in)
    # A job's own standard input takes the place of what the action would be given.
    if job.stdin is not None:
        stdin = rendered_text(job.stdin, context, "stdin")
        size_in_bytes(stdin, "stdin")
        action = msgspec.structs.replace(action, stdin=stdin)
    check = _check(job, context) if job.check is not None else None
    does = _what_it_does(job, action, declared, cwd, check, surroundings.place)
    return Prepared(
        argv=action.argv,
        script=action.script,
        cwd=works_in,
        env={**action.env, **declared} if action.env else declared,
        stdin=action.stdin,
        creates=creates,
        sources=rendered_arguments(job.sources, context, "sources") if job.sources else [],
        made_from=cwd,
        creates_when=job.renewed_when if creates else "missing",
        label=context.get("label"),
        payload=_payload(does, creates),
        token=_token(job, context, surroundings.within) if job.token is not None else None,
        child=action.child,
        agent=action.agent,
        check=check,
        place=surroundings.place,
    )


# What an item does: its payload.


def _what_it_does(
    job: Job, action: _Action, declared: Mapping[str, str | None], cwd: str, check: str | None, place: Workplace | None
) -> tuple[Any, ...]:
    """All that makes it this work and no other, `creates` apart: the keys `PAYLOAD_KEYS` of `jobsfile.keys`, rendered.

    Hashes of it are recorded, so a part is never left out, moved or added for a job that has been able to run before.
    """
    does: tuple[Any, ...]
    if action.does is None:
        does = (action.recorded_argv or action.argv, action.script, action.stdin, declared, cwd, job.output)
    elif action.agent is None:
        # A child file or a landing: the work is told by what is run, wherever that happens.
        does = (*action.does, declared)
    else:
        # An agent: neither argv nor what it is told now. Both are others for a fallback, or in a session that goes on.
        does = (*action.does, declared, cwd)
    if check is not None:
        does = (*does, "check", check)
    if place is not None:
        does = (*does, "workspace", *place.does)
    return does


def _payload(does: tuple[Any, ...], creates: Sequence[Creates]) -> str:
    """16 hex digits of a hash over what an item does. One file is told as it was before there could be several."""
    finals: Any = [each.final for each in creates] if len(creates) > 1 else creates[0].final if creates else None
    try:
        encoded = _encode((does, finals))
    except UnicodeEncodeError:
        encoded = comparable_json((does, finals))
    except OverflowError as error:  # inputs of a child run: all else is text
        raise ItemRefused("inputs: a number of more than 64 bits") from error
    # The temporary name, which the action may contain, is another one in each run: it must not make it other work.
    for each in creates:
        stem = os.path.basename(each.temporary)[: len(".0123456789ab.part")]
        encoded = encoded.replace(stem.encode(), b".part")
    return sha256_hex(encoded)[:16]


# The parts of an attempt.


class _Action(msgspec.Struct, frozen=True):
    """What is started. `does`: what tells whether two items do the same, if that is not just argv, script and stdin.

    `recorded_argv` stands for `argv` there where hashes of it were recorded when it was another one.
    """

    argv: list[str]
    script: str | None = None
    stdin: str | None = None
    env: dict[str, str] = {}
    does: tuple[Any, ...] | None = None
    child: ChildWork | None = None
    agent: AgentWork | None = None
    recorded_argv: list[str] | None = None


def _action(
    job: Job, context: Mapping[str, Any], declared: Mapping[str, str | None], surroundings: Surroundings, works_in: str
) -> _Action:
    folder = surroundings.folder
    match job.action:
        case CommandAction(argv=templates):
            argv = rendered_arguments(templates, context, "command")
            if not argv or not argv[0]:
                raise ItemRefused("command: the program is empty")
            return _Action(argv)
        case ShellAction(script=template):
            return _shell(rendered_text(template, context, "shell"), job.shell_program)
        case AgentAction():
            agents, files = surroundings.agents, surroundings.files
            work, call, does = agent_work(job, context, declared, agents, cwd=works_in, folder=folder, files=files)
            return _Action(call.argv, call.script, call.stdin, call.env, does, agent=work)
        case WorkflowAction(path=template):
            child, text = _child(rendered_text(template, context, "workflow"), job, context, surroundings)
            given = encode_json(child.given).decode()
            return _Action(_child_argv(child), stdin=given, does=("workflow", child.path, text, child.given), child=child)
        case LandAction(job=landed):
            return _Action(own_argv("land", context["run"]["id"], landed, "--json"), does=("land", landed))
        case GateAction():
            raise AssertionError("a gate runs nothing")
        case unknown:
            assert_never(unknown)


def _variables(
    run_env: Mapping[str, Template], job_env: Mapping[str, Template], context: Mapping[str, Any]
) -> dict[str, str | None]:
    """What the job declares of its environment; None: removed."""
    if not run_env and not job_env:
        return {}
    return {name: _variable(name, template, context) for name, template in {**run_env, **job_env}.items()}


def _shell(script: str, program: tuple[str, ...]) -> _Action:
    refuse_nul(script, "the script")
    size = size_in_bytes(script, "the script")
    if script.startswith("#!") and (interpreter := interpreter_of(script)):
        return _Action(interpreter, script)
    if program and size <= ARGUMENT_BYTES:
        return _Action([*program, script])
    if program:
        argv = argv_of_file(program)
        if argv is None:
            raise ItemRefused(f"the script is {size} bytes; as an argument of {program[0]} it may have {ARGUMENT_BYTES}")
        return _Action(argv, script)
    # Before scripts were run with `-e` they were recorded without it, and the same script is the same work.
    if size > ARGUMENT_BYTES:
        return _Action(list(SHELL), script, recorded_argv=["/bin/sh"])
    return _Action(script_argv(script), recorded_argv=["/bin/sh", "-c", script])


def _check(job: Job, context: Mapping[str, Any]) -> str:
    assert job.check is not None
    script = rendered_text(job.check, context, "check")
    check_argument(script, "the script of the check", "put it into a file, and run that")
    return script


def _child(named: str, job: Job, context: Mapping[str, Any], surroundings: Surroundings) -> tuple[ChildWork, str]:
    """What the child run will do, and the text of its file."""
    if not named:
        raise ItemRefused("workflow: the path is empty")
    given = {name: _given(value, context, f"inputs.{name}") for name, value in job.inputs.items()}
    try:
        file = read_child(os.path.join(surroundings.folder, named), surroundings.files)
    except JobsFileError as error:
        raise ItemRefused(f"workflow: {first_of(error)}") from error
    except UserError as error:
        raise ItemRefused(f"workflow: {error.message}") from error
    mistakes = mistakes_in(given, file.inputs)
    if mistakes:
        raise ItemRefused(f"workflow: {named}: {'; '.join(mistakes)}")
    size_in_bytes(file.path, "workflow")
    return ChildWork(file.path, {name: value for name, value in given.items() if value is not None}), file.text


def _given(value: Any, context: Mapping[str, Any], key: str) -> Any:
    match value:
        case Template():
            return value_of_template(value, context, key)
        case tuple():
            return [_given(element, context, key) for element in value]
        case _:
            return value


def _child_argv(child: ChildWork) -> list[str]:
    """The command of a child run. Which run it is comes behind that when it starts (`child_runs`)."""
    return own_argv("child", child.path)


def _variable(name: str, template: Template, context: Mapping[str, Any]) -> str:
    what = f"env.{name}"
    value = rendered_text(template, context, what)
    refuse_nul(value, what)
    size = size_in_bytes(name, what) + 1 + size_in_bytes(value, what)
    if size > ARGUMENT_BYTES:
        raise ItemRefused(f"{what} is {size} bytes with its name; the kernel takes at most {ARGUMENT_BYTES}: pass it by `stdin`")
    return value


def _folder(job: Job, context: Mapping[str, Any], folder: str) -> str:
    if job.cwd is None:
        cwd = folder
        if cwd.isascii():
            return cwd
    else:
        named = rendered_text(job.cwd, context, "cwd")
        if not named:
            raise ItemRefused("cwd: the path is empty")
        refuse_nul(named, "cwd")
        cwd = os.path.join(folder, named)
    size_in_bytes(cwd, "cwd")
    return cwd


def _token(job: Job, context: Mapping[str, Any], within: str) -> str:
    assert job.token is not None
    token = rendered_text(job.token, context, "token")
    try:
        check_token(token)
    except ValueRefused as refused:
        raise ItemRefused(f"token: {refused}") from refused
    # What an agent's run says that it did is believed by runs of the same item alone.
    return f"inside {within}: {token}" if within else token
