"""What one rendering of a template may cost: how many steps it takes, and how much text it makes. Counts alone, no clock.

Promise: a rendering comes to an end, with its value or with a `RenderError` that says which bound it passed. What is large is
paid for before it is made: a price is told from the operands. Each part that could take long asks here: loops, calls, filters,
the operators `+ * ** % ~` and `in`, slices, and the walk over a value that becomes text.
It refuses to handle: what a template means. What it pays for are sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.visitor import NodeTransformer

from orchestrator.jobsfile.language.template import RenderError
from orchestrator.jobsfile.language.values import LateMapping
from orchestrator.workers.lazy_pattern import lazy_pattern

MOST_STEPS = 10_000_000
"""Rounds of loops, and calls of filters and macros, all together: some seconds of a supervisor that hears nothing meanwhile."""
MOST_TEXT = 1 << 30
"""Characters of all texts that are made, together."""

_VALUES_A_STEP = 10
"""Values that are looked at or copied, without a line of the template for each, are cheaper than a round of a loop."""
_MOST_BITS = 2048
"""No double is as large as a whole number of so many bits."""

_SIZED = (list, tuple, dict, range, LateMapping)


class Meter:
    """What is left of the bounds for one rendering."""

    def __init__(self) -> None:
        self._values_left = MOST_STEPS * _VALUES_A_STEP
        self._text_left = MOST_TEXT

    def take_steps(self, count: int = 1) -> None:
        """Raises RenderError if these steps are too many."""
        self.take_values(count * _VALUES_A_STEP)

    def take_values(self, count: int) -> None:
        """So many values are looked at. Raises RenderError."""
        self._values_left -= count
        if self._values_left < 0:
            raise RenderError(f"it takes more than {MOST_STEPS:,} steps, too much for a template: let a command do it")

    def take_text(self, length: int) -> None:
        """So many characters are read or made. Raises RenderError."""
        self._text_left -= length
        if self._text_left < 0:
            raise RenderError(f"it makes more than {MOST_TEXT:,} characters, too much for a template: let a command do it")

    def take_value(self, value: Any) -> None:
        """`value` alone is read or made, not what is in it. Raises RenderError."""
        if isinstance(value, str):
            self.take_text(len(value))
        elif isinstance(value, _SIZED):
            self.take_values(len(value))

    def take_whole(self, value: Any) -> int:
        """`value` with all that is in it becomes text; about how many characters. One list in many places counts in each."""
        before = self._text_left
        waiting = [value]
        while waiting:
            each = waiting.pop()
            if isinstance(each, str):
                self.take_text(len(each))
                continue
            self.take_values(1)
            self.take_text(8)
            if isinstance(each, list | tuple):
                waiting += each
            elif isinstance(each, dict):
                waiting += each.keys()
                waiting += each.values()
        return before - self._text_left


class MeteredContext(Context):
    """The names of one rendering, and what is left for it."""

    def __init__(self, *arguments: Any, **keys: Any) -> None:
        super().__init__(*arguments, **keys)
        self.meter = Meter()


def meter_of(context: Context) -> Meter:
    """Of the rendering that `context` belongs to."""
    assert isinstance(context, MeteredContext)
    return context.meter


# Operators.

INTERCEPTED = frozenset({"+", "*", "**", "%"})


def pay_operator(meter: Meter, operator: str, left: Any, right: Any) -> None:
    """What `left operator right` (of `INTERCEPTED`) costs. Raises RenderError."""
    match operator, left, right:
        case "*", (str() | list() | tuple()), int():
            _pay_copies(meter, left, right)
        case "*", int(), (str() | list() | tuple()):
            _pay_copies(meter, right, left)
        case "*", int(), int():
            _refuse_large(left.bit_length() + right.bit_length())
        case "**", int(), int() if right > 0:
            _refuse_large(max(left.bit_length() - 1, 0) * right)
        case "%", str(), _:
            pay_format(meter, left, right if isinstance(right, tuple) else (right,))
        case "+", _, _:
            meter.take_value(left)
            meter.take_value(right)


def _pay_copies(meter: Meter, copied: str | list[Any] | tuple[Any, ...], times: int) -> None:
    length = len(copied) * max(times, 0)
    if isinstance(copied, str):
        meter.take_text(length)
    else:
        meter.take_values(length)


def _refuse_large(bits: int) -> None:
    if bits > _MOST_BITS:
        raise RenderError("it gives a number that no double can hold")


_WIDTH = lazy_pattern(r"[%).][#0 +-]*(\d{1,12})")
_WIDTH_BY_VALUE = lazy_pattern(r"%[#0 +-]*(?:\d{0,12}\.)?\*")


def pay_format(meter: Meter, text: str, values: Iterable[Any]) -> None:
    """What `text % values` costs. Raises RenderError."""
    if _WIDTH_BY_VALUE.search(text):
        raise RenderError("a width that is a value (%*d) is not possible in a template")
    meter.take_text(len(text) + sum(int(found[1]) for found in _WIDTH.finditer(text)))
    # Any of the places may be that of the largest value.
    largest = max(map(meter.take_whole, values), default=0)
    meter.take_text(text.count("%") * largest)


# The tree.

_ROUNDS, _LOOKED_THROUGH, _JOINED, _COPIED = "rounds of a loop", "looked through", "joined by ~", "copied"
"""Filters that no template can name, for they are no words."""


class _Counting(NodeTransformer):
    """Puts what counts into the tree of a template."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 (jinja2 calls it so)
        # What stands in the loop as it is becomes text in each round.
        literal = sum(len(each.data) for each in _texts_of_round(node.body))
        self.generic_visit(node)
        node.iter = _filter(node.iter, _ROUNDS, nodes.Const(literal))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (jinja2 calls it so)
        self.generic_visit(node)
        return _filter(nodes.List(node.nodes, lineno=node.lineno), _JOINED)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 (jinja2 calls it so)
        self.generic_visit(node)
        return _filter(node, _COPIED) if isinstance(node.arg, nodes.Slice) else node

    def visit_Operand(self, node: nodes.Operand) -> nodes.Node:  # noqa: N802 (jinja2 calls it so)
        self.generic_visit(node)
        if node.op in ("in", "notin"):
            node.expr = _filter(node.expr, _LOOKED_THROUGH)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:  # noqa: N802 (jinja2 calls it so)
        self.generic_visit(node)
        if node.name == "in":
            node.args = [_filter(each, _LOOKED_THROUGH) for each in node.args]
        return node


def counted(tree: nodes.Template) -> nodes.Template:
    """`tree` with all that counts put in."""
    _Counting().visit(tree)
    return tree


def _filter(node: nodes.Node, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(arguments), [], None, None, lineno=node.lineno)


def _texts_of_round(body: Iterable[nodes.Node]) -> Iterator[nodes.TemplateData]:
    """What stands in a loop as it is, but for what loops inside have: they count their own."""
    for node in body:
        if isinstance(node, nodes.TemplateData):
            yield node
        elif not isinstance(node, nodes.For):
            yield from _texts_of_round(node.iter_child_nodes())


def rounds(context: Context, value: Any, literal: int) -> Any:
    """What a loop goes over: paid for at once if its length is known, so that a round costs nothing more."""
    meter = meter_of(context)
    if isinstance(value, (str, *_SIZED)):
        meter.take_steps(len(value))
        meter.take_text(len(value) * literal)
        return value
    return _rounds_of(meter, value, literal)


def _rounds_of(meter: Meter, value: Any, literal: int) -> Iterator[Any]:
    for each in value:
        meter.take_steps()
        meter.take_text(literal)
        yield each


def _looked_through(context: Context, value: Any) -> Any:
    # A mapping and a range are asked by their key.
    if isinstance(value, str | list | tuple):
        meter_of(context).take_value(value)
    return value


def _joined(context: Context, values: list[Any]) -> str:
    meter = meter_of(context)
    for each in values:
        meter.take_whole(each)
    return "".join(map(str, values))


def _copied(context: Context, value: Any) -> Any:
    meter_of(context).take_value(value)
    return value


COUNTERS: dict[str, Callable[..., Any]] = {
    _ROUNDS: rounds,
    _LOOKED_THROUGH: _looked_through,
    _JOINED: _joined,
    _COPIED: _copied,
}
"""The filters that `counted` puts in; each takes the context first."""
