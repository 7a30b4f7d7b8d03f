"""What an editor would say of a jobs file: the text against the JSON Schema."""

from __future__ import annotations

import tomllib
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from orchestrator.jobsfile.json_schema import jobs_file_schema
from orchestrator.jobsfile.language.decode import plain
from orchestrator.jobsfile.language.problems import Problems


def refusals(text: str) -> list[str]:
    """Each mistake that the schema sees, with its place; dates are strings, as editors take them."""
    document = plain(tomllib.loads(text.removeprefix("\ufeff")), (), Problems("jobs.toml", text))
    return [f"{error.json_path}: {error.message}" for error in _validator().iter_errors(document)]


def accepts(form: dict[str, Any], value: Any) -> bool:
    return bool(Draft202012Validator(form).is_valid(value))


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(jobs_file_schema())
