"""Files that a jobs file runs as children, checked when it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers.jobs_schema import refusals

from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.child_files import read_child, values_of
from orchestrator.jobsfile.load import load, load_text
from orchestrator.jobsfile.model import WorkflowAction

CHILD = """
[inputs.name]
type = "string"
required = true
[inputs.count]
type = "integer"
default = 1
[inputs.kinds]
type = "list"
default = []
[jobs.work]
shell = "echo {{ inputs.name }}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "child.toml").write_text(CHILD)
    return tmp_path


def mistakes(folder: Path, text: str, name: str = "parent.toml") -> list[str]:
    """What `load` tells, without the file and the line."""
    (folder / name).write_text(text)
    with pytest.raises(JobsFileError) as told:
        load(folder / name)
    return [problem.partition(f"{name}:")[2].partition(": ")[2] for problem in told.value.problems]


def test_a_child_file_that_takes_what_it_is_given_is_right_and_its_output_is_json(folder: Path) -> None:
    text = """
[defaults]
output = "lines"
stdin = "for the others"
[jobs.go]
for_each = [1, 2]
workflow = "child.toml"
inputs = { name = "n{{ item }}", count = 3, kinds = ["a", "{{ item }}"] }
"""
    (folder / "parent.toml").write_text(text)
    parent = load(folder / "parent.toml")
    (job,) = parent.jobs
    assert isinstance(job.action, WorkflowAction)
    assert (job.output, job.stdin, parent.nests) == ("json", None, 1)
    assert not refusals(text)


def test_a_child_file_in_a_folder_of_its_own_is_found_from_the_file_that_runs_it(folder: Path) -> None:
    (folder / "flows").mkdir()
    (folder / "flows" / "middle.toml").write_text('[jobs.go]\nworkflow = "../child.toml"\ninputs.name = "x"\n')
    (folder / "parent.toml").write_text('[jobs.go]\nworkflow = "flows/middle.toml"\n')
    assert load(folder / "parent.toml").nests == 2


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ('inputs = { nam = "x" }', ["inputs.nam: no such input; did you mean name?", "inputs.name: required"]),
        ("inputs = { name = 3 }", ["inputs.name: expected a string, got a number (3)"]),
        ('inputs = { name = "x", count = "3" }', ['inputs.count: expected a whole number, got a string ("3")']),
        ('inputs = { count = "{{ index }}" }', ["inputs.name: required"]),
    ],
)
def test_what_a_child_file_does_not_take_is_told_where_it_is_run(folder: Path, keys: str, told: list[str]) -> None:
    found = mistakes(folder, f'[jobs.go]\nworkflow = "child.toml"\n{keys}\n')
    assert found == [f"jobs.go.workflow: child.toml: {each}" for each in told]


def test_what_is_wrong_with_a_child_file_is_told_where_it_is_run(folder: Path) -> None:
    (folder / "child.toml").write_text('[jobs.work]\nshell = "true"\nshel = "true"\nnneds = []\n')
    (told,) = mistakes(folder, '[jobs.go]\nworkflow = "child.toml"\n')
    assert told.startswith("jobs.go.workflow: ")
    assert told.endswith("child.toml:3: jobs.work.shel: unknown key; did you mean shell? (and 1 more)")
    (told,) = mistakes(folder, '[jobs.go]\nworkflow = "chidl.toml"\n')
    assert told.endswith("chidl.toml: no such file")


def test_files_that_run_each_other_never_end(folder: Path) -> None:
    (folder / "child.toml").write_text('[jobs.back]\nworkflow = "parent.toml"\n')
    (told,) = mistakes(folder, '[jobs.go]\nworkflow = "child.toml"\n')
    assert "a file that runs itself never ends: parent.toml -> child.toml -> parent.toml" in told
    assert mistakes(folder, '[jobs.go]\nworkflow = "self.toml"\n', "self.toml") == [
        "jobs.go.workflow: a file that runs itself never ends: self.toml -> self.toml"
    ]


def test_files_may_nest_as_deep_as_max_depth(folder: Path) -> None:
    (folder / "low.toml").write_text('[jobs.go]\nworkflow = "child.toml"\ninputs.name = "x"\n')
    deep = '[run]\nmax_depth = {}\n[jobs.go]\nworkflow = "low.toml"\n[jobs.other]\nworkflow = "low.toml"\n'
    (folder / "parent.toml").write_text(deep.format(2))
    assert load(folder / "parent.toml").nests == 2
    assert mistakes(folder, deep.format(1)) == [
        "run.max_depth: the files that this one runs nest 2 deep, and at most 1 are allowed"
    ]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ('workflow = ""', "jobs.go.workflow: expected the path of a jobs file, got an empty string"),
        (
            'workflow = "{{ x }}.toml"',
            "jobs.go.workflow: x is not a name that templates know",
        ),
        (
            'workflow = "{{ index }}.toml"\nstdin = "x"',
            "jobs.go.stdin: does not go with workflow: a child run has its file's folder, its inputs and its results",
        ),
        (
            'workflow = "{{ index }}.toml"\nlane = "fast"',
            "jobs.go.lane: does not go with workflow: an item in the fast lane never starts a run",
        ),
        ('shell = "true"\ninputs = { a = 1 }', "jobs.go.inputs: says what a child run is given, and this job has no workflow"),
        (
            'workflow = "{{ index }}.toml"\ninputs = { a = { b = 1 } }',
            "jobs.go.inputs.a: expected a string, a number, a boolean or a list, got a table",
        ),
        ('workflow = "a.toml"\nshell = "true"', "jobs.go: a job has exactly one action, this has 2: shell, workflow"),
    ],
)
def test_keys_that_say_nothing_of_a_child_run_are_told(folder: Path, keys: str, told: str) -> None:
    assert told in mistakes(folder, f"[jobs.go]\n{keys}\n")


def test_a_run_is_read_when_its_child_file_is_gone(tmp_path: Path) -> None:
    text = '[jobs.go]\nworkflow = "gone.toml"\n'
    assert load_text(text, path=str(tmp_path / "parent.toml"), folder=str(tmp_path)).nests == 0


def test_a_null_is_as_good_as_an_input_that_is_not_given(folder: Path) -> None:
    specs = read_child(str(folder / "child.toml")).inputs
    assert values_of({"name": "x", "count": None}, specs) == {"name": "x", "count": 1, "kinds": []}
    with pytest.raises(JobsFileError) as told:
        values_of({"name": None, "count": 1.5}, specs)
    assert told.value.problems == [
        "inputs.count: expected a whole number, got a number (1.5)",
        "inputs.name: required",
    ]
