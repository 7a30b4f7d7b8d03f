"""The values that `-i KEY=VALUE` gives: typed as declared, all that is wrong told together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.inputs import resolve_inputs
from orchestrator.jobsfile.model import InputSpec, InputType

TYPES: list[InputType] = ["string", "integer", "number", "boolean", "list"]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "", ""),
        ("string", " a=b ", " a=b "),
        ("string", "3", "3"),
        ("integer", "-3", -3),
        ("integer", " +3 ", 3),
        ("number", "3", 3),
        ("number", "3.5", 3.5),
        ("number", "1e3", 1000.0),
        ("boolean", "true", True),
        ("boolean", "Yes", True),
        ("boolean", "1", True),
        ("boolean", "false", False),
        ("boolean", "no", False),
        ("boolean", "0", False),
        ("list", "a, b,c", ["a", "b", "c"]),
        ("list", "a", ["a"]),
        ("list", "", []),
        ("list", '["a,b", 2, {"c": null}]', ["a,b", 2, {"c": None}]),
    ],
)
def test_a_value_is_read_by_its_declared_type(kind: InputType, text: str, value: Any) -> None:
    resolved = resolve_inputs({"x": InputSpec(type=kind)}, [f"x={text}"])
    assert resolved == {"x": value}
    assert type(resolved["x"]) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("integer", "3.0"),
        ("integer", "1_000"),
        ("integer", ""),
        ("integer", "9" * 5000),
        ("number", "nan"),
        ("number", "inf"),
        ("number", "1e999"),
        ("number", "x"),
        ("boolean", "maybe"),
        ("boolean", ""),
        ("list", "[1"),
        ("list", "[NaN]"),
        ("list", "[" * 100_000),
    ],
    ids=range(13),
)
def test_a_value_of_another_type_is_refused(kind: InputType, text: str) -> None:
    with pytest.raises(JobsFileError) as told:
        resolve_inputs({"x": InputSpec(type=kind)}, [f"x={text}"])
    (problem,) = told.value.problems
    assert problem.startswith("-i x: expected ")
    assert len(problem) < 200


def test_defaults_stand_where_nothing_is_given_and_the_last_value_wins() -> None:
    specs = {"a": InputSpec(type="string", default="d"), "b": InputSpec(type="string"), "c": InputSpec(type="integer", default=1)}
    assert resolve_inputs(specs, ["c=2", "c=3"]) == {"a": "d", "b": None, "c": 3}


def test_everything_that_is_wrong_is_told_together() -> None:
    specs = {
        "module": InputSpec(type="string", required=True, description="which one"),
        "level": InputSpec(type="string", default="low", enum=("low", "high")),
        "tags": InputSpec(type="list", default=["x"], enum=("x", "y")),
        "count": InputSpec(type="integer", default=1),
    }
    with pytest.raises(JobsFileError) as told:
        resolve_inputs(specs, ["modul=x", "level=hihg", "count=many", "tags=x,z", "nonsense"])
    assert told.value.problems == [
        '-i "modul": no such input; did you mean module?',
        '-i level: expected one of "low", "high", got a string ("hihg"); did you mean high?',
        '-i count: expected a whole number, got "many"',
        '-i tags: expected one of "x", "y", got a list of strings',
        '-i "nonsense": expected KEY=VALUE',
        "-i module=…: required (which one)",
    ]


@settings(deadline=None)
@given(st.lists(st.one_of(st.text(), st.builds("{}={}".format, st.sampled_from(TYPES), st.text()))))
def test_whatever_is_given_is_read_or_refused_in_words(given_pairs: list[str]) -> None:
    specs: dict[str, InputSpec] = {kind: InputSpec(type=kind) for kind in TYPES}
    problems = []
    try:
        assert list(resolve_inputs(specs, given_pairs)) == TYPES
    except JobsFileError as error:
        problems = error.problems
    assert all("\n" not in problem for problem in problems)
