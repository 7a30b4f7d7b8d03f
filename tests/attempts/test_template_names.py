"""Every name and field of templates is on the page that is made of the code."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from orchestrator.attempts.context import JOB_FIELDS, NAMES
from orchestrator.jobsfile.keys import ITEM_SCOPE

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def test_each_name_and_field_is_explained() -> None:
    assert NAMES.keys() == ITEM_SCOPE
    source = (Path(__file__).parents[2] / "orchestrator" / "attempts" / "context.py").read_text("utf-8")
    read = source.partition("def _read_field")[2].partition("case _:")[0]
    assert {line.split('"')[1] for line in read.splitlines() if line.strip().startswith("case ")} == JOB_FIELDS.keys()


def test_the_page_of_templates_is_what_the_code_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REFERENCE)
    made = runpy.run_path(str(REFERENCE / "make.py"))["pages"]()["templates.md"]
    assert (REFERENCE / "templates.md").read_text("utf-8") == made, "run python docs/reference/make.py"
