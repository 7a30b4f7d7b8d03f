"""Imports a workflow as `orchestrate import` does, and looks at the jobs file that comes of it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from orchestrator.cli.importing.translation import Translation, translate
from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.load import load_text

HEAD = 'schema_version: "1.0"\nworkflow: {id: a-flow, name: A, version: 1.0.0, integration: claude}\n'


class Import:
    """Imports a workflow; `jobs` and `notes` are of the last one."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "workflow.yml"
        self.made: Translation
        self.jobs: dict[str, Any]
        self.file: dict[str, Any]

    def __call__(self, steps: str, inputs: str = "", head: str = HEAD) -> dict[str, Any]:
        self.path.write_text(head + (f"inputs:\n{indent(dedent(inputs), '  ')}\n" if inputs else "") + f"steps:\n{dedent(steps)}")
        self.made = translate(str(self.path))
        self.file = tomllib.loads(self.made.text)
        self.jobs = self.file["jobs"]
        assert_loads(self.made.text, self.path.parent)
        return self.jobs

    def told(self, *, lost: bool) -> list[str]:
        return [note.words for note in self.made.notes if note.is_lost is lost]

    def refused(self, content: str | bytes) -> list[str]:
        self.path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(JobsFileError) as refusal:
            translate(str(self.path))
        return [line.removeprefix(f"{self.path}:") for line in refusal.value.problems]


def assert_loads(text: str, folder: Path) -> None:
    """`check` finds no mistake in the file."""
    load_text(text, path=str(folder / "jobs.toml"), folder=str(folder), is_recorded=False)
