"""What one table of job keys gives ([defaults] or [jobs.ID]): values checked, templates compiled, each on its own.

How a job's keys go together with the defaults and with other jobs is the business of `jobs`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.core.job_rules import Halt
from orchestrator.jobsfile.agent_keys import PromptFileTable, WorkspaceTable
from orchestrator.jobsfile.key_types import CHOICE
from orchestrator.jobsfile.keys import (
    ACTIONS,
    REJECTING,
    JobTable,
    RejectionTable,
    RepeatTable,
    RetryTable,
)
from orchestrator.jobsfile.language.compiler import compile_template
from orchestrator.jobsfile.language.decode import decode
from orchestrator.jobsfile.language.problems import Place, Problems
from orchestrator.jobsfile.language.quantities import parse_duration
from orchestrator.jobsfile.language.suggestions import describe, did_you_mean
from orchestrator.jobsfile.language.template import Template, TemplateKind
from orchestrator.jobsfile.language.values import ValueRefused, check_token
from orchestrator.jobsfile.model import (
    AgentAction,
    CommandAction,
    GateAction,
    LandAction,
    OnReject,
    Promised,
    PromptFile,
    Repeat,
    Retry,
    ShellAction,
    WorkflowAction,
    Workspace,
)
from orchestrator.jobsfile.source_fields import compile_source
from orchestrator.jobsfile.template_fields import (
    WRONG,
    compile_condition,
    compile_element,
    compile_environment,
    compile_list,
    compile_text,
    compile_written,
)
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.shell import SHELLS, interpreter_of, is_shell_program

JobFields = dict[str, Any]
"""Attributes of `model.Job` by name, as far as a table gives them; a value may be WRONG. `action` has command, shell or gate."""

_WHEN_WORDS = ("always", "failed")
_WORKSPACES = ("shared", "worktree", "copy", "temp")
_REJECT_WORDS = ("abort", "skip", "retry")
_TEXTS = frozenset({"label", "cwd", "stdin", "show_file", "model"})
_WRITTEN: dict[str, tuple[TemplateKind, str]] = {
    "prompt": ("text", "what to tell the agent"),
    "resume_prompt": ("text", "what to tell the agent"),
    "retry_prompt": ("text", "what to tell the agent"),
    "schema": ("text", "the path of a file"),
    "check": ("shell", "a command line"),
}
"""Keys whose value is a template that must not be empty: of which kind, and of what."""

_CHOICE = lazy_pattern(CHOICE)


def compile_fields(table: dict[str, Any], place: Place, problems: Problems) -> JobFields:
    """The fields that `table` gives. Tells its unknown keys, wrong values, bad templates, and a second action."""
    raw, wrong = decode(table, JobTable, place, problems)
    fields: JobFields = {}
    for key in table:
        value = WRONG if key in wrong else getattr(raw, key)
        if key in ACTIONS:
            fields["action"] = value if value is WRONG else _action(key, value, place, problems)
        elif value is WRONG:
            fields[key] = WRONG
        else:
            fields[key] = _field(key, value, (*place, key), problems)
    actions = [key for key in ACTIONS if key in table]
    if len(actions) > 1:
        problems.tell(place, f"a job has exactly one action, this has {len(actions)}: {', '.join(actions)}")
    halt = fields.get("halt")
    if isinstance(halt, Halt) and halt.why == "fail":
        # A count of its own, beside another word on how many may fail.
        if halt.count or halt.percent:
            for key in ("max_failures", "continue_on_error"):
                if fields.get(key):
                    problems.tell((*place, "halt"), f"fail= and {key} each say how many may fail: leave one out")
        elif fields.get("continue_on_error") is True:
            problems.tell((*place, "halt"), "with continue_on_error no failure halts anything: leave one out")
    return fields


def lay_over(defaults: JobFields, own: JobFields) -> JobFields:
    """`own` over `defaults`: a key of `own` wins; of `env` each variable by itself."""
    fields = {**defaults, **own}
    environments = (defaults.get("env"), own.get("env"))
    if all(isinstance(environment, dict) for environment in environments):
        fields["env"] = {**defaults["env"], **own["env"]}
    return fields


def _action(key: str, value: Any, place: Place, problems: Problems) -> Any:
    """What the job does, or WRONG: of the key of its action, which is right by itself."""
    if key == "shell":
        script = compile_written(value, "shell", "a command line", (*place, key), problems)
        return script if script is WRONG else ShellAction(script=script)
    if key == "gate":
        question = compile_written(value, "text", "a question", (*place, key), problems)
        return question if question is WRONG else GateAction(question=question)
    if key == "workflow":
        path = compile_written(value, "text", "the path of a jobs file", (*place, key), problems)
        return path if path is WRONG else WorkflowAction(path=path)
    if key == "agent":
        agent = compile_written(value, "text", "the name of an agent", (*place, key), problems)
        return agent if agent is WRONG else AgentAction(agent=agent)
    if key == "land":
        return LandAction(job=value)
    # `command`. Only its first word has to be something: an empty argument is an argument.
    argv = compile_list(value, (*place, key), problems)
    if not value[0]:
        problems.tell((*place, key, 0), "expected a program, got an empty string")
    return WRONG if argv is WRONG else CommandAction(argv=argv)


def interpreter_mistake(script: Template) -> str:
    """What is wrong about the `#!` of a script: it names nothing, or what does not read our quotes as they are meant."""
    if not script.source.startswith("#!"):
        return ""
    words = " ".join(interpreter_of(script.source)).split()
    if not words:
        return "its #! names no program"
    # Another language has other quotes; a script without values is its own.
    if script.is_static or any(word.rpartition("/")[2] in SHELLS for word in words):
        return ""
    return f"values are quoted for a shell, and {words[-1]} is none: give it values by env, and read them there"


def _shell_program(value: list[str], place: Place, problems: Problems) -> Any:
    if is_shell_program(value):
        return tuple(value)
    words = f'a shell ({", ".join(SHELLS)}), its options and -c, such as ["bash", "-euo", "pipefail", "-c"]'
    problems.tell(place, f"expected {words}: values are quoted for that")
    return WRONG


def _field(key: str, value: Any, place: Place, problems: Problems) -> Any:
    if key in _TEXTS:
        return compile_text(value, "text", place, problems)
    if key in _WRITTEN:
        return compile_written(value, *_WRITTEN[key], place, problems)
    if key in _BUILDERS:
        return _BUILDERS[key](value, place, problems)
    return tuple(value) if isinstance(value, list) else value


def _given(table: dict[str, Any], place: Place, problems: Problems) -> Any:
    """Input of a child run -> its value, a template of it, or a tuple of both; or WRONG."""
    given: dict[str, Any] = {}
    for name, value in table.items():
        match value:
            case dict():
                problems.tell((*place, name), "expected a string, a number, a boolean or a list, got a table")
                given[name] = WRONG
            case list():
                elements = tuple(compile_element(element, (*place, name, index), problems) for index, element in enumerate(value))
                given[name] = WRONG if WRONG in elements else elements
            case _:
                given[name] = compile_element(value, (*place, name), problems)
    return WRONG if WRONG in given.values() else given


def _token(value: str, place: Place, problems: Problems) -> Any:
    template = compile_text(value, "text", place, problems)
    if template is WRONG or not template.is_static:
        return template
    try:
        check_token(value)
    except ValueRefused as refused:
        problems.tell(place, str(refused))
        return WRONG
    return template


def _when(value: Any, place: Place, problems: Problems) -> Any:
    if isinstance(value, bool):
        return compile_template("{{ true }}" if value else "{{ false }}", "value")
    if value in _WHEN_WORDS:
        return value
    words = '"always", "failed", true, false or a template such as "{{ item > 3 }}"'
    if not isinstance(value, str):
        problems.tell(place, f"expected {words}, got {describe(value)}")
        return WRONG
    return compile_condition(value, words, place, problems, words_meant=_WHEN_WORDS)


def _repeat(value: dict[str, Any], place: Place, problems: Problems) -> Any:
    raw, wrong = decode(value, RepeatTable, place, problems)
    named = [key for key in ("until", "while") if key in value]
    if len(named) != 1:
        problems.tell(place, f"expected exactly one of until and while{', got both' if named else ''}")
        return WRONG
    source = raw.until if named == ["until"] else raw.while_
    if source is None:
        return WRONG
    words = 'a template such as "{{ exit_code == 0 }}"'
    condition = compile_condition(source, words, (*place, *named), problems)
    if condition is WRONG or wrong:
        return WRONG
    given = {key: getattr(raw, key) for key in ("max", "must", "delay") if key in value}
    return Repeat(condition=condition, is_until=raw.until is not None, **given)


def _options(value: list[str], place: Place, problems: Problems) -> Any:
    odd = next((each for each in value if not _CHOICE.fullmatch(each)), None)
    if odd is not None:
        problems.tell(place, f"{describe(odd)} is not a word of at most 40 letters, digits, _, - and .")
    elif len(set(value)) < len(value):
        problems.tell(place, "expected each choice once")
    elif all(each in REJECTING for each in value):
        problems.tell(place, f"none of them approves (all but {' and '.join(REJECTING)} do): nobody could ever pass the gate")
    else:
        return tuple(value)
    return WRONG


def _on_reject(value: Any, place: Place, problems: Problems) -> Any:
    if isinstance(value, dict):
        raw, wrong = decode(value, RejectionTable, place, problems)
        if raw.retry is None and not wrong:
            problems.tell(place, 'expected { retry = "JOB" }, got an empty table')
        return OnReject(how="retry", job=raw.retry) if raw.retry is not None and not wrong else WRONG
    if value in _REJECT_WORDS:
        return OnReject(how=value)
    meant = did_you_mean(value, _REJECT_WORDS) if isinstance(value, str) else ""
    problems.tell(place, f'expected "abort", "skip", "retry" or {{ retry = "JOB" }}, got {describe(value)}{meant}')
    return WRONG


def _workspace(value: Any, place: Place, problems: Problems) -> Any:
    if value in _WORKSPACES:
        return Workspace(kind=value, is_said=True)
    if not isinstance(value, dict):
        meant = did_you_mean(value, _WORKSPACES) if isinstance(value, str) else ""
        words = '"shared", "worktree", "copy", "temp" or a table such as { kind = "worktree", base = "main" }'
        problems.tell(place, f"expected {words}, got {describe(value)}{meant}")
        return WRONG
    # A table: it has to say its kind, of which `worktree` takes more keys than the others.
    raw, wrong = decode(value, WorkspaceTable, place, problems)
    if raw.kind is None and "kind" not in value:
        problems.tell(place, f"no kind: expected one of {', '.join(_WORKSPACES)}")
    if raw.kind is None or wrong:
        return WRONG
    # Keys that git alone understands.
    for key in ("base", "branch", "include"):
        if key in value and raw.kind != "worktree":
            problems.tell((*place, key), f"says how a git worktree is made, and this workspace is of kind {raw.kind}")
            return WRONG
    # The setup is a shell script, so its values are quoted; the other two are names.
    kinds: tuple[tuple[str, str | None, TemplateKind], ...] = (
        ("base", raw.base, "text"),
        ("branch", raw.branch, "text"),
        ("setup", raw.setup, "shell"),
    )
    compiled = {key: compile_text(text, kind, (*place, key), problems) for key, text, kind in kinds if text is not None}
    if WRONG in compiled.values():
        return WRONG
    return Workspace(kind=raw.kind, is_said=True, include=tuple(raw.include or ()), keep=raw.keep, **compiled)


def _prompt_file(value: Any, place: Place, problems: Problems) -> Any:
    is_template, path, path_place = True, value, place
    if isinstance(value, dict):
        raw, wrong = decode(value, PromptFileTable, place, problems)
        if wrong:
            return WRONG
        is_template, path, path_place = raw.template is not False, raw.path or "", (*place, "path")
    if not isinstance(path, str):
        words = 'the path of a file or a table such as { path = "prompt.md", template = false }'
        problems.tell(place, f"expected {words}, got {describe(value)}")
        return WRONG
    template = compile_written(path, "text", "the path of a file", path_place, problems)
    return template if template is WRONG else PromptFile(path=template, is_template=is_template)


def _creates(value: Any, place: Place, problems: Problems) -> Any:
    if isinstance(value, str):
        template = compile_text(value, "text", place, problems)
        return template if template is WRONG else Promised(paths=(template,))
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        problems.tell(place, f'expected the path of a file or a list of them such as ["a.pdf", "a.log"], got {describe(value)}')
        return WRONG
    paths = compile_list(value, place, problems)
    return paths if paths is WRONG else Promised(paths=paths, is_list=True)


def _retry(value: Any, place: Place, problems: Problems) -> Any:
    if isinstance(value, dict):
        raw, wrong = decode(value, RetryTable, place, problems)
        return WRONG if wrong else Retry(**{key: getattr(raw, key) for key in value})
    try:
        return Retry(delay=parse_duration(value))
    except ValueError:
        problems.tell(place, f'expected a table such as {{ delay = "10s", backoff = 2.0 }} or a duration, got {describe(value)}')
        return WRONG


_BUILDERS: dict[str, Callable[[Any, Place, Problems], Any]] = {
    "token": _token,
    "env": compile_environment,
    "inputs": _given,
    "when": _when,
    "for_each": compile_source,
    "retry": _retry,
    "repeat": _repeat,
    "options": _options,
    "on_reject": _on_reject,
    "workspace": _workspace,
    "prompt_file": _prompt_file,
    "creates": _creates,
    "shell_program": _shell_program,
    "args": compile_list,
    "artifacts": compile_list,
    "sources": compile_list,
}
"""The keys whose values are more than one template, or none, and what makes a field of them."""
