"""What one attempt will do, from its job and its item: argv, script, folder, environment, standard input, file to make.

Everything that is wrong with an item's own values is found here and told as `ItemRefused`: that item fails, named, and the
others go on. What a worker gets from here it can start: no NUL, no argument that the kernel would not take, only UTF-8.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, assert_never

import msgspec

from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.children import first_of, mistakes_in, read_child
from orchestrator.jobsfile.model import AgentAction, CommandAction, GateAction, Job, LandAction, ShellAction, WorkflowAction
from orchestrator.jobsfile.templates import RenderError, Template
from orchestrator.jobsfile.values import ValueRefused, check_token, describe, text_of
from workers.protocol import Creates

ARGUMENT_BYTES = 131_071
"""The largest single argument, or NAME=value of the environment, that Linux takes."""

_LONGEST_ITEM_LABEL = 80
_LONGEST_LABEL = 200
_LONGEST_SUFFIX = 32
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Unicode categories of characters that would break a line or not be seen in it."""

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


class ItemRefused(Exception):
    """This item cannot run: its template is wrong for it, or a value does not fit. One line in words."""


class ChildWork(msgspec.Struct, frozen=True):
    """What a child run does: the jobs file at `path` (real), given these values."""

    path: str
    given: dict[str, Any]


class Prepared(msgspec.Struct, frozen=True):
    """One attempt, ready to be sent.

    `argv` has the path of a file with `script` appended to it by the worker, if there is one. `cwd` and `creates` are
    absolute. `env` is what the jobs file declares. `payload` is 16 hex digits of a hash over all that the attempt does; it is
    the same for every attempt and run that does the same. `token` is the item's, the same for every attempt.
    """

    argv: list[str]
    script: str | None
    cwd: str
    env: dict[str, str | None]
    stdin: str | None
    creates: Creates | None
    label: str | None
    payload: str
    token: str | None
    child: ChildWork | None = None


class Question(msgspec.Struct, frozen=True):
    """What a gate asks. `show_file`: the absolute path of a file that belongs to it."""

    text: str
    show_file: str | None


def question_of(job: Job, context: Mapping[str, Any], folder: str) -> Question:
    """Render a gate. `folder` (absolute) is what its path is relative to. Raises ItemRefused."""
    assert isinstance(job.action, GateAction)
    text = _text(job.action.question, context, "gate").strip()
    if not text:
        raise ItemRefused("gate: the question is empty")
    _utf8_size(text, "the question")
    if job.show_file is None:
        return Question(text, None)
    path = _text(job.show_file, context, "show_file")
    _refuse_nul(path, "show_file")
    _utf8_size(path, "show_file")
    return Question(text, os.path.join(folder, path) if path else None)


def item_label(job: Job, context: Mapping[str, Any]) -> str | None:
    """One line by which people know the item: `label`, else a short scalar item. Raises ItemRefused."""
    if job.label is not None:
        text = _text(job.label, context, "label")
        if len(text) > _LONGEST_LABEL:
            text = text[: _LONGEST_LABEL - 1] + "…"
        return _on_one_line(text) or None
    item = context.get("item")
    if not isinstance(item, str | int | float):
        return None
    text = text_of(item)
    return _on_one_line(text) if 0 < len(text) <= _LONGEST_ITEM_LABEL else None


def is_wanted(job: Job, context: Mapping[str, Any]) -> bool:
    """Whether the item's `when` lets it run; the words `always` and `failed` always do. Raises ItemRefused."""
    return truth(job.when, context, "when") if isinstance(job.when, Template) else True


def truth(template: Template, context: Mapping[str, Any], key: str) -> bool:
    """Whether a condition holds. Raises ItemRefused for one that is neither true nor false; `key` is where it stands."""
    match _render(template, context, key):
        case bool(wanted):
            return wanted
        case str(text) if text.strip() in ("true", "false", ""):
            return text.strip() == "true"
        case value:
            raise ItemRefused(f"{key}: expected true or false, got {describe(value)}; compare it with something")


def prepare(
    job: Job, run_env: Mapping[str, Template], context: dict[str, Any], *, folder: str, temporary_suffix: str
) -> Prepared:
    """Render one attempt. Adds `creates` to `context` if the job has it. Raises ItemRefused.

    `folder` (absolute) is what `cwd` is relative to. `temporary_suffix` makes the temporary name of `creates` unique to a run.
    """
    cwd = _folder(job, context, folder)
    creates = None
    if job.creates is not None:
        creates = _creates(_text(job.creates, context, "creates"), cwd, temporary_suffix)
        context["creates"] = creates.temporary
    script, stdin, child, child_text = None, None, None, ""
    match job.action:
        case CommandAction(argv=templates):
            argv = _argv(templates, context)
        case ShellAction(script=template):
            argv, script = _shell(_text(template, context, "shell"))
        case WorkflowAction(path=template):
            child, child_text = _child(_text(template, context, "workflow"), job, context, folder)
            argv, stdin = _child_argv(child), msgspec.json.encode(child.given).decode()
        case AgentAction() | LandAction():
            raise ItemRefused("not built yet")
        case GateAction():
            raise AssertionError("a gate runs nothing")
        case unknown:
            assert_never(unknown)
    env: dict[str, str | None] = {}
    for declared in (run_env, job.env):
        for name, template in declared.items():
            env[name] = _variable(name, template, context)
    if job.stdin is not None:
        stdin = _text(job.stdin, context, "stdin")
        _utf8_size(stdin, "stdin")
    does: tuple[Any, ...] = (argv, script, stdin, env, cwd, job.output)
    if child is not None:
        does = ("workflow", child.path, child_text, child.given, env)
    return Prepared(
        argv=argv,
        script=script,
        cwd=cwd,
        env=env,
        stdin=stdin,
        creates=creates,
        label=context.get("label"),
        payload=_payload(does, creates),
        token=_token(job, context),
        child=child,
    )


def _render(template: Template, context: Mapping[str, Any], key: str) -> Any:
    try:
        return template.render(context)
    except RenderError as error:
        raise ItemRefused(f"{key}: {error}") from error


def _text(template: Template, context: Mapping[str, Any], key: str) -> str:
    value = _render(template, context, key)
    try:
        return text_of(value)
    except ValueError as error:
        raise ItemRefused(f"{key}: {error}") from error


def _utf8_size(text: str, what: str) -> int:
    """Bytes of `text`. Raises ItemRefused for what no message to a worker can carry."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ItemRefused(f"{what} is not UTF-8 at character {error.start}; rename the file or folder that it names") from error


def _refuse_nul(text: str, what: str) -> None:
    if "\0" in text:
        raise ItemRefused(f"{what} holds a NUL byte; pass it by `stdin`")


def _argv(templates: tuple[Template, ...], context: Mapping[str, Any]) -> list[str]:
    argv: list[str] = []
    for template in templates:
        value = template.source if template.is_static else _render(template, context, "command")
        for each in value if isinstance(value, list) else (value,):
            try:
                text = text_of(each)
            except ValueError as error:
                raise ItemRefused(f"command: argument {len(argv)}: {error}") from error
            what = f"argument {len(argv)}"
            _refuse_nul(text, what)
            size = _utf8_size(text, what)
            if size > ARGUMENT_BYTES:
                raise ItemRefused(f"{what} is {size} bytes; the kernel takes at most {ARGUMENT_BYTES}: pass it by `stdin`")
            argv.append(text)
    if not argv or not argv[0]:
        raise ItemRefused("command: the program is empty")
    return argv


def _shell(script: str) -> tuple[list[str], str | None]:
    _refuse_nul(script, "the script")
    if _utf8_size(script, "the script") > ARGUMENT_BYTES:
        return ["/bin/sh"], script
    return ["/bin/sh", "-c", script], None


def _child(named: str, job: Job, context: Mapping[str, Any], folder: str) -> tuple[ChildWork, str]:
    """What the child run will do, and the text of its file."""
    if not named:
        raise ItemRefused("workflow: the path is empty")
    given = {name: _given(value, context, f"inputs.{name}") for name, value in job.inputs.items()}
    try:
        file = read_child(os.path.join(folder, named))
    except JobsFileError as error:
        raise ItemRefused(f"workflow: {first_of(error)}") from error
    except UserError as error:
        raise ItemRefused(f"workflow: {error.message}") from error
    mistakes = mistakes_in(given, file.inputs)
    if mistakes:
        raise ItemRefused(f"workflow: {named}: {'; '.join(mistakes)}")
    _utf8_size(file.path, "workflow")
    return ChildWork(file.path, {name: value for name, value in given.items() if value is not None}), file.text


def _given(value: Any, context: Mapping[str, Any], key: str) -> Any:
    match value:
        case Template():
            return _render(value, context, key)
        case tuple():
            return [_given(element, context, key) for element in value]
        case _:
            return value


def _child_argv(child: ChildWork) -> list[str]:
    """Which run it is comes behind that when it starts. -P: a folder of the user's is no place to look for our modules."""
    return [sys.executable, "-P", "-m", "orchestrator", "child", child.path]


def _variable(name: str, template: Template, context: Mapping[str, Any]) -> str:
    what = f"env.{name}"
    value = _text(template, context, what)
    _refuse_nul(value, what)
    size = _utf8_size(name, what) + 1 + _utf8_size(value, what)
    if size > ARGUMENT_BYTES:
        raise ItemRefused(f"{what} is {size} bytes with its name; the kernel takes at most {ARGUMENT_BYTES}: pass it by `stdin`")
    return value


def _folder(job: Job, context: Mapping[str, Any], folder: str) -> str:
    if job.cwd is None:
        cwd = folder
    else:
        named = _text(job.cwd, context, "cwd")
        if not named:
            raise ItemRefused("cwd: the path is empty")
        _refuse_nul(named, "cwd")
        cwd = os.path.join(folder, named)
    _utf8_size(cwd, "cwd")
    return cwd


def _token(job: Job, context: Mapping[str, Any]) -> str | None:
    if job.token is None:
        return None
    token = _text(job.token, context, "token")
    try:
        check_token(token)
    except ValueRefused as refused:
        raise ItemRefused(f"token: {refused}") from refused
    return token


def _creates(path: str, cwd: str, temporary_suffix: str) -> Creates:
    """The temporary name is short whatever the final one is, and keeps its suffixes, by which programs choose a format."""
    if not path or path.endswith(("/", "/.", "/..")) or path in (".", ".."):
        raise ItemRefused(f"creates: expected the path of a file, got {path!r}")
    _refuse_nul(path, "creates")
    _utf8_size(path, "creates")
    final = os.path.join(cwd, path)
    parent, name = os.path.split(final)
    return Creates(temporary=os.path.join(parent, _stem(final, temporary_suffix) + _suffixes(name)), final=final)


def _stem(final: str, temporary_suffix: str) -> str:
    return f".{sha256((final + temporary_suffix).encode()).hexdigest()[:12]}.part"


def _suffixes(name: str) -> str:
    """`.tar.gz` of `a.tar.gz`, or the last one alone where all are too long."""
    _, dot, rest = name.lstrip(".").partition(".")
    if dot and len(rest) < _LONGEST_SUFFIX:
        return dot + rest
    last = os.path.splitext(name)[1]
    return last if len(last) <= _LONGEST_SUFFIX else ""


def _payload(action: tuple[Any, ...], creates: Creates | None) -> str:
    encoded = _encode((action, creates and creates.final))
    if creates is not None:  # its temporary name is another one in each run
        stem = os.path.basename(creates.temporary)[: len(".0123456789ab.part")]
        encoded = encoded.replace(stem.encode(), b".part")
    return sha256(encoded).hexdigest()[:16]


def _on_one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _UNSEEN else character
        for character in text
    )
