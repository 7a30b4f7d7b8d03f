"""What the program needs of others: bounded on both sides, and told alike by its package and by `doctor`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from orchestrator.cli.checkup import _DEPENDENCIES

PROJECT = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8"))
BOUNDED = re.compile(r"([A-Za-z0-9-]+)>=([0-9.]+),<([0-9]+)")


def test_no_dependency_is_without_bounds() -> None:
    """A new major version of another's may change what it promises."""
    project = PROJECT["project"]
    named = [project["dependencies"], *project["optional-dependencies"].values(), PROJECT["build-system"]["requires"]]
    assert [each for names in named for each in names if not BOUNDED.fullmatch(each)] == []


def test_doctor_knows_the_same_bounds() -> None:
    matches = [BOUNDED.fullmatch(each) for each in PROJECT["project"]["dependencies"]]
    told = {found[1]: (numbers(found[2]), numbers(found[3])) for found in matches if found is not None}
    assert told == _DEPENDENCIES


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
