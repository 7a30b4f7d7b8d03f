"""Whatever a file says, the answer is a jobs file or a JobsFileError."""

from __future__ import annotations

from typing import Any

import pytest
from drivers.jobs_schema import refusals
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.keys import (
    FileTable,
    JobTable,
    PoolTable,
    RepeatTable,
    RetryTable,
    RunTable,
    SourceTable,
    WorkspaceTable,
)
from orchestrator.jobsfile.load import load_text

# Whatever a file says, the answer is a jobs file or a JobsFileError.

TABLES = (FileTable, JobTable, RunTable, PoolTable, RepeatTable, RetryTable, SourceTable, WorkspaceTable)
KEYS = sorted(
    {key for struct in TABLES for key in struct.__struct_encode_fields__}
    | {"a", "b", "type", "required", "default", "enum", "description"}
)
WORDS = ["always", "failed", "a", "b", "lines", "20m", "10MiB", "20%", "{{ item }}", "{{ jobs.a.output }}", "{{ jobs.b }}"]
WORDS += ["{{ inputs.a }}", "{{ x", "'{{ item }}'", "{% if index %}", "{{ parent.output }} {{ creates }}", "string", "list", ""]
WORDS += ["fast", "join", "replay", "50/min", "3/10s", "{{ label }}"]

keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=4))
scalars = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.booleans(),
    st.integers(-3, 10),
    st.integers(),
    st.floats(),
    st.dates(),
    st.times(),
    st.datetimes(),
)
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)), max_leaves=6
)
job_tables = st.dictionaries(st.one_of(st.sampled_from(JobTable.__struct_fields__), keys), values, max_size=4)
documents = st.fixed_dictionaries(
    {
        "jobs": st.one_of(
            values, st.dictionaries(st.sampled_from(["a", "b", "c", "D"]), st.one_of(job_tables, values), max_size=3)
        )
    },
    optional={
        "defaults": st.one_of(job_tables, values),
        "inputs": values,
        "pools": st.one_of(
            values, st.dictionaries(keys, st.dictionaries(st.sampled_from(["slots", "rate"]), values), max_size=3)
        ),
        "run": st.one_of(values, st.dictionaries(st.sampled_from(RunTable.__struct_fields__), values, max_size=3)),
        "name": values,
    },
)


def written(value: Any) -> str:
    """`value` as TOML, on one line."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            safe = (c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in value)
            return f'"{"".join(safe)}"'
        case list():
            return f"[{', '.join(map(written, value))}]"
        case dict():
            return f"{{{', '.join(f'{written(key)} = {written(element)}' for key, element in value.items())}}}"
        case _:
            return str(value.isoformat())


@given(documents)
def test_whatever_a_file_says_it_loads_or_its_mistakes_are_told(document: dict[str, Any]) -> None:
    text = "\n".join(f"{written(key)} = {written(value)}" for key, value in document.items())
    problems = ["jobs.toml: none"]
    try:
        load_text(text, path="jobs.toml", folder="/project")
    except JobsFileError as error:
        problems = error.problems
    else:
        assert refusals(text) == []
    assert problems
    assert all(problem.startswith("jobs.toml:") and problem.isprintable() for problem in problems)


@given(st.text())
def test_whatever_text_comes_is_refused_in_words(text: str) -> None:
    with pytest.raises(JobsFileError) as told:
        load_text(text, path="jobs.toml", folder="/project")
    assert all(problem.startswith("jobs.toml") and "\n" not in problem for problem in told.value.problems)
