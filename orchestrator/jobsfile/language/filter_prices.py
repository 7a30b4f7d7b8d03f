"""What a filter of a template costs, told from what it is given, before it is called (`metering`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from jinja2.utils import _PassArg

from orchestrator.jobsfile.language.metering import COUNTERS, Meter, meter_of, pay_format
from orchestrator.jobsfile.language.template import RenderError

Filter = Callable[..., Any]
_Price = Callable[..., Any]
"""Gets the meter, the value and what the filter is given; gives the value to go on with."""

_FREE = frozenset({"abs", "count", "d", "default", "first", "float", "int", "items", "last", "length", "random", "raw"})
"""These cost the same however large their value is."""
_OF_VALUES = frozenset(
    {"batch", "dictsort", "groupby", "list", "map", "max", "min", "reject", "rejectattr", "reverse", "select", "selectattr"}
    | {"slice", "sort", "sum", "unique"}
)
"""These look at the values of a list and make no text of them. All others take their value for a text."""

_MOST_INDENT = 32
_MOST_PRECISION = 400


def metered_filters(filters: Mapping[str, Filter]) -> dict[str, Filter]:
    """`filters` (of an environment of jinja2), each paid for before and after its call, and what counts loops and operators."""
    return {name: pass_context(counter) for name, counter in COUNTERS.items()} | {
        name: _metered(name, function) for name, function in filters.items()
    }


def _metered(name: str, function: Filter) -> Filter:
    passed, price = _PassArg.from_obj(function), _PRICES.get(name)

    @pass_context
    def metered(context: Context, value: Any, *arguments: Any, **keys: Any) -> Any:
        meter = meter_of(context)
        meter.take_steps()
        if price is not None:
            value = price(meter, value, *arguments, **keys)
        elif name not in _FREE:
            _pay_reading(meter, name, value)
        match passed:
            case _PassArg.context:
                made = function(context, value, *arguments, **keys)
            case _PassArg.eval_context:
                made = function(context.eval_ctx, value, *arguments, **keys)
            case _PassArg.environment:
                made = function(context.environment, value, *arguments, **keys)
            case _:
                made = function(value, *arguments, **keys)
        if name not in _FREE:
            meter.take_value(made)
        return made

    return metered


def _pay_reading(meter: Meter, name: str, value: Any) -> None:
    if name in _OF_VALUES or isinstance(value, str):
        meter.take_value(value)
    else:
        meter.take_whole(value)


# The prices that are more than the value's own size. What is given wrongly is told by the filter itself.


def _batch(meter: Meter, value: Any, linecount: Any = 0, fill_with: Any = None) -> Any:
    meter.take_value(value)
    if fill_with is not None:
        meter.take_values(_number(linecount))
    return value


def _center(meter: Meter, value: Any, width: Any = 80) -> Any:
    meter.take_whole(value)
    meter.take_text(_number(width))
    return value


def _format(meter: Meter, value: Any, *arguments: Any, **keys: Any) -> Any:
    pay_format(meter, str(value), (*arguments, *keys.values()))
    return value


def _indent(meter: Meter, value: Any, width: Any = 4, *_: Any, **__: Any) -> Any:
    meter.take_value(value)
    lines = len(value.splitlines()) + 1 if isinstance(value, str) else 1
    meter.take_text(lines * (len(width) if isinstance(width, str) else _number(width)))
    return value


def _join(meter: Meter, value: Any, d: Any = "", *_: Any, **__: Any) -> Any:
    values = list(value)
    # A value that stands there several times becomes text each time.
    for each in values:
        meter.take_whole(each)
    meter.take_text(len(values) * meter.take_whole(d))
    return values


def _replace(meter: Meter, value: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> Any:
    meter.take_whole(value)
    meter.take_text(str(value).count(str(old)) * meter.take_whole(new))
    return value


def _round(_meter: Meter, value: Any, precision: Any = 0, *_: Any, **__: Any) -> Any:
    if _number(precision) > _MOST_PRECISION:
        raise RenderError(f"round: the precision may be {_MOST_PRECISION}")
    return value


def _slice(meter: Meter, value: Any, slices: Any = 1, *_: Any, **__: Any) -> Any:
    meter.take_values(_number(slices))
    return value


def _select(meter: Meter, value: Any, *arguments: Any, **_: Any) -> Any:
    given = max((len(each) for each in arguments if isinstance(each, str | list | tuple)), default=0)
    values = value if isinstance(value, list | tuple) or given < 64 else list(value)
    # Each value is looked for among these (`select("in", …)`), or compared with them.
    meter.take_values(len(values) * max(given, 1) if isinstance(values, list | tuple) else 1)
    return values


def _striptags(meter: Meter, value: Any) -> Any:
    # It begins anew behind each tag.
    if isinstance(value, str):
        meter.take_text(value.count("<") * len(value) // 16)
    return value


def _sum(meter: Meter, value: Any, _attribute: Any = None, start: Any = 0, **_: Any) -> Any:
    if not isinstance(start, list | tuple):
        meter.take_value(value)
        return value
    # Lists one behind the other: each sum is copied for the next.
    values = list(value)
    meter.take_values(len(values) * sum(len(each) if isinstance(each, list | tuple | dict) else 1 for each in values) // 2)
    return values


def _tojson(_meter: Meter, value: Any, indent: Any = None) -> Any:
    if _number(indent) > _MOST_INDENT:
        raise RenderError(f"tojson: the indent may be {_MOST_INDENT}")
    return value


def _trim(meter: Meter, value: Any, chars: Any = None) -> Any:
    if isinstance(value, str):
        meter.take_text(len(value) * (1 + (len(chars) // 16 if isinstance(chars, str) else 0)))
    return value


def _words(meter: Meter, value: Any, *_: Any, **__: Any) -> Any:
    # What is left of a word is copied for each piece of it.
    if isinstance(value, str):
        meter.take_text(len(value))
        meter.take_values(len(value) + max(map(len, value.split()), default=0) ** 2 // 1024)
    return value


def _number(value: Any) -> int:
    return max(value, 0) if isinstance(value, int) else 0


_PRICES: dict[str, _Price] = {
    "batch": _batch,
    "center": _center,
    "format": _format,
    "indent": _indent,
    "join": _join,
    "reject": _select,
    "rejectattr": _select,
    "replace": _replace,
    "round": _round,
    "select": _select,
    "selectattr": _select,
    "slice": _slice,
    "striptags": _striptags,
    "sum": _sum,
    "tojson": _tojson,
    "trim": _trim,
    "urlize": _words,
    "wordwrap": _words,
}
