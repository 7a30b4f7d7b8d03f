"""A raw TOML table becomes its struct of `keys`; every wrong key is told in the user's words."""

from __future__ import annotations

import datetime
import math
import sys
import typing
from collections.abc import Callable
from functools import cache
from types import NoneType, SimpleNamespace
from typing import Any, TypeVar

import msgspec

from orchestrator.jobsfile.language.problems import Place, Problems
from orchestrator.jobsfile.language.suggestions import describe, did_you_mean

_DEEPEST = 64
"""Nested lists and tables that a file may have. Deeper ones would end in a RecursionError wherever they are walked."""

TableT = TypeVar("TableT", bound=msgspec.Struct)


class Field(msgspec.Struct, frozen=True):
    """A key of a struct of `keys`: `Annotated[type, parser?, Meta(…)] | None`. `name` is what the struct calls it."""

    name: str
    type: Any
    meta: msgspec.Meta
    parse: Callable[[Any], Any] | None
    choices: tuple[str, ...]


def decode(table: dict[str, Any], struct: type[TableT], place: Place, problems: Problems) -> tuple[TableT, frozenset[str]]:
    """`table` as a `struct`, and the keys of it that were told as mistakes and are left None."""
    keys = _names_by_key(struct)
    good: dict[str, Any] = {}
    right: set[str] = set()
    for key, value in table.items():
        # TOML has no null: `plain` has put it in the place of what it has told as a mistake.
        if value is None:
            continue
        if key not in keys:
            from orchestrator.jobsfile.language.other_tools import meant_key

            problems.tell((*place, key), f"unknown key{meant_key(key, keys, is_file=not place)}")
        else:
            field = _field(struct, keys[key])
            try:
                # One key at a time: msgspec would stop at the first mistake of the table.
                good[field.name] = _convert(value, field)
                right.add(key)
            except (ValueError, msgspec.ValidationError):
                meant = did_you_mean(value, field.choices) if isinstance(value, str) else ""
                problems.tell((*place, key), f"expected {field.meta.description}, got {describe(value)}{meant}")
    return struct(**good), frozenset(table) - right


def fields_of(struct: type[msgspec.Struct]) -> dict[str, Field]:
    """By key, in the struct's order."""
    return {key: _field(struct, name) for key, name in _names_by_key(struct).items()}


@cache
def _names_by_key(struct: type[msgspec.Struct]) -> dict[str, str]:
    return dict(zip(struct.__struct_encode_fields__, struct.__struct_fields__, strict=True))


def plain(value: Any, place: Place, problems: Problems) -> Any:
    """`value` as JSON can hold it: dates and times are ISO strings. What no state file can hold is told, and is None."""
    match value:
        # Each of these TOML can say, and JSON, msgpack or a 64-bit field cannot.
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat()
        case float() if not math.isfinite(value):
            problems.tell(place, f"expected a finite number, got {value}")
        case int() if not -(2**63) <= value < 2**63:
            problems.tell(place, "expected a number of at most 64 bits")
        # Before the next level is looked at: the recursion ends here.
        case list() | dict() if len(place) > _DEEPEST:
            problems.tell(place[:8], f"nested deeper than {_DEEPEST} levels")
        case list():
            return [plain(element, (*place, index), problems) for index, element in enumerate(value)]
        case dict():
            return {key: plain(element, (*place, key), problems) for key, element in value.items()}
        case _:
            return value
    return None


def _convert(value: Any, field: Field) -> Any:
    return field.parse(value) if field.parse else msgspec.convert(value, field.type)


@cache
def _field(struct: type[msgspec.Struct], name: str) -> Field:
    """Its annotation is evaluated by itself: a file uses a few of the hundred keys, and they cost a start a twentieth."""
    owner = next(each for each in struct.__mro__ if name in getattr(each, "__annotations__", ()))
    alone = SimpleNamespace(__annotations__={name: owner.__annotations__[name]})
    hint = typing.get_type_hints(alone, vars(sys.modules[owner.__module__]), include_extras=True)[name]
    annotated = next((option for option in typing.get_args(hint) if option is not NoneType), None)
    kind, *notes = typing.get_args(annotated) or (annotated,)
    meta = next((note for note in notes if isinstance(note, msgspec.Meta)), None)
    assert meta is not None, f"the annotation of {name} is not Annotated[…, Meta(…)] | None"
    parse = next((note for note in notes if callable(note)), None)
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    return Field(name, annotated, meta, parse, choices)
