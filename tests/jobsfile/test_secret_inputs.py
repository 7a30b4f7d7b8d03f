"""Secret inputs: what a run knows of them, where they may stand, and what is told of those that do not fit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import JobsFileError, UserError
from orchestrator.jobsfile.input_values import resolve_inputs
from orchestrator.jobsfile.load import load_text
from orchestrator.jobsfile.model import InputSpec
from orchestrator.jobsfile.secret_inputs import require_secrets
from orchestrator.system.redaction import of_this_process
from orchestrator.workers.processes.variables import base_environment
from orchestrator.workers.protocol import Start
from orchestrator.workers.secrets import mark_of, variable_of_secret, with_secrets

VALUE = "correct horse"
SPECS = {"api-key": InputSpec(type="string", required=True, is_secret=True), "level": InputSpec(type="integer", default=1)}
VARIABLE = "ORCHESTRATE_INPUT_API_KEY"


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    of_this_process.cache_clear()


def known() -> str | None:
    return os.environ.get(variable_of_secret("api-key"))


@pytest.mark.parametrize("source", ["pair", "file", "inputs", "environment", "asked"])
def test_wherever_it_comes_from_a_run_knows_a_mark_and_this_process_hides_the_value(tmp_path: Path, source: str) -> None:
    (tmp_path / "key").write_text(f"{VALUE}\n")
    (tmp_path / "values.toml").write_text(f'api-key = "{VALUE}"\n')
    pairs = {"pair": [f"api-key={VALUE}"], "file": [f"api-key=@{tmp_path}/key"]}.get(source, [])
    file = str(tmp_path / "values.toml") if source == "inputs" else None
    given = {VARIABLE: VALUE} if source == "environment" else {}
    ask = (lambda *_: VALUE) if source == "asked" else None
    assert resolve_inputs(SPECS, pairs, file=file, environment=given, ask=ask) == {"api-key": mark_of("api-key"), "level": 1}
    assert known() == VALUE
    assert VALUE not in of_this_process().redact_text(f"said {VALUE}")


@pytest.mark.parametrize(
    ("pairs", "kept", "told"),
    [
        (["api-key=short"], {}, "-i api-key: a secret has at least 8 characters"),
        (["api-key=@/no/such"], {}, "-i api-key=@/no/such: No such file"),
        ([], {"api-key": mark_of("api-key")}, f"-i api-key=@FILE or {VARIABLE}: required"),
    ],
)
def test_what_cannot_be_a_secret_is_told_without_its_value(pairs: list[str], kept: dict[str, str], told: str) -> None:
    with pytest.raises(JobsFileError) as caught:
        resolve_inputs(SPECS, pairs, kept=kept)
    assert [told in problem for problem in caught.value.problems] == [True]
    assert "short" not in str(caught.value.problems).replace("a shorter one", "")
    assert known() is None


def test_a_run_that_goes_on_needs_it_again() -> None:
    with pytest.raises(UserError) as caught:
        require_secrets(SPECS, "run r1")
    assert (caught.value.message, caught.value.hint) == (
        "run r1 needs its secret input api-key, which is kept nowhere",
        f"set {VARIABLE}; resume, retry and approve --resume also take it by -i api-key=@FILE",
    )
    os.environ[VARIABLE] = VALUE
    require_secrets(SPECS, "run r1")
    assert known() == VALUE


def test_a_command_has_those_alone_that_its_job_gives_it() -> None:
    resolve_inputs(SPECS, [f"api-key={VALUE}"])
    os.environ[VARIABLE] = VALUE
    os.environ["ORCHESTRATE_INPUT_LEVEL"] = "2"
    base = base_environment("/worker")
    assert VALUE.encode() not in base.values()
    assert base[b"ORCHESTRATE_INPUT_LEVEL"] == b"2"
    mark = mark_of("api-key")
    start = Start(
        sequence=1, item="a", attempt=1, mark="m", argv=["x", mark], cwd="/", stdout_path="", stderr_path="",
        env={"KEY": f"Bearer {mark}", "NONE": None}, stdin=mark,
    )  # fmt: skip
    revealed = with_secrets(Start(**{**{name: getattr(start, name) for name in start.__struct_fields__}, "secrets": ["api-key"]}))
    assert (revealed.env, revealed.stdin) == ({"KEY": f"Bearer {VALUE}", "NONE": None}, VALUE)
    assert revealed.argv == ["x", mark], "arguments are seen by all"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ('command = ["x", "{{ inputs.key }}"]', "jobs.a: what it runs: inputs.key is secret"),
        ('shell = "x"\ncheck = "y {{ inputs.key }}"', "jobs.a: check: inputs.key is secret"),
        ('shell = "x"\ntoken = "{{ inputs[\'key\'] }}"', "jobs.a: token: inputs.key is secret"),
        ('command = ["x"]\nstdin = "{{ inputs.key }}"\nenv = { KEY = "k {{ inputs.key }}" }', None),
    ],
)
def test_it_stands_where_nobody_else_sees_it(keys: str, told: str | None) -> None:
    text = f"[inputs.key]\nsecret = true\n[jobs.a]\n{keys}\n"
    if told is None:
        assert load_text(text, path="jobs.toml", folder="/x").inputs["key"].is_secret
        return
    with pytest.raises(JobsFileError) as caught:
        load_text(text, path="jobs.toml", folder="/x")
    (problem,) = caught.value.problems
    assert told in problem


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ('default = "correct horse"', "inputs.key.default: would stand in the file, and this input is secret"),
        ('type = "integer"', "inputs.key.type: a secret input is a string"),
        ('enum = ["correct horse"]', "inputs.key.enum: would stand in the file"),
    ],
)
def test_a_secret_has_no_value_in_the_file(keys: str, told: str) -> None:
    with pytest.raises(JobsFileError) as caught:
        load_text(f'[inputs.key]\nsecret = true\n{keys}\n[jobs.a]\nshell = "x"\n', path="jobs.toml", folder="/x")
    (problem,) = caught.value.problems
    assert told in problem
