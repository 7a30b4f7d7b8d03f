"""The values of inputs, wherever they come from: typed as declared, all that is wrong told together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.input_values import resolve_inputs
from orchestrator.jobsfile.inputs import variable_of
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


SPECS = {
    "name": InputSpec(type="string", required=True, description="which one"),
    "count": InputSpec(type="integer", default=1),
    "tags": InputSpec(type="list", default=["x"], enum=("x", "y", "z")),
    "dry-run": InputSpec(type="boolean", default=False),
}


def test_the_command_line_wins_over_the_file_and_the_file_over_the_environment(tmp_path: Path) -> None:
    environment = {
        "ORCHESTRATE_INPUT_NAME": "environment",
        "ORCHESTRATE_INPUT_COUNT": "not a number, and not used either",
        "ORCHESTRATE_INPUT_DRY_RUN": "yes",
        "ORCHESTRATE_INPUT_UNDECLARED": "somebody else's",
    }
    for file, text in {"v.toml": 'count = 2\ntags = ["y", "z"]\n', "v.json": '{"count": 2, "tags": ["y", "z"]}'}.items():
        path = tmp_path / file
        path.write_text(text)
        values = resolve_inputs(SPECS, ["tags=z"], file=str(path), environment=environment)
        assert values == {"name": "environment", "count": 2, "tags": ["z"], "dry-run": True}
    assert resolve_inputs(SPECS, ["name=a"]) == {"name": "a", "count": 1, "tags": ["x"], "dry-run": False}


def test_mistakes_of_all_sources_are_told_at_once_each_with_its_source(tmp_path: Path) -> None:
    path = tmp_path / "v.toml"
    path.write_text('# ours\ncount = "2"\ncuont = 2\ntags = ["w"]\n')
    with pytest.raises(JobsFileError) as told:
        resolve_inputs(SPECS, ["dry-run=perhaps"], file=str(path), environment={"ORCHESTRATE_INPUT_COUNT": "x"})
    assert told.value.problems == [
        '-i dry-run: expected true or false, got "perhaps"',
        f'{path}:2: count: expected a whole number, got a string ("2")',
        f"{path}:3: cuont: no such input; did you mean count?",
        f'{path}:4: tags: expected one of "x", "y", "z", got a list of strings',
        "-i name=…: required (which one)",
    ]
    with pytest.raises(JobsFileError) as of_environment:
        resolve_inputs(SPECS, ["name=a"], environment={variable_of("count"): "1.5"})
    assert of_environment.value.problems == ['ORCHESTRATE_INPUT_COUNT: expected a whole number, got "1.5"']


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"count": null}', "v.json: count: expected a whole number, got null"),
        ('{"count": 99999999999999999999}', "v.json: count: expected a number of at most 64 bits"),
        ("[1]", 'v.json: expected an object such as {"INPUT": VALUE}'),
        ('{"count": NaN}', "v.json: not JSON: invalid character (line 1, column 11)"),
        ('{\n"count" 1}', "v.json: not JSON: expected ':' (line 2, column 9)"),
        ("{", "v.json: not JSON: it ends too early"),
        ("[" * 100_000, "v.json: nested deeper than 200 levels"),
        ('{"tags": ["\\ud800"]}', "v.json: not JSON: it holds half a character"),
        ('{"count": ' + "9" * 400 + "}", "v.json: out of range: it holds a number that no double can hold"),
    ],
    ids=range(9),
)
def test_a_file_of_inputs_that_makes_no_sense_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("v.json").write_text(text)
    with pytest.raises(JobsFileError) as told:
        resolve_inputs(SPECS, ["name=a"], file="v.json")
    assert told.value.problems == [problem]


def test_who_is_asked_is_asked_again_until_the_answer_fits_and_only_for_what_is_missing() -> None:
    specs = {**SPECS, "level": InputSpec(type="integer", required=True, enum=(1, 2))}
    answers = iter(["anna", "three", "3", "2"])
    asked: list[tuple[str, str]] = []

    def ask(name: str, spec: InputSpec, complaint: str) -> str:
        assert spec is specs[name]
        asked.append((name, complaint))
        return next(answers)

    assert resolve_inputs(specs, ask=ask) == {"name": "anna", "count": 1, "tags": ["x"], "dry-run": False, "level": 2}
    assert asked == [
        ("name", ""),
        ("level", ""),
        ("level", 'expected a whole number, got "three"'),
        ("level", "expected one of 1, 2, got a number (3)"),
    ]
    with pytest.raises(JobsFileError, match="1 mistake"):  # nobody is asked about a command line that is wrong anyway
        resolve_inputs(SPECS, ["name=a", "count=x"], ask=ask)
    with pytest.raises(JobsFileError) as told:
        resolve_inputs(SPECS, ask=lambda *_: None)
    assert told.value.problems == ["-i name=…: required (which one)"]


@given(st.lists(st.one_of(st.text(), st.builds("{}={}".format, st.sampled_from(TYPES), st.text()))))
def test_whatever_is_given_is_read_or_refused_in_words(given_pairs: list[str]) -> None:
    specs: dict[str, InputSpec] = {kind: InputSpec(type=kind) for kind in TYPES}
    problems = []
    try:
        assert list(resolve_inputs(specs, given_pairs)) == TYPES
    except JobsFileError as error:
        problems = error.problems
    assert all("\n" not in problem for problem in problems)
