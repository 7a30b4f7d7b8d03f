"""The JSON Schema of a jobs file (draft 2020-12), by which editors complete, explain and check it.

It is made of the structs of `keys`: their fields are the keys, and the string under a field says what its key is for. What
needs more than a schema (names that exist, templates that compile, cycles) is left to `load`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec

from orchestrator.jobsfile import agent_keys, model
from orchestrator.jobsfile import keys as schema
from orchestrator.jobsfile.language.decode import Field, fields_of
from orchestrator.workers.protocol import Limits

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_ID = "urn:orchestrate:jobs-file"
"""A name, no place to fetch it from: the file lies beside the jobs file, and is the same wherever it is copied to."""
_MODELS: dict[type[msgspec.Struct], Any] = {
    schema.JobTable: model.Job,
    schema.RunTable: model.RunSettings,
    schema.RetryTable: model.Retry,
}
"""Where the values stand that absent keys have."""


def jobs_file_schema() -> dict[str, Any]:
    """The schema as plain data. Its `$defs` are called after their structs."""
    root = {
        "$schema": _DRAFT,
        "$id": _ID,
        "title": "Jobs file of orchestrate",
        **_table(schema.FileTable),
        "allOf": [_one_action_a_job(), _a_prompt_an_agent()],
    }
    definitions: dict[str, Any] = {}
    waiting = [*_references(root)]
    while waiting:
        name = waiting.pop(0)
        if name not in definitions:
            definitions[name] = _table(getattr(schema, name))
            waiting += _references(definitions[name])
    return {**root, "required": ["jobs"], "$defs": definitions}


def _table(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        "description": inspect.cleandoc(struct.__doc__ or ""),
        "type": "object",
        "properties": {key: _value(struct, field) for key, field in fields_of(struct).items()},
        "additionalProperties": False,
        **(_at_most_one_action() if struct is schema.JobTable else {}),
        **schema.RULES.get(struct, {}),
    }


def _value(struct: type[msgspec.Struct], field: Field) -> dict[str, Any]:
    # What a parser takes is not what it makes of it.
    form = (field.meta.extra_json_schema or {}) if field.parse else msgspec.json.schema(field.type)
    expected = field.meta.description or ""
    words = (_words_under_fields().get((each.__name__, field.name)) for each in struct.__mro__)
    sentences = (next(filter(None, words), None), f"{expected[:1].upper()}{expected[1:]}.")
    about = {"description": "\n\n".join(filter(None, sentences))}
    return {**about, **form, **about, **_default(struct, field.name)}


def _default(struct: type[msgspec.Struct], name: str) -> dict[str, Any]:
    model_of = _MODELS.get(struct)
    # The limits of a job are one struct, which names its fields by their units.
    if struct is schema.JobTable and name in schema.LIMIT_KEYS:
        model_of, name = Limits, schema.LIMIT_KEYS[name]
    fields = {field.name: field.default for field in msgspec.structs.fields(model_of)} if model_of is not None else {}
    default = fields.get(name)
    return {"default": default} if isinstance(default, bool | int | float | str) else {}


def _actions() -> list[dict[str, Any]]:
    return [{"required": [action]} for action in schema.ACTIONS if action in fields_of(schema.JobTable)]


def _at_most_one_action() -> dict[str, Any]:
    return {"oneOf": [*_actions(), {"not": {"anyOf": _actions()}}]}


def _one_action_a_job() -> dict[str, Any]:
    """Unless [defaults] have one, each job has one."""
    return {
        "if": {"required": ["defaults"], "properties": {"defaults": {"anyOf": _actions()}}},
        "else": {"properties": {"jobs": {"additionalProperties": {"anyOf": _actions()}}}},
    }


def _a_prompt_an_agent() -> dict[str, Any]:
    """Unless [defaults] have one, each job with an agent of its own has a prompt."""
    prompts = [{"required": ["prompt"]}, {"required": ["prompt_file"]}]
    told = {"if": {"required": ["agent"]}, "then": {"anyOf": prompts}}
    return {
        "if": {"required": ["defaults"], "properties": {"defaults": {"anyOf": prompts}}},
        "else": {"properties": {"jobs": {"additionalProperties": told}}},
    }


def _references(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for key, inner in value.items():
                if key == "$ref":
                    yield inner.removeprefix("#/$defs/")
                else:
                    yield from _references(inner)
        case list():
            for inner in value:
                yield from _references(inner)


@cache
def _words_under_fields() -> dict[tuple[str, str], str]:
    """(struct, field) -> the string that stands under the field, in one line. Python keeps none, so the source is read."""
    words = {}
    statements = [statement for module in (schema, agent_keys) for statement in ast.parse(inspect.getsource(module)).body]
    for struct in statements:
        for field, below in pairwise(struct.body if isinstance(struct, ast.ClassDef) else ()):
            match field, below:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str() as text)),
                ):
                    words[struct.name, name] = " ".join(text.split())  # type: ignore[attr-defined]
    return words
