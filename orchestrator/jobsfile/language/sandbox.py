"""The jinja2 side of templates. Imported only when a source has a placeholder.

Promise: an expression reads plain data and calls nothing of it, and comes to an end (`metering`). An attribute is a key lookup;
what is not there is an error that names it in full (`item.title`). In a shell template each `{{ }}` becomes quoted words, exactly
once; `template_checks` refuses what would break that.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import Any

import jinja2
from jinja2 import meta, nodes, pass_context
from jinja2.runtime import Context, LoopContext, StrictUndefined, Undefined
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import Namespace, missing

from orchestrator.jobsfile.language.filter_prices import metered_filters
from orchestrator.jobsfile.language.metering import (
    COUNTERS,
    INTERCEPTED,
    Meter,
    MeteredContext,
    counted,
    meter_of,
    pay_operator,
    rounds,
)
from orchestrator.jobsfile.language.path_filters import PATH_FILTERS
from orchestrator.jobsfile.language.template import Fields, RenderError, Template, TemplateError, TemplateKind, other_meaning
from orchestrator.jobsfile.language.template_checks import check_tree, fields_named, refuse_shell_length
from orchestrator.jobsfile.language.values import LateMapping, json_text, kind_in_words, text_of
from orchestrator.workers.foreign import LARGEST_NUMBER

_DATA_ERRORS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)
"""What evaluating an expression over unsuitable data raises. OSError and our own errors are not among them."""


class _Missing(jinja2.UndefinedError):
    """Something undefined was used: `name`, looked for in `owner` (`missing` for a top-level name)."""

    def __init__(self, owner: Any, name: Any, message: str) -> None:
        super().__init__(message)
        self.owner = owner
        self.name = name


class _Undefined(StrictUndefined):
    """Strict, and remembers what was looked for where."""

    __slots__ = ()

    def __init__(self, hint: str | None = None, obj: Any = missing, name: Any = None, exc: Any = None) -> None:
        super().__init__(hint, obj, name, exc or partial(_Missing, obj, name))  # type: ignore[arg-type]


class _Raw(str):
    """Text that `raw` took out of the quoting of a shell template."""

    __slots__ = ()


class _Context(MeteredContext):
    """Reads the caller's mapping in place: jinja2 would copy it, merged with the globals, for each render."""

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        if key in self.parent:
            return self.parent[key]
        return self.environment.globals.get(key, missing)


class _Environment(SandboxedEnvironment):
    """Own keys only: no attribute or method of a value is reachable. What could take long is paid for."""

    context_class = _Context
    intercepted_binops = INTERCEPTED

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        pay_operator(meter_of(context), operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 (a key may be called so)
        meter = meter_of(__context)
        meter.take_steps()
        # A recursive loop goes over what it is called with.
        if args and isinstance(__obj, LoopContext):
            args = (rounds(__context, args[0], 0), *args[1:])
        made = super().call(__context, __obj, *args, **kwargs)
        meter.take_value(made)
        return made

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        kind = type(obj)
        # Exactly these types: a subclass could bring a `__getitem__` of its own.
        if kind is dict or kind is LateMapping:
            try:
                return obj[argument]
            except (KeyError, TypeError):
                pass
        elif isinstance(obj, Undefined):
            obj._fail_with_undefined_error()
        elif isinstance(argument, int) and isinstance(obj, list | tuple | str):
            try:
                return obj[argument]
            except IndexError:
                pass
        # Attributes, of four kinds of objects alone; anything else that Python would find on a value stays out of reach.
        elif isinstance(argument, str):
            if isinstance(obj, LoopContext | Namespace):
                return super().getattr(obj, argument)
            # What the filter groupby gives.
            if isinstance(obj, tuple) and argument in getattr(obj, "_fields", ()):
                return getattr(obj, argument)
            if hasattr(kind, "template_field"):
                fields: Fields = obj
                try:
                    return fields.template_field(argument)
                except KeyError:
                    pass
        return self.undefined(obj=obj, name=argument)


# Rendering of one value.


@pass_context
def _to_json(context: Context, value: Any, indent: int | None = None) -> str:
    meter = meter_of(context)
    value = _plain(value, meter)
    if indent is not None:
        meter.take_text(meter.take_whole(value) * indent)
    return json_text(value, indent)


def _plain(value: Any, meter: Meter) -> Any:
    """`value` as plain data: tuples, ranges and what filters such as `map` yield become lists."""
    kind = type(value)
    if kind is str:
        meter.take_text(len(value))
        return value
    if kind is bool or kind is float or value is None:
        return value
    if kind is int:
        if abs(value) > LARGEST_NUMBER:
            raise RenderError("it gives a number that no double can hold")
        return value
    meter.take_values(1)
    if kind is list:
        meter.take_values(len(value))
        if not all(type(each) is str for each in value):
            return [_plain(each, meter) for each in value]
        meter.take_text(sum(map(len, value)))
        return value
    if kind is dict or kind is LateMapping:
        meter.take_values(len(value))
        return {key: _plain(each, meter) for key, each in value.items()}
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    if isinstance(value, str):  # Markup of the HTML filters, and what `raw` gives
        return str.__str__(value)
    if isinstance(value, list | tuple | range | Iterator | Generator) and not isinstance(value, LoopContext):
        return [_plain(each, meter) for each in value]
    raise RenderError(f"{kind_in_words(value)} is not a value; name one of its fields")


@pass_context
def _as_text(context: Context, value: Any) -> str:
    """The text of a value inside a longer text."""
    return text_of(_plain(value, meter_of(context)))


@pass_context
def _as_words(context: Context, value: Any) -> str:
    """The shell words of a value.

    Always quoted, also where no character asks for it: a bare `2` before `>`, `if` or `A=b` at the start of a command would be
    read as syntax. No word at all is a space, so that what stands on both sides does not become one word.
    """
    if type(value) is _Raw:
        return value
    value = _plain(value, meter_of(context))
    if isinstance(value, list):
        return " ".join(_quoted(text_of(each)) for each in value) or " "
    return _quoted(text_of(value))


def _quoted(text: str) -> str:
    if "\0" in text:
        raise RenderError("a value holds a NUL byte, which no argument can carry")
    return "'" + text.replace("'", "'\"'\"'") + "'"


@pass_context
def _raw(context: Context, value: Any) -> str:
    return _Raw(_as_text(context, value))


def _environment(finalize: Callable[[Context, Any], str]) -> _Environment:
    # Not optimized: jinja2 would fold `'nan' | float` into code that names a variable `nan`.
    environment = _Environment(
        undefined=_Undefined, keep_trailing_newline=True, autoescape=False, finalize=finalize, optimized=False
    )
    environment.globals = {"range": environment.globals["range"], "dict": dict, "namespace": Namespace}
    del environment.filters["attr"]  # reads Python attributes
    environment.filters["tojson"] = _to_json
    environment.filters["raw"] = _raw if finalize is _as_words else lambda value: value
    environment.filters |= PATH_FILTERS
    environment.filters = metered_filters(environment.filters)
    return environment


_ENVIRONMENTS: dict[TemplateKind, _Environment] = {
    "value": _environment(_as_text),
    "text": _environment(_as_text),
    "shell": _environment(_as_words),
}


def filter_names() -> list[str]:
    """The filters that a template may name."""
    return sorted(_ENVIRONMENTS["text"].filters.keys() - COUNTERS.keys())


# Compiling.


def compile_source(source: str, kind: TemplateKind) -> Template:
    """Check and compile a source that has a placeholder. Raises TemplateError."""
    try:
        return _compiled(source, kind)
    except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError):
        # Of jinja2 and of Python's own compiler below it: a thousand brackets, a number of five thousand digits.
        raise TemplateError("nested too deeply, or a number too large, for a template") from None


def _compiled(source: str, kind: TemplateKind) -> Template:
    # Before jinja2 reads it: it would take this for a comment, and drop it.
    refuse_shell_length(source)
    environment = _ENVIRONMENTS[kind]
    try:
        tree = environment.parse(source)
    except jinja2.TemplateSyntaxError as error:
        where = f"line {error.lineno}: " if "\n" in source.rstrip("\n") else ""
        raise TemplateError(where + " ".join(str(error.message).split()) + other_meaning(source)) from None
    check_tree(tree, source, kind, environment)
    # What the template reads is told by its text alone: needs are known before anything is rendered.
    names = _undeclared(tree, environment)
    jobs, inputs = fields_named(tree)
    # A lone `{{ expr }}` keeps its type: it is compiled to an assignment, whose value is read, and not to text.
    lone = _lone_expression(tree) if kind == "value" else None
    try:
        if lone is not None:
            body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store", lineno=1), lone, lineno=1)]
            tree = nodes.Template(body, lineno=1)
        template = environment.from_string(counted(tree))
    except jinja2.TemplateError as error:
        raise TemplateError(" ".join(str(error.message).split())) from None
    evaluate = (_value_evaluator if lone is not None else _text_evaluator)(template, source)
    path = () if lone is None else _names_in(lone)
    if isinstance(lone, nodes.Name):
        evaluate = _name_evaluator(lone.name, evaluate)
    return Template(source, kind, is_static=False, jobs=jobs, names=names, inputs=inputs, path=path, evaluate=evaluate)


def _undeclared(tree: nodes.Template, environment: _Environment) -> frozenset[str]:
    """The names that the template reads and does not set itself."""
    generator = meta.TrackingCodeGenerator(environment)
    # Not optimized, as above: jinja2 would write what it folds into this very tree.
    generator.optimizer = None
    generator.visit(tree)
    return frozenset(generator.undeclared_identifiers)


def _text_evaluator(template: jinja2.Template, source: str) -> Callable[[Mapping[str, Any]], Any]:
    environment, root = template.environment, template.root_render_func

    def evaluate(context: Mapping[str, Any]) -> str:
        try:
            return "".join(root(_Context(environment, context, None, {})))
        except _DATA_ERRORS as error:
            raise RenderError(_in_words(error, source)) from None

    return evaluate


def _value_evaluator(template: jinja2.Template, source: str) -> Callable[[Mapping[str, Any]], Any]:
    environment, root = template.environment, template.root_render_func

    def evaluate(context: Mapping[str, Any]) -> Any:
        scope = _Context(environment, context, None, {})
        try:
            for _ in root(scope):
                pass
            return _plain(scope.vars["result"], scope.meter)
        except _DATA_ERRORS as error:
            raise RenderError(_in_words(error, source)) from None

    return evaluate


def _name_evaluator(name: str, evaluate: Callable[[Mapping[str, Any]], Any]) -> Callable[[Mapping[str, Any]], Any]:
    """Of `{{ name }}`, as most arguments are: what is text or a number already is not worth an evaluation."""

    def look_up(context: Mapping[str, Any]) -> Any:
        value: Any = context.get(name)
        kind = type(value)
        is_plain = kind is str or (kind is int and abs(value) <= LARGEST_NUMBER)
        return value if is_plain else evaluate(context)

    return look_up


def _lone_expression(tree: nodes.Template) -> nodes.Expr | None:
    match tree.body:
        case [nodes.Output(nodes=[expression])] if not isinstance(expression, nodes.TemplateData):
            return expression
    return None


def _names_in(node: nodes.Node) -> tuple[str, ...]:
    """`a.b["c"]` as its names; empty of what is more than names."""
    match node:
        case nodes.Name():
            return (node.name,)
        case nodes.Getattr(attr=str(name)) | nodes.Getitem(arg=nodes.Const(value=str(name))):
            owner = _names_in(node.node)
            return (*owner, name) if owner else ()
    return ()


# Errors in words.


def _in_words(error: Exception, source: str) -> str:
    if isinstance(error, MemoryError):
        return "it gives more than there is memory for"
    if not isinstance(error, _Missing):
        return " ".join(str(error).split()) or type(error).__name__
    if error.owner is missing:
        return f"{error.name} is undefined"
    path = _path_of(error.name, source)
    # What the owner has instead is what helps: keys, a length, or that it has no fields at all.
    if isinstance(error.owner, dict | LateMapping):
        if isinstance(error.name, str) and hasattr(dict, error.name):
            return f"{path} is undefined: only own keys resolve, never methods; the filter | items gives keys and values"
        keys = ", ".join(str(key) for key in list(error.owner)[:8]) + (", …" if len(error.owner) > 8 else "")
        return f"{path} is undefined: the keys are {keys}" if keys else f"{path} is undefined: the mapping is empty"
    if isinstance(error.name, int):
        return (
            f"{path} is undefined: the length is {len(error.owner)}"
            if hasattr(error.owner, "__len__")
            else f"{path} is undefined"
        )
    return f"{path} is undefined: {kind_in_words(error.owner)} has no field {error.name}"


def _path_of(name: Any, source: str) -> str:
    """`item.title` for `title`, if the source says so once; else the bare name."""
    paths: set[str | None] = set()
    for node in _ENVIRONMENTS["shell"].parse(source).find_all(nodes.Expr):
        match node:
            case nodes.Getattr(attr=last) | nodes.Getitem(arg=nodes.Const(value=last)) if last == name:
                paths.add(_dotted(node))
    return (paths.pop() if len(paths) == 1 else None) or str(name)


def _dotted(node: nodes.Node) -> str | None:
    match node:
        case nodes.Name():
            return node.name
        case nodes.Getattr():
            owner = _dotted(node.node)
            return owner and f"{owner}.{node.attr}"
        case nodes.Getitem(arg=nodes.Const(value=key)):
            owner = _dotted(node.node)
            return owner and f"{owner}[{key!r}]"
    return None
