"""What `for_each` of a job is compiled to: a list, a template that gives one, or a source table."""

from __future__ import annotations

from typing import Any

from orchestrator.jobsfile.keys import SOURCES, SourceTable
from orchestrator.jobsfile.language.decode import decode
from orchestrator.jobsfile.language.problems import Place, Problems
from orchestrator.jobsfile.language.suggestions import describe
from orchestrator.jobsfile.model import ChainSource, FileSource, ListSource, MatrixSource, Source
from orchestrator.jobsfile.template_fields import WRONG, compile_element, compile_text


def compile_source(value: Any, place: Place, problems: Problems) -> Any:
    """The source of a job's items, or WRONG."""
    match value:
        case list() | str():
            return _list(value, None, place, problems)
        case dict():
            return _source_table(value, place, problems)
        case _:
            problems.tell(place, f"expected a list, a template that gives one, or a source table, got {describe(value)}")
            return WRONG


def _list(value: list[Any] | str, batch: int | None, place: Place, problems: Problems) -> Any:
    """A list as written or a template; strings in the list without a placeholder stay strings."""
    if isinstance(value, str):
        template = compile_text(value.strip(), "value", place, problems)
        if template is not WRONG and template.is_static:
            hint = f'; for the files that a pattern matches write {{ glob = "{value}" }}' if "*" in value else ""
            problems.tell(place, f"expected a list, a template that gives one, or a source table, got {describe(value)}{hint}")
            return WRONG
        return template if template is WRONG else ListSource(values=template, batch=batch)
    values = [compile_element(element, (*place, index), problems) for index, element in enumerate(value)]
    return WRONG if any(element is WRONG for element in values) else ListSource(values=tuple(values), batch=batch)


def _source_table(value: dict[str, Any], place: Place, problems: Problems, *, is_axis: bool = False) -> Any:
    raw, wrong = decode(value, SourceTable, place, problems)
    possible = SOURCES if is_axis else (*SOURCES, "matrix", "job")
    named = [key for key in ("matrix", "job", *SOURCES) if key in value]
    if len(named) != 1:
        problems.tell(place, f"expected exactly one of {', '.join(possible)}{', got ' if named else ''}{', '.join(named)}")
        return WRONG
    kind = named[0]
    # What does not go with the one source that it is.
    if kind not in possible:
        problems.tell((*place, kind), "an axis of a matrix is a list or one of " + ", ".join(SOURCES))
        return WRONG
    if kind == "job" and "batch" in value:
        problems.tell((*place, "batch"), "does not go with job: a chain follows its parent item by item")
        return WRONG
    if "delimiter" in value and kind != "csv":
        problems.tell((*place, "delimiter"), f"says how a CSV file is read, and this is {kind}")
        return WRONG
    # A key that is wrong was told: of half a source nothing is built.
    if wrong:
        return WRONG
    return _build_source(kind, raw, place, problems)


def _build_source(kind: str, raw: SourceTable, place: Place, problems: Problems) -> Source | Any:
    for file_kind in SOURCES:
        if kind == file_kind:
            path = compile_text(getattr(raw, kind), "text", (*place, kind), problems)
            if path is WRONG:
                return WRONG
            return FileSource(kind=file_kind, path=path, batch=raw.batch, delimiter=raw.delimiter)
    if kind == "job":
        parents = (raw.job,) if isinstance(raw.job, str) else tuple(raw.job or ())
        if not parents:
            problems.tell((*place, "job"), "expected at least one job")
            return WRONG
        return ChainSource(jobs=parents)
    axes = {name: _axis(axis, (*place, "matrix", name), problems) for name, axis in (raw.matrix or {}).items()}
    if not axes:
        problems.tell((*place, "matrix"), "expected at least one axis")
        return WRONG
    return WRONG if any(axis is WRONG for axis in axes.values()) else MatrixSource(axes=axes, batch=raw.batch)


def _axis(value: Any, place: Place, problems: Problems) -> Any:
    match value:
        case dict():
            return _source_table(value, place, problems, is_axis=True)
        case list() | str():
            return _list(value, None, place, problems)
        case _:
            problems.tell(place, f"expected a list or a source table, got {describe(value)}")
            return WRONG
