"""The inputs of a Spec Kit workflow, as inputs of a jobs file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.cli.importing.code import Code, Kind, field_of
from orchestrator.cli.importing.notes import Mistakes, Notes
from orchestrator.cli.importing.yaml_file import Table
from orchestrator.workers.lazy_pattern import lazy_pattern

_NAME = lazy_pattern(r"[A-Za-z_][A-Za-z0-9_-]*")
_KINDS: dict[str, Kind] = {"string": "text", "number": "number", "boolean": "boolean"}
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_KEYS = frozenset({"type", "required", "default", "enum", "prompt", "description"})


@dataclass(frozen=True, slots=True)
class Inputs:
    """`tables`: name -> the table [inputs.NAME]. `codes`: old name -> the expression for `inputs.OLD_NAME`."""

    tables: dict[str, dict[str, Any]]
    codes: dict[str, Code]


def translate_inputs(declared: Mapping[str, Table], notes: Notes, mistakes: Mistakes) -> Inputs:
    """All inputs. Defaults and choices that do not fit their type are told as mistakes."""
    inputs = Inputs({}, {})
    for old, table in declared.items():
        # A name that jobs files do not allow is changed; templates are translated by the old one.
        place = f"inputs.{old}"
        name = old
        if not _NAME.fullmatch(old):
            name = "input_" + re.sub(r"[^A-Za-z0-9_-]+", "_", old)
            while name in inputs.tables or name in declared:
                name += "_"
            notes.changed(table.line, place, f"is called {name} here")
        type_ = table.get("type") or "string"
        if not isinstance(type_, str) or type_ not in _KINDS:
            mistakes.tell(table.line_of("type"), f"{place}: type: expected one of {', '.join(_KINDS)}")
            continue
        # What the table says, and what of it has no place here.
        made = _made(table, type_, place, mistakes)
        for key in table.keys() - _KEYS:
            notes.lost(table.line_of(key), place, f"the key {key}")
        if old == "integration" and made.get("default") == "auto":
            notes.changed(table.line, place, "auto means nothing here, and no job asks for it: each names its agent")
            made.pop("enum", None)
        # An input without a default may be missing: expressions have to expect null.
        inputs.tables[name] = made
        is_nullable = "default" not in made and not made.get("required", False)
        inputs.codes[old] = Code(field_of("inputs", [name]), _KINDS[type_], is_nullable)
    return inputs


def _made(table: Table, type_: str, place: str, mistakes: Mistakes) -> dict[str, Any]:
    # Values are converted as Spec Kit converts them: "yes" is true, and "3" a number.
    made: dict[str, Any] = {"type": type_}
    default = table.get("default")
    if default is not None:
        made["default"] = _fitting(default, type_)
        if made["default"] is None:
            mistakes.tell(table.line_of("default"), f"{place}: default: {default!r} is no {type_}")
    elif table.get("required"):
        made["required"] = True  # an input with a default is never missing
    choices = table.get("enum")
    if choices is not None:
        fitting = [_fitting(each, type_) for each in choices] if isinstance(choices, list) and choices else [None]
        if None in fitting:
            mistakes.tell(table.line_of("enum"), f"{place}: enum: expected a list of {type_}s")
        elif made.get("default") not in (None, "auto", *fitting):
            mistakes.tell(table.line_of("default"), f"{place}: default: {default!r} is none of the enum")
        made["enum"] = fitting
    about = table.get("description") or table.get("prompt")
    if isinstance(about, str):
        made["description"] = about
    return made


def _fitting(value: Any, type_: str) -> Any:
    """The value converted to the type; None if it does not fit."""
    match type_:
        case "string":
            return value if isinstance(value, str) else None
        case "boolean":
            return value if isinstance(value, bool) else _BOOLEANS.get(str(value).lower())
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number == int(number) else number
