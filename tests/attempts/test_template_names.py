"""Every name and field of templates has its sentence, which the page of them shows."""

from __future__ import annotations

from pathlib import Path

from orchestrator.attempts.context import JOB_FIELDS, NAMES
from orchestrator.jobsfile.keys import ITEM_SCOPE


def test_each_name_and_field_is_explained() -> None:
    assert NAMES.keys() == ITEM_SCOPE
    source = (Path(__file__).parents[2] / "orchestrator" / "attempts" / "context.py").read_text("utf-8")
    read = source.partition("def _read_field")[2].partition("case _:")[0]
    assert {line.split('"')[1] for line in read.splitlines() if line.strip().startswith("case ")} == JOB_FIELDS.keys()
