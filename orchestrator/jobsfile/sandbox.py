"""The jinja2 side of templates. Imported only when a source has a placeholder.

Promise: an expression reads plain data and calls nothing of it. An attribute is a key lookup; what is not there is an error
that names it in full (`item.title`). In a shell template each `{{ }}` becomes quoted words, exactly once, in a place where
the shell honours our quotes. Refused, because the text could be quoted twice or not at all: macros, blocks and set-blocks in
shell templates, and `raw` anywhere but last.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.runtime import Context, LoopContext, StrictUndefined, Undefined
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import Namespace, missing

from orchestrator.jobsfile import quoting
from orchestrator.jobsfile.templates import Fields, RenderError, TemplateError, TemplateKind
from orchestrator.jobsfile.values import describe, json_text, text_of

_DATA_ERRORS = (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""What evaluating an expression over unsuitable data raises. OSError and our own errors are not among them."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What `templates` keeps of a compiled source."""

    jobs: frozenset[str]
    names: frozenset[str]
    inputs: frozenset[str]
    evaluate: Callable[[Mapping[str, Any]], Any]


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


class _Context(Context):
    """Reads the caller's mapping in place: jinja2 would copy it, merged with the globals, for each render."""

    def resolve_or_missing(self, key: str) -> Any:
        if key in self.vars:
            return self.vars[key]
        if key in self.parent:
            return self.parent[key]
        return self.environment.globals.get(key, missing)


class _Environment(SandboxedEnvironment):
    """Own keys only: no attribute or method of a value is reachable."""

    context_class = _Context

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        kind = type(obj)
        if kind is dict:
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
        elif isinstance(argument, str):
            if isinstance(obj, LoopContext | Namespace):
                return super().getattr(obj, argument)
            if isinstance(obj, tuple) and argument in getattr(obj, "_fields", ()):  # what the filter groupby gives
                return getattr(obj, argument)
            if hasattr(kind, "template_field"):
                fields: Fields = obj
                try:
                    return fields.template_field(argument)
                except KeyError:
                    pass
        return self.undefined(obj=obj, name=argument)


# Rendering of one value.


def _to_json(value: Any, indent: int | None = None) -> str:
    return json_text(_plain(value), indent)


def _plain(value: Any) -> Any:
    """`value` as plain data: tuples, ranges and what filters such as `map` yield become lists."""
    kind = type(value)
    if kind is str or kind is int or kind is bool or kind is float or value is None:
        return value
    if kind is list:
        return value if all(type(each) is str for each in value) else [_plain(each) for each in value]
    if kind is dict:
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Undefined):
        value._fail_with_undefined_error()
    if isinstance(value, str):  # Markup of the HTML filters, and what `raw` gives
        return str.__str__(value)
    if isinstance(value, list | tuple | range | Iterator | Generator) and not isinstance(value, LoopContext):
        return [_plain(each) for each in value]
    raise RenderError(f"{describe(value)} is not a value; name one of its fields")


def _as_text(value: Any) -> str:
    """The text of a value inside a longer text."""
    return value if type(value) is str else text_of(_plain(value))


def _as_words(value: Any) -> str:
    """The shell words of a value.

    Always quoted, also where no character asks for it: a bare `2` before `>`, `if` or `A=b` at the start of a command would be
    read as syntax. No word at all is a space, so that what stands on both sides does not become one word.
    """
    if type(value) is _Raw:
        return value
    if type(value) is not str:
        value = _plain(value)
    if isinstance(value, list):
        return " ".join(_quoted(text_of(each)) for each in value) or " "
    return _quoted(text_of(value))


def _quoted(text: str) -> str:
    if "\0" in text:
        raise RenderError("a value holds a NUL byte, which no argument can carry")
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _raw(value: Any) -> str:
    return _Raw(_as_text(value))


def _environment(finalize: Callable[[Any], Any] | None) -> _Environment:
    environment = _Environment(undefined=_Undefined, keep_trailing_newline=True, autoescape=False, finalize=finalize)
    environment.globals = {"range": environment.globals["range"], "dict": dict, "namespace": Namespace}
    del environment.filters["attr"]  # reads Python attributes
    environment.filters["tojson"] = _to_json
    environment.filters["raw"] = _raw if finalize is _as_words else lambda value: value
    return environment


_ENVIRONMENTS: dict[TemplateKind, _Environment] = {
    "value": _environment(_as_text),
    "text": _environment(_as_text),
    "shell": _environment(_as_words),
}


# Compiling.

_SHELL_LENGTH = re.compile(r"\$\{#")
_RAW_BLOCK = re.compile(r"\{%[-+]?\s*raw\s*-?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}", re.DOTALL)


def compile_source(source: str, kind: TemplateKind) -> Compiled:
    """Raises TemplateError."""
    if _SHELL_LENGTH.search(_RAW_BLOCK.sub("", source)):
        raise TemplateError("{# begins a comment of the template: write {% raw %}${#name}{% endraw %} for a length in the shell")
    environment = _ENVIRONMENTS[kind]
    try:
        tree = environment.parse(source)
    except jinja2.TemplateSyntaxError as error:
        where = f"line {error.lineno}: " if "\n" in source.rstrip("\n") else ""
        raise TemplateError(where + " ".join(str(error.message).split())) from None
    _refuse_statements(tree, kind)
    _refuse_unknown_words(tree, environment)
    if kind == "shell":
        _refuse_misplaced(tree, source, environment)
    names = frozenset(meta.find_undeclared_variables(tree))
    jobs, inputs = _fields_named(tree)
    lone = _lone_expression(tree) if kind == "value" else None
    try:
        if lone is not None:
            body: list[nodes.Node] = [nodes.Assign(nodes.Name("result", "store", lineno=1), lone, lineno=1)]
            template = environment.from_string(nodes.Template(body, lineno=1))
        else:
            template = environment.from_string(tree)
    except jinja2.TemplateError as error:
        raise TemplateError(" ".join(str(error.message).split())) from None
    evaluate = _value_evaluator if lone is not None else _text_evaluator
    return Compiled(jobs, names, inputs, evaluate(template, source))


def _text_evaluator(template: jinja2.Template, source: str) -> Callable[[Mapping[str, Any]], Any]:
    environment, root = template.environment, template.root_render_func

    def evaluate(context: Mapping[str, Any]) -> str:
        try:
            return "".join(root(_Context(environment, context, None, {})))  # type: ignore[arg-type]
        except _DATA_ERRORS as error:
            raise RenderError(_in_words(error, source)) from None

    return evaluate


def _value_evaluator(template: jinja2.Template, source: str) -> Callable[[Mapping[str, Any]], Any]:
    environment, root = template.environment, template.root_render_func

    def evaluate(context: Mapping[str, Any]) -> Any:
        scope = _Context(environment, context, None, {})  # type: ignore[arg-type]
        try:
            for _ in root(scope):
                pass
            return _plain(scope.vars["result"])
        except _DATA_ERRORS as error:
            raise RenderError(_in_words(error, source)) from None

    return evaluate


def _lone_expression(tree: nodes.Template) -> nodes.Expr | None:
    match tree.body:
        case [nodes.Output(nodes=[expression])] if not isinstance(expression, nodes.TemplateData):
            return expression
    return None


_EVERYWHERE_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from … import",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.EvalContextModifier: "autoescape",
}
_SHELL_REFUSED: dict[type[nodes.Node], str] = {
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter",
    nodes.AssignBlock: "set … endset",
}


def _refuse_statements(tree: nodes.Template, kind: TemplateKind) -> None:
    for node in tree.find_all(nodes.Node):
        for refused, word in _EVERYWHERE_REFUSED.items():
            if isinstance(node, refused):
                raise TemplateError(f"{{% {word} %}} is not possible: a template stands alone")
        if isinstance(node, nodes.Name) and node.ctx != "load" and node.name in ("jobs", "inputs"):
            raise TemplateError(f"{node.name} cannot be set: it is a name of the jobs file")
        if kind != "shell":
            continue
        for refused, word in _SHELL_REFUSED.items():
            if isinstance(node, refused):
                raise TemplateError(f"{{% {word} %}} is not possible in a shell template: its text would be quoted twice")
        if isinstance(node, nodes.For) and node.recursive:
            raise TemplateError("a recursive loop is not possible in a shell template: its text would be quoted twice")
    if kind == "shell":
        placed = {id(each) for output in tree.find_all(nodes.Output) for each in output.nodes if is_raw(each)}
        if any(is_raw(each) and id(each) not in placed for each in tree.find_all(nodes.Filter)):
            raise TemplateError("raw must be the last filter of its placeholder: {{ … | raw }}")


def _refuse_misplaced(tree: nodes.Template, source: str, environment: _Environment) -> None:
    try:
        quoting.check_placeholders(_script_of(tree.body))
    except quoting.Misplaced as misplaced:
        placeholder = _placeholders(source, environment)[misplaced.ordinal]
        raise TemplateError(f"{{{{ {placeholder} }}}} {misplaced.words}, or opt out: {{{{ {placeholder} | raw }}}}") from None


def _placeholders(source: str, environment: _Environment) -> list[str]:
    """The text inside each `{{ }}`, in order, as written."""
    texts: list[str] = []
    is_inside = False
    for _, token, text in environment.lex(source):
        if token == "variable_begin":
            texts.append("")
        is_inside = token != "variable_end" and (is_inside or token == "variable_begin")
        if is_inside and token != "variable_begin":
            texts[-1] += text
    return [" ".join(text.split()) for text in texts]


def _script_of(body: list[nodes.Node]) -> str:
    """The script with a mark for each placeholder and branch, in the order of the source, as `quoting` reads it."""
    parts: list[str] = []
    for node in body:
        match node:
            case nodes.Output():
                for each in node.nodes:
                    if isinstance(each, nodes.TemplateData):
                        parts.append(each.data)
                    else:
                        parts.append(quoting.RAW if is_raw(each) else quoting.PLACEHOLDER)
            case nodes.If():
                branches = [node.body, *(each.body for each in node.elif_), node.else_]
                parts.append(_branches(branches))
            case nodes.For():
                parts.append(_branches([node.body, node.else_]))
            case nodes.With():
                parts.append(_script_of(node.body))
    return "".join(parts)


def _branches(bodies: list[list[nodes.Node]]) -> str:
    return quoting.BRANCH_OPEN + quoting.BRANCH_NEXT.join(_script_of(body) for body in bodies) + quoting.BRANCH_CLOSE


def is_raw(expression: nodes.Node) -> bool:
    """Whether a placeholder opts out of quoting."""
    return isinstance(expression, nodes.Filter) and expression.name == "raw"


def _refuse_unknown_words(tree: nodes.Template, environment: _Environment) -> None:
    """jinja2 itself tells an unknown filter inside an `if` only when it is rendered."""
    for node in tree.find_all((nodes.Filter, nodes.Test)):
        word, known = ("filter", environment.filters) if isinstance(node, nodes.Filter) else ("test", environment.tests)
        name = node.name
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise TemplateError(f"unknown {word} {name}" + (f"; did you mean {near[0]}?" if near else ""))


def _fields_named(tree: nodes.Template) -> tuple[frozenset[str], frozenset[str]]:
    """The X of each `jobs.X` and `inputs.X`. Raises TemplateError for a job that is not named literally."""
    found: dict[str, set[str]] = {"jobs": set(), "inputs": set()}
    literal: set[int] = set()
    for node in tree.find_all(nodes.Expr):
        match node:
            case nodes.Getattr(node=nodes.Name() as owner, attr=str(field)) if owner.name in found:
                pass
            case nodes.Getitem(node=nodes.Name() as owner, arg=nodes.Const(value=str(field))) if owner.name in found:
                pass
            case _:
                continue
        found[owner.name].add(field)
        literal.add(id(owner))
    for name in tree.find_all(nodes.Name):
        if name.name == "jobs" and name.ctx == "load" and id(name) not in literal:
            raise TemplateError("name the job literally: jobs.ID or jobs['ID']")
    return frozenset(found["jobs"]), frozenset(found["inputs"])


# Errors in words.


def _in_words(error: Exception, source: str) -> str:
    if not isinstance(error, _Missing):
        return " ".join(str(error).split()) or type(error).__name__
    if error.owner is missing:
        return f"{error.name} is undefined"
    path = _path_of(error.name, source)
    if isinstance(error.owner, dict):
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
    return f"{path} is undefined: {describe(error.owner)} has no field {error.name}"


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
