"""The inputs of a jobs file: what [inputs] declares, and the values that `-i KEY=VALUE` gives."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import JobsFileError
from orchestrator.jobsfile.decode import decode
from orchestrator.jobsfile.model import InputSpec, InputType
from orchestrator.jobsfile.problems import Place, Problems
from orchestrator.jobsfile.schema import INPUT_NAME, InputTable
from orchestrator.jobsfile.suggestions import describe, did_you_mean, shown

_NAME = re.compile(INPUT_NAME)
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_WORDS: dict[InputType, str] = {
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


def resolve_inputs(specs: Mapping[str, InputSpec], given: Sequence[str]) -> dict[str, Any]:
    """Values of all inputs: `given` (`KEY=VALUE`, the last one wins) over the defaults; None where there is neither.

    Raises JobsFileError that has every undeclared, ill-typed, missing or not allowed one.
    """
    values = {name: spec.default for name, spec in specs.items()}
    named = set()
    problems = []
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals:
            problems.append(f"-i {shown(pair)}: expected KEY=VALUE")
        elif name not in specs:
            problems.append(f"-i {shown(name)}: no such input{did_you_mean(name, specs)}")
        else:
            named.add(name)
            try:
                values[name] = _parse(text, specs[name].type)
            except ValueError:
                problems.append(f"-i {name}: expected {_WORDS[specs[name].type]}, got {shown(text)}")
                continue
            problems += [f"-i {name}: {complaint}" for complaint in _complaints(values[name], specs[name])]
    problems += [
        f"-i {name}=…: required{f' ({spec.description})' if spec.description else ''}"
        for name, spec in specs.items()
        if spec.required and name not in named
    ]
    if problems:
        raise JobsFileError("inputs", [" ".join(problem.split()) for problem in problems])
    return values


def _long_form(table: dict[str, Any], place: Place, problems: Problems) -> InputSpec:
    raw, wrong = decode(table, InputTable, place, problems)
    default = raw.default
    kind: InputType = raw.type or ("string" if default is None or isinstance(default, dict) else _type_of(default))
    spec = InputSpec(
        type=kind, required=raw.required or False, default=default, enum=tuple(raw.enum or ()), description=raw.description or ""
    )
    if raw.required and default is not None:
        problems.tell((*place, "default"), "an input that is required has no default")
    if "type" in wrong:
        return spec
    for index, choice in enumerate(spec.enum):
        if not _is_of_type(choice, _choice_type(spec)):
            problems.tell((*place, "enum", index), f"expected {_WORDS[_choice_type(spec)]}, got {describe(choice)}")
    if default is not None:
        for complaint in _complaints(default, spec):
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


def _complaints(value: Any, spec: InputSpec) -> list[str]:
    if not _is_of_type(value, spec.type):
        return [f"expected {_WORDS[spec.type]}, got {describe(value)}"]
    chosen = value if spec.type == "list" else [value]
    if not spec.enum or all(choice in spec.enum for choice in chosen):
        return []
    allowed = ", ".join(json.dumps(choice, ensure_ascii=False) for choice in spec.enum)
    strings = [choice for choice in spec.enum if isinstance(choice, str)]
    meant = did_you_mean(value, strings) if isinstance(value, str) else ""
    return [f"expected one of {allowed}, got {describe(value)}{meant}"]


def _parse(text: str, kind: InputType) -> Any:
    """The value that a command line's `text` means. Raises ValueError."""
    match kind:
        case "string":
            return text
        case "boolean" if text.strip().lower() in _BOOLEANS:
            return _BOOLEANS[text.strip().lower()]
        case "integer" | "number" if _INTEGER.fullmatch(text.strip()):
            return int(text)
        case "number" if _NUMBER.fullmatch(text.strip()) and math.isfinite(float(text)):
            return float(text)
        case "list" if text.lstrip().startswith("["):
            return _parse_json_list(text)
        case "list":
            return [part.strip() for part in text.split(",")] if text.strip() else []
    raise ValueError(text)


def _parse_json_list(text: str) -> list[Any]:
    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        value = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, list):
        raise ValueError(text)  # noqa: TRY004 — one error type for all that is not accepted
    return value
