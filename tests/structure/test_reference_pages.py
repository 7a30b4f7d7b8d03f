"""The pages of docs/reference are what the code says today, and each key of a jobs file has an example without mistakes."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.jobsfile import keys
from orchestrator.jobsfile.json_schema import jobs_file_schema

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
MADE: dict[str, Any] = runpy.run_path(str(REFERENCE / "make.py"))
EXAMPLES: dict[str, dict[str, str]] = MADE["examples"]()

_BESIDE = """
inputs.branch = "main"
inputs.model = "demo-1"
[pools.site]
slots = 4
[jobs.build]
for_each = ["a"]
command = ["true"]
[jobs.lint]
command = ["true"]
[jobs.port]
agent = "demo"
prompt = "say it"
workspace = "worktree"
"""
"""What the examples speak of."""

_HEADS = {"RunTable": "[run]", "InputTable": "[inputs.x]", "PoolTable": "[pools.mine]"}
_FILES = {
    "child.toml": 'inputs.folder = "."\n[jobs.a]\ncommand = ["true"]\n',
    "answer.json": "{}",
    "ask.md": "say it",
    "prompts/a.md": "say it",
    "letter.txt": "it",
}


def _whole(table: str, text: str) -> str:
    """A jobs file in which the example stands."""
    if table == "FileTable":
        return text if "[jobs." in text else f'{text}\n[jobs.a]\ncommand = ["true"]\n'
    if table in _HEADS:
        return f"{_BESIDE}\n{_HEADS[table]}\n{text}\n"
    said = {match[1] for match in re.finditer(r"^([a-z_]+) = ", text, re.MULTILINE)}
    lines = ["[jobs.it]", 'needs = ["build"]'] if "needs" not in said else ["[jobs.it]"]
    if not said & {"for_each", "gate", "land", "repeat"}:
        lines.append('for_each = ["a"]')
    if not said & set(keys.ACTIONS):
        lines += ['agent = "demo"'] if said & (keys.AGENT_KEYS | {"agent"}) else ['command = ["true"]']
        lines += ['prompt = "say it"'] if said & keys.AGENT_KEYS - {"prompt", "prompt_file"} else []
    return "\n".join([_BESIDE, *lines, text, ""])


@pytest.mark.parametrize("page", MADE["PAGES"])
def test_a_page_of_the_reference_is_what_the_code_says(page: str) -> None:
    assert (REFERENCE / page).read_text("utf-8") == MADE["page"](page), "run python docs/reference/make.py"


def test_every_key_has_an_example_and_no_other_has() -> None:
    schema = jobs_file_schema()
    there = {"FileTable": schema["properties"], **{name: table["properties"] for name, table in schema["$defs"].items()}}
    assert {name: set(table) for name, table in EXAMPLES.items()} == {name: set(table) for name, table in there.items()}


@pytest.mark.parametrize(("table", "key"), [(table, key) for table, shown in EXAMPLES.items() for key in shown])
def test_an_example_of_a_key_has_no_mistakes(
    table: str, key: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in _FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "jobs.toml").write_text(_whole(table, EXAMPLES[table][key].strip()))
    assert main(["check", "--home", str(home), str(tmp_path / "jobs.toml")]) == 0, capsys.readouterr().err
