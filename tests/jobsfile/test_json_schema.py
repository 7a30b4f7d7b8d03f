"""What editors know of a jobs file: every key, in words, and neither more nor less than what loads."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers.jobs_schema import refusals
from drivers.sweeps import telling
from jsonschema import Draft202012Validator

from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.json_schema import jobs_file_schema
from orchestrator.jobsfile.load import load_text
from orchestrator.system.shipped_files import examples_folder

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(examples_folder().glob("*.toml"))
SCHEMA = jobs_file_schema()


def tables() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "the file", SCHEMA
    yield from SCHEMA["$defs"].items()


KEYS = [(f"{table}: {key}", value) for table, struct in tables() for key, value in struct["properties"].items()]


def subschemas(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from subschemas(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from subschemas(inner)


def test_it_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == "urn:orchestrate:jobs-file"
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


def test_the_tables_of_a_jobs_file_are_in_it() -> None:
    assert {"InputTable", "RunTable", "PoolTable", "JobTable", "RetryTable", "SourceTable"} <= SCHEMA["$defs"].keys()
    assert "ConfigTable" not in SCHEMA["$defs"]
    assert all(table["description"] and table["additionalProperties"] is False for _, table in tables())


def test_a_key_says_what_it_is_for_and_what_it_takes() -> None:
    for key, value in KEYS:
        with telling(key):
            purpose, _, expected = value["description"].partition("\n\n")
            assert expected, "a string under the field in jobsfile/keys.py says what it is for"
            assert purpose.endswith("."), purpose
            assert value.keys() & {"type", "anyOf", "enum", "$ref"}, "Meta(extra_json_schema=…) says which values it takes"


def test_a_table_says_which_keys_it_has() -> None:
    for key, value in KEYS:
        with telling(key):
            for schema in subschemas(value):
                is_open = schema.get("type") == "object" and not schema.keys() & {"additionalProperties", "$ref"}
                assert not is_open, "Meta(extra_json_schema=_one_of(…)) names the struct of this table"


def test_defaults_are_those_of_the_model() -> None:
    job, run = SCHEMA["$defs"]["JobTable"]["properties"], SCHEMA["$defs"]["RunTable"]["properties"]
    assert (job["attempts"]["default"], job["lane"]["default"], job["grace"]["default"]) == (1, "main", 10.0)
    assert (run["drain_timeout"]["default"], run["max_depth"]["default"]) == (300.0, 3)
    assert "default" not in run["slots"]


def test_the_shipped_schema_is_the_one_that_is_made() -> None:
    shipped = json.loads((examples_folder() / "jobs.schema.json").read_text("utf-8"))
    assert shipped == SCHEMA, "orchestrate schema -o configs/examples/jobs.schema.json"


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_names_the_schema_beside_it_and_is_right_by_it(path: Path) -> None:
    text = path.read_text("utf-8")
    named = re.match(r"#:schema (\./\S+)\n", text)
    assert named, "the first line is #:schema ./jobs.schema.json"
    assert (path.parent / named[1]).is_file()
    assert refusals(text) == []


def jobs_files_of_the_tests() -> list[str]:
    """Every string of the tests, and every TOML block of a page, that is a jobs file as it stands."""
    texts = set()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, timeout=30)
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else [str(path) for path in ROOT.rglob("*.*")]
    for path in sorted({ROOT / name for name in names}):
        if path.suffix == ".py" and path.is_relative_to(ROOT / "tests") and path.is_file():
            source = path.read_text("utf-8")
            nodes = ast.walk(ast.parse(source)) if "jobs." in source else ()
            texts |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        elif path.suffix == ".md" and path.is_file():
            texts |= set(re.findall(r"```toml\n(.*?)```", path.read_text("utf-8"), flags=re.DOTALL))
    return sorted(text for text in texts if "jobs." in text and loads(text))


def loads(text: str) -> bool:
    try:
        load_text(text, path="/project/jobs.toml", folder="/project")
    except JobsFileError:
        return False
    return True


def test_what_loads_anywhere_in_the_tests_is_right_by_the_schema() -> None:
    found = jobs_files_of_the_tests()
    assert len(found) > 30
    assert {text: told for text in found if (told := refusals(text))} == {}


def job(keys: str) -> str:
    return f"[jobs.a]\n{keys}\n" + ("" if "command" in keys or "shell" in keys else 'shell = "true"\n')


WRONG = [
    "",
    "[jobs]",
    "jobs = 3",
    "jobs.a = 3",
    "slots = 3\n" + job(""),
    "[jobs.1A]\nshell = 'x'",
    f"[jobs.{'a' * 65}]\nshell = 'x'",
    "name = ''\n" + job(""),
    "[jobs.a]",
    "[defaults]\nattempts = 2\n[jobs.a]",
    job("command = ['x']\nshell = 'y'"),
    "[defaults]\ncommand = ['x']\nshell = 'y'\n[jobs.a]",
    job("max_concurency = 2"),
    job("command = 'ls'"),
    job("command = []"),
    job("command = ['']"),
    job("command = ['x', 3]"),
    job("shell = ' '"),
    job("shell = 3"),
    job("needs = 'b'"),
    job("when = 'alwys'"),
    job("when = 1"),
    job("for_each = 3"),
    job("for_each = '*.py'"),
    job("for_each = {}"),
    job("for_each = { globb = 'x' }"),
    job("for_each = { glob = 'x', csv = 'y' }"),
    job("for_each = { glob = 'x', batch = 0 }"),
    job("for_each = { job = 'b', batch = 2 }"),
    job("for_each = { matrix = {} }"),
    job("for_each = { matrix = { x = 3 } }"),
    job("for_each = { matrix = { x = { job = 'b' } } }"),
    job("max_concurrency = 1.5"),
    job("attempts = 0"),
    job("attempts = 'three'"),
    job("lane = 'slow'"),
    job("output = 'line'"),
    job("if_running = 'joni'"),
    job("continue_on_error = 1"),
    job("max_failures = '120%'"),
    job("max_failures = -1"),
    job("timeout = '5 parsecs'"),
    job("grace = -1"),
    job("memory = '2 apples'"),
    job("retry = true"),
    job("retry.dely = 1"),
    job("retry.backoff = 0.5"),
    job("repeat = 3"),
    job("repeat = {}"),
    job("repeat = { until = '{{ true }}', while = '{{ true }}' }"),
    job("repeat = { until = 'true' }"),
    job("repeat = { until = '{{ true }}', mxa = 3 }"),
    "[jobs.a]\ngate = ' '\n",
    job("options = []"),
    job("options = ['ship it']"),
    job("on_reject = 'skpi'"),
    job("on_reject = {}"),
    job("on_reject = { rerty = 'b' }"),
    job("env = 3"),
    job("env.A = [1]"),
    job("env.'A=B' = 1"),
    "[run]\nslots = -1\n" + job(""),
    "[run]\nslotz = 1\n" + job(""),
    "[pools]\nx = 4\n" + job(""),
    "[pools.X]\nslots = 4\n" + job(""),
    "[pools.x]\nrate = '5/fortnight'\n" + job(""),
    "[inputs.x]\ntype = 'text'\n" + job(""),
    "[inputs.x]\nenum = []\n" + job(""),
    "[inputs.x]\ndefalt = 1\n" + job(""),
    "inputs.'x y' = 1\n" + job(""),
]


def test_what_is_wrong_by_itself_is_wrong_by_the_schema() -> None:
    for text in WRONG:
        with telling(text):
            assert not loads(text)
            assert refusals(text)


@pytest.mark.parametrize(
    "text", ["[defaults]\nshell = 'true'\n[jobs.a]", "[defaults]\nshell = 'true'\n[jobs.a]\ncommand = ['x']"]
)
def test_an_action_of_the_defaults_is_every_jobs_action(text: str) -> None:
    assert loads(text)
    assert refusals(text) == []
