"""The JSON Schema that an agent's answer has to fit: read from its file, checked itself, and what checks an answer by it.

The package jsonschema is an optional part of the installation, and dear to import: only a job with `schema` loads it. It takes
schemas at their word, and raises whatever a strange one leads to: here that is one error, in words.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from itertools import islice
from typing import Any

import msgspec

from orchestrator.jobsfile.language.suggestions import shown
from orchestrator.system.judged_apart import judged_apart
from orchestrator.system.named_files import read_named
from orchestrator.workers.foreign import ForeignBytesError, decode_json

_MOST_MISTAKES = 5
_MOST_LOOKED_AT = 1000
"""Mistakes of one answer: each has the text of all that is wrong in it."""
JUDGE_CPU_SECONDS = 5.0
"""An answer that fits takes milliseconds. What takes longer would mostly take years (`(a+)+$`)."""


class AnswerSchemaError(Exception):
    """A JSON Schema cannot be used; one line in words."""


class AnswerSchema(msgspec.Struct, frozen=True):
    """A schema: `text` as its file has it, and jsonschema's validator of it."""

    text: str
    validator: Any

    def mistakes_in(self, answer: Any) -> list[str]:
        """What in `answer` (plain data) does not fit, a line each, the first few; empty: it fits. Blocks: not for the loop."""
        return mistakes_told(judged_apart(self.judge_of(answer), JUDGE_CPU_SECONDS))

    def judge_of(self, answer: Any) -> Callable[[], bytes]:
        """What finds the mistakes, for `mistakes_told`. It is called in a process of its own, for JUDGE_CPU_SECONDS at most."""
        # The answer is not ours: for an unlucky one a pattern, or a rule that branches at each level, never comes to its end.
        return lambda: msgspec.json.encode(self._mistakes(answer))

    def _mistakes(self, answer: Any) -> list[str]:
        try:
            errors = islice(self.validator.iter_errors(answer), _MOST_LOOKED_AT)
            found = sorted(errors, key=lambda error: [str(each) for each in error.absolute_path])
        except RecursionError:
            return ["the schema refers to itself without end, or the answer is nested too deeply"]
        except import_module("referencing.exceptions").Unresolvable as error:
            # A reference that is only made while the answer is checked: `read_schema` could not see it.
            return [f"the schema refers to what it does not have: {shown(error.ref)}"]
        except Exception as error:
            # A keyword of a schema that the library understands only when it comes to it.
            return [f"the schema cannot be applied: {_in_words(error)}"]
        lines = [f"{error.json_path}: {error.message[:500]}" for error in found[:_MOST_MISTAKES]]
        return lines + ([f"and {len(found) - _MOST_MISTAKES} more"] if len(found) > _MOST_MISTAKES else [])


def mistakes_told(told: bytes | None) -> list[str]:
    """The mistakes of which a judge has told; None: it was ended before."""
    if told is None:
        return [f"the schema cannot be applied: with this answer it takes more than {JUDGE_CPU_SECONDS:g} s, or breaks off"]
    return msgspec.json.decode(told, type=list[str])


def load_checker() -> Any:
    """The library that knows JSON Schemas. Raises AnswerSchemaError if it is not installed."""
    try:
        return import_module("jsonschema")
    except ModuleNotFoundError as error:
        raise AnswerSchemaError(
            "answers are checked by the package jsonschema, which is not installed: pip install 'orchestrate-runs[schema]'"
        ) from error


def read_schema(path: str, read: Callable[[str], bytes] = read_named) -> AnswerSchema:
    """The JSON Schema in the file at `path`. Raises AnswerSchemaError. `read` raises OSError."""
    try:
        text = read(path).decode().removeprefix("\ufeff")
    except OSError as error:
        raise AnswerSchemaError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise AnswerSchemaError(f"{path}: not JSON: {error}") from error
    return schema_in(text, path)


def schema_in(text: str, path: str) -> AnswerSchema:
    """The JSON Schema that `text` is, which the file at `path` has or had. Raises AnswerSchemaError."""
    jsonschema = load_checker()
    try:
        schema = decode_json(text.encode())
    except ForeignBytesError as error:
        raise AnswerSchemaError(f"{path}: {error}") from error
    if not isinstance(schema, dict | bool):
        raise AnswerSchemaError(f"{path}: expected a JSON Schema, which is an object")
    try:
        return AnswerSchema(text, _validator_of(schema, jsonschema))
    except jsonschema.SchemaError as error:
        raise AnswerSchemaError(f"{path}: not a JSON Schema: {shown(error.message)} at {error.json_path}") from error
    except import_module("referencing.exceptions").Unresolvable as error:
        raise AnswerSchemaError(f"{path}: refers to what is not in this file: {shown(error.ref)}") from error
    except RecursionError as error:
        raise AnswerSchemaError(f"{path}: nested too deeply for a JSON Schema") from error
    except Exception as error:
        raise AnswerSchemaError(f"{path}: cannot be used as a JSON Schema: {_in_words(error)}") from error


def _validator_of(schema: Any, jsonschema: Any) -> Any:
    """Raises what the library raises, for a strange schema whatever that leads to."""
    # Checked by the draft that it names itself.
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    kind.check_schema(schema)
    # This registry has the meta-schemas. The default one would fetch what it does not know from the network, and block the loop.
    registry = import_module("jsonschema_specifications").REGISTRY
    _look_up_references(schema, registry)
    return kind(schema, registry=registry)


def _look_up_references(schema: Any, registry: Any) -> None:
    """Raises Unresolvable for a `$ref` that leads nowhere: found with the answer it would have cost an attempt."""
    referencing = import_module("referencing.jsonschema")
    resource = import_module("referencing").Resource.from_contents(schema, default_specification=referencing.DRAFT202012)
    open_ones = [(registry.resolver_with_root(resource), resource)]
    while open_ones:
        resolver, part = open_ones.pop()
        said = part.contents if isinstance(part.contents, dict) else {}
        for reference in (said.get("$ref"), said.get("$dynamicRef")):
            if isinstance(reference, str):
                resolver.lookup(reference)
        open_ones += [(resolver.in_subresource(each), each) for each in part.subresources()]


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__} {shown(str(error))}"
