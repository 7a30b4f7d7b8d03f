"""Templates of a jobs file: compiled once, rendered for each attempt (design section 2, "Templates").

This is what a template is; `compiler` makes them, and everything that needs jinja2 is in `sandbox`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import msgspec

from orchestrator.workers.lazy_pattern import lazy_pattern

TemplateKind = Literal["value", "text", "shell"]
"""`value`: a lone `{{ expr }}` keeps its type, all else is text. `text`: always text. `shell`: text, each `{{ }}` quoted."""


class TemplateError(Exception):
    """A template that is refused before anything starts; `args[0]` is one line in words."""


class RenderError(Exception):
    """A template that cannot be rendered with this context; `args[0]` is one line that names what is undefined or wrong."""


class Fields(Protocol):
    """What a template may read of an object that is not plain data, such as `jobs.port`."""

    def template_field(self, name: str) -> Any:
        """The value of the field `name` (plain data). Raises KeyError when there is none of that name."""


_OF_OTHERS = lazy_pattern(r"\$\{\{.{0,80}?\}\}|\{\{-?\s*[.#/^&!>$].{0,80}?\}\}")
_HYPHEN = lazy_pattern(r"\bjobs\.([A-Za-z_][A-Za-z0-9_]*-[A-Za-z0-9_-]*)")


def other_meaning(source: str) -> str:
    """What braces are that make no template, such as `{{.Names}}` of Go and `${{ x }}` of GitHub; to be put behind a message."""
    if found := _OF_OTHERS.search(source):
        return f"; what another tool is to read stands in {{% raw %}}{found[0]}{{% endraw %}}"
    found = _HYPHEN.search(source)
    return f'; a job with a hyphen is jobs["{found[1]}"]' if found else ""


class Template(msgspec.Struct, frozen=True, eq=False):
    """A compiled template.

    `names` are the undeclared top-level names it reads, `jobs` the X of each `jobs.X`, `inputs` the X of each `inputs.X`.
    `path` are the names of a lone `{{ jobs.X.output }}`: ("jobs", "X", "output"); empty of any other expression.
    A static one has no placeholder and renders to its own source; only the others have `evaluate`, which `render` calls.
    """

    source: str
    kind: TemplateKind
    is_static: bool = True
    jobs: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset()
    path: tuple[str, ...] = ()
    evaluate: Callable[[Mapping[str, Any]], Any] | None = None

    def __eq__(self, other: object) -> bool:
        # All else follows from these two.
        return isinstance(other, Template) and (self.source, self.kind) == (other.source, other.kind)

    def __hash__(self) -> int:
        return hash((self.source, self.kind))

    def render(self, context: Mapping[str, Any]) -> Any:
        """The text, or for a lone `{{ expr }}` of kind `value` its value: plain data. Raises RenderError."""
        if self.evaluate is None:
            return self.source
        return self.evaluate(context)
