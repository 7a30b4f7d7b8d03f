"""The text of a profile file into a `Profile`: all mistakes at once, each with its place and what was probably meant."""

from __future__ import annotations

import os
import re
from typing import Any

import msgspec

from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.language.decode import decode
from orchestrator.jobsfile.language.problems import Place, Problems
from orchestrator.jobsfile.language.suggestions import describe
from orchestrator.jobsfile.profiles.keys import (
    ClassTable,
    ConfigDirTable,
    ErrorsTable,
    EventTable,
    FlagTable,
    LevelTable,
    LineTable,
    PermissionTable,
    ProfileTable,
    ShowTable,
)
from orchestrator.jobsfile.profiles.profile import ConfigDir, Flags, Level, Origin, Profile
from orchestrator.jobsfile.profiles.rules import (
    build_rules,
    check_pattern,
    class_map,
    class_rule,
    event_rule,
    is_class,
    line_rule,
    show_rule,
)
from orchestrator.workers.agents.reset_times import RESET_GROUPS
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.protocol.reading import ClassRule, Reading

_LEVELS = ("read", "edit", "full")
_FLAG_PLACEHOLDERS = {
    "model": "model",
    "cwd": "cwd",
    "max_turns": "max_turns",
    "budget": "budget",
    "schema_file": "schema_file",
    "schema_inline": "schema",
    "session": "session",
}
_PLACEHOLDER = lazy_pattern(r"\{([a-z_]+)\}")


class Errors(msgspec.Struct, frozen=True):
    """What providers say when a call fails: read behind what a profile says of its own."""

    classes: list[ClassRule]
    statuses: dict[str, str]
    resets: list[str]


NO_ERRORS = Errors([], {}, [])


def decode_errors(table: dict[str, Any], text: str, path: str) -> Errors:
    """The table of a file of such errors. Raises JobsFileError."""
    problems = Problems(path, text)
    raw, _wrong = decode(table, ErrorsTable, (), problems)
    errors = _errors(raw, NO_ERRORS, problems)
    _raise_for(problems, path)
    return errors


def decode_profile(table: dict[str, Any], *, name: str, origin: Origin, path: str, text: str, common: Errors) -> Profile:
    """The profile that `table` says; `text` is where its lines are told from. Raises JobsFileError with every mistake."""
    problems = Problems(path, text)
    raw, wrong = decode(table, ProfileTable, (), problems)
    profile = Profile(
        name=name,
        origin=origin,
        path=path,
        description=raw.description or "",
        command=_argv(raw.command, "command", ("python", "orchestrator"), problems, is_needed="command" not in wrong),
        prompt=raw.prompt or "stdin",
        prompt_args=_prompt_args(raw, problems),
        provider=raw.provider or name,
        account_env=raw.account_env or [],
        pass_env=_names(raw.pass_env or [], "pass_env", problems),
        env=raw.env or {},
        version=raw.version or [],
        tested=raw.tested or [],
        flags=_flags(raw.flags or {}, problems),
        permissions=_permissions(raw.permissions, problems, is_needed="permissions" not in wrong),
        config_dir=None if raw.config_dir is None else _config_dir(raw.config_dir, problems),
        litter=raw.litter or [],
        reading=_reading(raw, common, problems),
        show=build_rules(raw.show, "show", ShowTable, show_rule, problems),
    )
    # Only of a profile that is right otherwise: without its events it would also lack what tells a success.
    _raise_for(problems, path)
    _check_success(profile.reading, problems)
    _raise_for(problems, path)
    return profile


def _raise_for(problems: Problems, path: str) -> None:
    if lines := problems.lines():
        raise JobsFileError(path, lines)


def _reading(raw: ProfileTable, common: Errors, problems: Problems) -> Reading:
    errors = _errors(raw, common, problems)
    return Reading(
        format=raw.format or "json",
        events=build_rules(raw.events, "events", EventTable, event_rule, problems),
        lines=build_rules(raw.lines, "lines", LineTable, line_rule, problems),
        classes=errors.classes,
        statuses=errors.statuses,
        resets=errors.resets,
        exit_codes=class_map(raw.exit_codes or {}, ("exit_codes",), problems),
        patience={name: count for name, count in (raw.patience or {}).items() if is_class(name, ("patience", name), problems)},
        is_usage_cumulative=raw.usage == "session",
        is_cost_cumulative=raw.cost == "session",
        needs_check=bool(raw.needs_check) or raw.format == "text",
    )


def _errors(raw: ErrorsTable, common: Errors, problems: Problems) -> Errors:
    resets = raw.resets or []
    for index, pattern in enumerate(resets):
        check_pattern(pattern, ("resets", index), problems, groups=RESET_GROUPS, needs_group=True)
    classes = build_rules(raw.classes, "classes", ClassTable, class_rule, problems)
    statuses = class_map(raw.statuses or {}, ("statuses",), problems)
    return Errors([*classes, *common.classes], {**common.statuses, **statuses}, [*resets, *common.resets])


def _check_success(reading: Reading, problems: Problems) -> None:
    """Without it no attempt could ever succeed."""
    if reading.format == "text":
        if not any(rule.means == "progress" for rule in reading.lines):
            problems.tell(("lines",), 'expected a line that means "progress": without one no attempt would ever succeed')
    elif not any(rule.means == "success" for rule in reading.events):
        problems.tell(("events",), 'expected an event that means "success": without one no attempt would ever succeed')


def _flags(table: dict[str, Any], problems: Problems) -> Flags:
    raw, _wrong = decode(table, FlagTable, ("flags",), problems)
    for name, placeholder in _FLAG_PLACEHOLDERS.items():
        words = getattr(raw, name)
        if words is not None:
            _argv(words, name, (placeholder,), problems, place=("flags", name))
            if not any(f"{{{placeholder}}}" in word for word in words):
                problems.tell(("flags", name), f"expected {{{placeholder}}} in it")
    return Flags(**{name: getattr(raw, name) for name in _FLAG_PLACEHOLDERS})


def _prompt_args(raw: ProfileTable, problems: Problems) -> list[str]:
    needed = {"file": "prompt_file", "argument": "prompt"}.get(raw.prompt or "stdin")
    words = raw.prompt_args or []
    _argv(words, "prompt_args", () if needed is None else (needed,), problems)
    if raw.prompt == "file" and words[-1:] != ["{prompt_file}"]:
        problems.tell(("prompt_args",), 'expected {prompt_file} as its last word, as prompt = "file"')
    elif raw.prompt == "argument" and not any("{prompt}" in word for word in words):
        problems.tell(("prompt_args",), 'expected {prompt} in it, as prompt = "argument"')
    return words


def _argv(
    words: list[str] | None,
    key: str,
    placeholders: tuple[str, ...],
    problems: Problems,
    *,
    is_needed: bool = False,
    place: Place | None = None,
) -> list[str]:
    """The words, if there are any; placeholders that are none of these are told."""
    if words is None and is_needed:
        problems.tell((key,), "missing: the program and its arguments, as a list of strings")
    for word in words or []:
        for name in _PLACEHOLDER.findall(word):
            if name not in placeholders:
                known = " and ".join(f"{{{each}}}" for each in placeholders) or "none"
                problems.tell(place or (key,), f"{{{name}}} is no placeholder here (known: {known})")
    return words or []


def _names(names: list[str], key: str, problems: Problems) -> list[str]:
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*\*?", name):
            problems.tell((key,), f'expected the name of a variable, or "PREFIX*", got {describe(name)}')
    return names


def _permissions(table: dict[str, Any] | None, problems: Problems, *, is_needed: bool) -> dict[Any, Level]:
    if table is None:
        if is_needed:
            problems.tell(("permissions",), "missing: the arguments for read, edit and full, each a list of strings")
        return {}
    # A level that is missing is one that the CLI cannot be kept to: jobs that ask for it are refused.
    raw, wrong = decode(table, PermissionTable, ("permissions",), problems)
    levels = {}
    for name in _LEVELS:
        value = getattr(raw, name)
        place = ("permissions", name)
        # Most CLIs take arguments alone, for which a list is enough.
        if isinstance(value, dict):
            level, _wrong = decode(value, LevelTable, place, problems)
            levels[name] = Level(args=level.args or [], env=level.env or {})
        elif isinstance(value, list) and all(isinstance(word, str) for word in value):
            levels[name] = Level(args=value)
        elif value is not None:
            problems.tell(place, f"expected a list of strings, or a table such as {{ args = […] }}, got {describe(value)}")
    if not levels and not wrong:
        problems.tell(("permissions",), "expected at least one of read, edit and full")
    return levels


def _config_dir(table: dict[str, Any], problems: Problems) -> ConfigDir:
    raw, _wrong = decode(table, ConfigDirTable, ("config_dir",), problems)
    for name in ("variable", "default"):
        if name not in table:
            problems.tell(("config_dir",), f"{name} is missing")
    for name in raw.shared or []:
        if os.path.isabs(name) or ".." in name.split("/"):
            problems.tell(("config_dir", "shared"), f"expected a path below the folder, got {name}")
    return ConfigDir(
        variable=raw.variable or "",
        default=raw.default or "",
        shared=raw.shared or [],
        warm=raw.warm or [],
        per_slot=bool(raw.per_slot),
    )
