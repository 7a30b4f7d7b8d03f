"""The inputs of a jobs file: what [inputs] declares, and what each of them takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.jobsfile.key_types import INPUT_NAME
from orchestrator.jobsfile.keys import InputTable
from orchestrator.jobsfile.language.decode import decode
from orchestrator.jobsfile.language.problems import Place, Problems
from orchestrator.jobsfile.language.suggestions import describe, did_you_mean
from orchestrator.jobsfile.model import InputSpec, InputType
from orchestrator.workers.lazy_pattern import lazy_pattern

_NAME = lazy_pattern(INPUT_NAME)
INPUT_WORDS: dict[InputType, str] = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list (comma separated, or as JSON)",
}


def build_inputs(tables: Mapping[str, Any], problems: Problems) -> dict[str, InputSpec]:
    """The declared inputs. Tells wrong types, defaults that do not fit, and names that `-i` could not give."""
    specs = {}
    for name, value in tables.items():
        place: Place = ("inputs", name)
        if not _NAME.fullmatch(name):
            problems.tell(place, "an input's name is a letter, then letters, digits, _ and -")
        if isinstance(value, dict):
            specs[name] = _long_form(value, place, problems)
        elif value is not None:
            specs[name] = InputSpec(type=_type_of(value), default=value)
    return specs


def _long_form(table: dict[str, Any], place: Place, problems: Problems) -> InputSpec:
    raw, wrong = decode(table, InputTable, place, problems)
    default = raw.default
    # Without a type, the default tells it; without both it is a string, as everything on a command line is.
    kind: InputType = raw.type or ("string" if default is None or isinstance(default, dict) else _type_of(default))
    spec = InputSpec(
        type=kind, required=raw.required or False, default=default, enum=tuple(raw.enum or ()), description=raw.description or ""
    )
    if raw.secret:
        for key in ("default", "enum"):
            if key in table:
                problems.tell((*place, key), "would stand in the file, and this input is secret")
        if kind != "string":
            problems.tell((*place, "type"), "a secret input is a string")
        return InputSpec(type="string", required=True, description=raw.description or "", is_secret=True)
    if raw.required and default is not None:
        problems.tell((*place, "default"), "an input that is required has no default")
    # Against a wrong type every value would be wrong, too.
    if "type" in wrong:
        return spec
    for index, choice in enumerate(spec.enum):
        if not _is_of_type(choice, _choice_type(spec)):
            problems.tell((*place, "enum", index), f"expected {INPUT_WORDS[_choice_type(spec)]}, got {describe(choice)}")
    if default is not None:
        for complaint in complaints(default, spec):
            problems.tell((*place, "default"), complaint)
    return spec


def _type_of(value: Any) -> InputType:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case list():
            return "list"
        case _:
            return "string"


def _choice_type(spec: InputSpec) -> InputType:
    """The type of the elements of `enum`: for a list they are what it may contain, told by the first of them."""
    return _type_of(spec.enum[0]) if spec.type == "list" else spec.type


def _is_of_type(value: Any, kind: InputType) -> bool:
    if isinstance(value, dict):
        return False
    return _type_of(value) == kind or (kind == "number" and _type_of(value) == "integer")


def complaints(value: Any, spec: InputSpec) -> list[str]:
    """What is wrong with a value for this input, in words; empty if nothing is."""
    if not _is_of_type(value, spec.type):
        return [f"expected {INPUT_WORDS[spec.type]}, got {describe(value)}"]
    chosen = value if spec.type == "list" else [value]
    if not spec.enum or all(choice in spec.enum for choice in chosen):
        return []
    import json  # For a mistake alone.

    allowed = ", ".join(json.dumps(choice, ensure_ascii=False) for choice in spec.enum)
    strings = [choice for choice in spec.enum if isinstance(choice, str)]
    meant = did_you_mean(value, strings) if isinstance(value, str) else ""
    return [f"expected one of {allowed}, got {describe(value)}{meant}"]


def variable_of(name: str) -> str:
    """The environment variable that may give the input `name`. A shell takes no `-` in a variable, so it is `_` there."""
    return f"ORCHESTRATE_INPUT_{name.upper().replace('-', '_')}"
