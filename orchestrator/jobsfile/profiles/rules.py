"""The rules of a profile file: tables of events, lines, classes and of what is shown, into what the reader takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_args

import msgspec

from orchestrator.jobsfile.language.decode import decode
from orchestrator.jobsfile.language.problems import Place, Problems
from orchestrator.jobsfile.language.suggestions import describe, did_you_mean
from orchestrator.jobsfile.profiles.keys import ClassTable, EventTable, FailureName, LineTable, ShowTable
from orchestrator.jobsfile.profiles.profile import ShowRule
from orchestrator.workers.protocol.reading import ClassRule, EventRule, LineRule, Scalar, TakeName

_FAILURES = get_args(FailureName)
_TAKES: tuple[TakeName, ...] = get_args(TakeName)

RawT = TypeVar("RawT", bound=msgspec.Struct)
RuleT = TypeVar("RuleT")


def build_rules(
    tables: list[dict[str, Any]] | None,
    key: str,
    struct: type[RawT],
    build: Callable[[RawT, Place, Problems], RuleT],
    problems: Problems,
) -> list[RuleT]:
    """The rules of `[[key]]`, each built by `build`. What is wrong with one is told, and it stands in for itself."""
    rules = []
    for index, table in enumerate(tables or []):
        raw, _wrong = decode(table, struct, (key, index), problems)
        rules.append(build(raw, (key, index), problems))
    return rules


def event_rule(raw: EventTable, place: Place, problems: Problems) -> EventRule:
    """`[[events]]`."""
    # A rule without a condition would read every event alike.
    if not raw.where and not raw.present and not raw.match:
        problems.tell(place, "expected where, present or match: an event rule has to say which events it is for")
    for path, pattern in (matches := _flat(raw.match or {})).items():
        check_pattern(pattern, (*place, "match", path), problems)
    return EventRule(
        where=_conditions(raw.where, (*place, "where"), problems),
        unless=_conditions(raw.unless, (*place, "unless"), problems),
        present=raw.present or [],
        absent=raw.absent or [],
        match={path: pattern for path, pattern in matches.items() if isinstance(pattern, str)},
        means=raw.means,
        take=_takes(raw.take or {}, (*place, "take"), problems),
        adds=bool(raw.adds),
        parts_answer=bool(raw.parts_answer),
        words=raw.words,
        class_name=raw.class_name,
        classes=_class_maps(raw.classes or {}, (*place, "classes"), problems),
        status=raw.status,
    )


def line_rule(raw: LineTable, place: Place, problems: Problems) -> LineRule:
    """`[[lines]]`."""
    if raw.pattern is None:
        problems.tell(place, "expected a pattern")
    else:
        check_pattern(raw.pattern, (*place, "pattern"), problems, groups=_TAKES)
    return LineRule(
        pattern=raw.pattern or "",
        stream=raw.stream or "stdout",
        means=raw.means,
        gathers=bool(raw.gathers),
        class_name=raw.class_name,
    )


def class_rule(raw: ClassTable, place: Place, problems: Problems) -> ClassRule:
    """`[[classes]]`."""
    if raw.pattern is None or raw.class_name is None:
        problems.tell(place, "expected a pattern and a class")
    else:
        check_pattern(raw.pattern, (*place, "pattern"), problems)
    return ClassRule(pattern=raw.pattern or "", class_name=raw.class_name or "agent_failed")


def show_rule(raw: ShowTable, place: Place, problems: Problems) -> ShowRule:
    """`[[show]]`."""
    if not raw.where:
        problems.tell(place, "expected where: a rule has to say which events it shows")
    return ShowRule(
        where=_conditions(raw.where, (*place, "where"), problems),
        shown_as=raw.shown_as or "text",
        each=raw.each,
        where_each=_conditions(raw.where_each, (*place, "where_each"), problems),
        name=[] if raw.name is None else _paths(raw.name, (*place, "name"), problems),
        detail=[] if raw.detail is None else _paths(raw.detail, (*place, "detail"), problems),
    )


def _takes(table: dict[str, Any], place: Place, problems: Problems) -> dict[TakeName, list[str]]:
    takes: dict[TakeName, list[str]] = {}
    for key, paths in table.items():
        name = next((name for name in _TAKES if name == key), None)
        if name is None:
            problems.tell((*place, key), f"nothing of this name is taken{did_you_mean(key, _TAKES)}")
        else:
            takes[name] = _paths(paths, (*place, key), problems)
    return takes


def _paths(value: Any, place: Place, problems: Problems) -> list[str]:
    paths = [value] if isinstance(value, str) else value
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        problems.tell(place, f'expected a path such as "error.message" or a list of paths, got {describe(value)}')
        return []
    return paths


def _conditions(table: dict[str, Any] | None, place: Place, problems: Problems) -> dict[str, list[Scalar]]:
    conditions: dict[str, list[Scalar]] = {}
    for path, value in _flat(table or {}).items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(each, str | int | float | bool) for each in values):
            problems.tell((*place, path), f"expected a value or a list of values, got {describe(value)}")
        conditions[path] = values
    return conditions


def _flat(table: Mapping[str, Any]) -> dict[str, Any]:
    """`error.code = 1` in TOML is a table in a table; for us it is a path."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{path}": below for path, below in _flat(value).items()})
        else:
            flat[key] = value
    return flat


def _class_maps(table: Mapping[str, Any], place: Place, problems: Problems) -> dict[str, dict[str, str]]:
    maps: dict[str, dict[str, str]] = {}
    for path, value in table.items():
        if isinstance(value, dict) and value and all(isinstance(each, dict) for each in value.values()):
            below = _class_maps(value, (*place, path), problems)
            maps.update({f"{path}.{rest}": classes for rest, classes in below.items()})
        elif isinstance(value, dict):
            maps[path] = class_map(value, (*place, path), problems)
        else:
            problems.tell((*place, path), f"expected a table from values to classes, got {describe(value)}")
    return maps


def class_map(table: Mapping[str, Any], place: Place, problems: Problems) -> dict[str, str]:
    """A table from values (a number as text) to classes, without those that are wrong."""
    return {key: name for key, name in table.items() if is_class(name, (*place, key), problems)}


def is_class(name: Any, place: Place, problems: Problems) -> bool:
    """Whether a failure may be called so. If not, it is told."""
    if name in _FAILURES:
        return True
    meant = did_you_mean(name, _FAILURES) if isinstance(name, str) else ""
    problems.tell(place, f'expected a class such as "auth" or "rate_limit", got {describe(name)}{meant}')
    return False


def check_pattern(
    pattern: Any, place: Place, problems: Problems, *, groups: Iterable[str] | None = None, needs_group: bool = False
) -> None:
    """Tell what is wrong with a regular expression: its syntax, or named groups that are none of `groups`."""
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError, OverflowError, RecursionError) as error:
        problems.tell(place, f"expected a regular expression: {error}")
        return
    for name in compiled.groupindex if groups is not None else ():
        if name not in (known := list(groups or ())):
            problems.tell(place, f"the group {name} means nothing here{did_you_mean(name, known)}")
    if needs_group and not compiled.groupindex:
        problems.tell(place, "expected named groups such as (?P<hour>…) or (?P<epoch>…)")
