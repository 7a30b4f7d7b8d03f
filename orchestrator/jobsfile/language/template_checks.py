"""What a template that jinja2 can parse may still not say: told before anything starts, each in one line.

Refused everywhere: other templates, unknown filters and tests, jobs that are not named literally. Refused in a shell template,
because text would be quoted twice or not at all: macros, set-blocks, recursive loops, `raw` anywhere but last, and placeholders
in a place where the shell does not honour our quotes (`shell_quoting`).
"""

from __future__ import annotations

import math

import jinja2
from jinja2 import nodes

from orchestrator.jobsfile.language.shell_contexts import BRANCH_CLOSE, BRANCH_NEXT, BRANCH_OPEN, PLACEHOLDER, RAW
from orchestrator.jobsfile.language.shell_quoting import Misplaced, check_placeholders
from orchestrator.jobsfile.language.suggestions import did_you_mean
from orchestrator.jobsfile.language.template import TemplateError, TemplateKind
from orchestrator.workers.lazy_pattern import lazy_pattern

_SHELL_LENGTH = lazy_pattern(r"\$\{#")
_RAW_MARK = lazy_pattern(r"\{%[-+]?\s*(?:(raw)\s*-?|endraw\s*[-+]?)%\}")

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


def refuse_shell_length(source: str) -> None:
    """Raises TemplateError for a `${#` that jinja2 would take for a comment, and drop."""
    if _SHELL_LENGTH.search(source) and _SHELL_LENGTH.search(_outside_raw(source)):
        raise TemplateError("{# begins a comment of the template: write {% raw %}${#name}{% endraw %} for a length in the shell")


def _outside_raw(source: str) -> str:
    """`source` without its raw blocks, gone through once: a pattern for a whole block looks for the end of each beginning."""
    kept: list[str] = []
    at, begun = 0, None
    for mark in _RAW_MARK.finditer(source):
        if begun is None and mark[1]:
            begun = mark.start()
        elif begun is not None and not mark[1]:
            kept.append(source[at:begun])
            at, begun = mark.end(), None
    return "".join(kept) + source[at:]


def check_tree(tree: nodes.Template, source: str, kind: TemplateKind, environment: jinja2.Environment) -> None:
    """Raises TemplateError."""
    _refuse_statements(tree, kind)
    _refuse_unknown_words(tree, environment)
    if kind == "shell":
        _refuse_misplaced(tree, source, environment)


def _refuse_statements(tree: nodes.Template, kind: TemplateKind) -> None:
    """Refuse what reaches beyond the template and, in a shell template, what would have its text quoted twice."""
    for node in tree.find_all(nodes.Node):
        for refused, word in _EVERYWHERE_REFUSED.items():
            if isinstance(node, refused):
                raise TemplateError(f"{{% {word} %}} is not possible: a template stands alone")
        # jinja2 would take it for a variable `inf`.
        if isinstance(node, nodes.Const) and isinstance(node.value, float) and not math.isfinite(node.value):
            raise TemplateError("a number in it is too large")
        # Its own `jobs` would hide ours, and what the template names could not be told from its text.
        if isinstance(node, nodes.Name) and node.ctx != "load" and node.name in ("jobs", "inputs"):
            raise TemplateError(f"{node.name} cannot be set: it is a name of the jobs file")
        if kind != "shell":
            continue
        for refused, word in _SHELL_REFUSED.items():
            if isinstance(node, refused):
                raise TemplateError(f"{{% {word} %}} is not possible in a shell template: its text would be quoted twice")
        if isinstance(node, nodes.For) and node.recursive:
            raise TemplateError("a recursive loop is not possible in a shell template: its text would be quoted twice")
    # `raw` marks a text as not to be quoted; any filter behind it would make another text of it, without the mark.
    if kind == "shell":
        placed = {id(each) for output in tree.find_all(nodes.Output) for each in output.nodes if _is_raw(each)}
        if any(_is_raw(each) and id(each) not in placed for each in tree.find_all(nodes.Filter)):
            raise TemplateError("raw must be the last filter of its placeholder: {{ … | raw }}")


def _refuse_misplaced(tree: nodes.Template, source: str, environment: jinja2.Environment) -> None:
    try:
        check_placeholders(_script_of(tree.body))
    except Misplaced as misplaced:
        placeholder = _placeholders(source, environment)[misplaced.ordinal]
        raise TemplateError(f"{{{{ {placeholder} }}}} {misplaced.words}, or opt out: {{{{ {placeholder} | raw }}}}") from None


def _placeholders(source: str, environment: jinja2.Environment) -> list[str]:
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
    """The script with a mark for each placeholder and branch, in the order of the source, as `shell_reader` reads it."""
    parts: list[str] = []
    for node in body:
        match node:
            # A literal is the script's own; all else becomes words, or opts out of that.
            case nodes.Output():
                for each in node.nodes:
                    if isinstance(each, nodes.TemplateData):
                        parts.append(each.data)
                    else:
                        parts.append(RAW if _is_raw(each) else PLACEHOLDER)
            # Which branch is rendered, and how often, is not known: the reader takes any number of them in any order.
            case nodes.If():
                branches = [node.body, *(each.body for each in node.elif_), node.else_]
                parts.append(_branches(branches))
            case nodes.For():
                parts.append(_branches([node.body, node.else_]))
            case nodes.With():
                parts.append(_script_of(node.body))
    return "".join(parts)


def _branches(bodies: list[list[nodes.Node]]) -> str:
    return BRANCH_OPEN + BRANCH_NEXT.join(_script_of(body) for body in bodies) + BRANCH_CLOSE


def _is_raw(expression: nodes.Node) -> bool:
    """Whether a placeholder opts out of quoting."""
    return isinstance(expression, nodes.Filter) and expression.name == "raw"


def _refuse_unknown_words(tree: nodes.Template, environment: jinja2.Environment) -> None:
    """jinja2 itself tells an unknown filter inside an `if` only when it is rendered."""
    for node in tree.find_all((nodes.Filter, nodes.Test)):
        word, known = ("filter", environment.filters) if isinstance(node, nodes.Filter) else ("test", environment.tests)
        name = node.name
        if name not in known:
            raise TemplateError(f"unknown {word} {name}{did_you_mean(name, known)}")


def fields_named(tree: nodes.Template) -> tuple[frozenset[str], frozenset[str]]:
    """The X of each `jobs.X` and `inputs.X`. Raises TemplateError for a job that is not named literally."""
    found: dict[str, set[str]] = {"jobs": set(), "inputs": set()}
    literal: set[int] = set()
    # `jobs.port` and `jobs["port"]` are the same; anything else that is done with `jobs` names nothing that could be read.
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
    # What a template needs must be known before it is rendered: `jobs[x]` would be a need that nobody sees.
    for name in tree.find_all(nodes.Name):
        if name.name == "jobs" and name.ctx == "load" and id(name) not in literal:
            raise TemplateError("name the job literally: jobs.ID or jobs['ID']")
    return frozenset(found["jobs"]), frozenset(found["inputs"])
