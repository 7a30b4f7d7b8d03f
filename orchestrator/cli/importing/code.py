"""Jinja2 expressions that a translation makes, each with what is known of its value, combined with the right parentheses."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.workers.lazy_pattern import lazy_pattern

Kind = Literal["text", "number", "boolean", "list", "unknown"]
Level = Literal[0, 1, 2, 3, 4]
"""How tightly the outermost operator binds: or, and, not, a comparison, all else."""

MOST, LEAST = "9e99", "-9e99"
"""A number above, and one below, all numbers that a workflow compares with."""

_NAME = lazy_pattern(r"[A-Za-z_][A-Za-z0-9_]*")
_TEMPLATE_SIGN = lazy_pattern(r"\{[{%#]")


@dataclass(frozen=True, slots=True)
class Code:
    """`text` is an expression without its braces. `jobs`: the jobs that it names. `is_nullable`: it may be null."""

    text: str
    kind: Kind = "unknown"
    is_nullable: bool = False
    level: Level = 4
    jobs: frozenset[str] = frozenset()

    def inside(self, level: Level) -> str:
        """The text as an operand of an operator that binds as tightly as `level`."""
        return self.text if self.level > level else f"({self.text})"

    def filtered(self, filter_: str, kind: Kind) -> Code:
        """`self | filter`."""
        return replace(self, text=f"{self.inside(3)} | {filter_}", kind=kind, is_nullable=False, level=4)

    def without_null(self) -> Code:
        """The value, or empty text if it is null: that is what Spec Kit puts into a text."""
        if not self.is_nullable:
            return self
        if self.kind == "text":
            return self.filtered("default('', true)", "text")
        return replace(self, text=f"('' if {self.inside(3)} is none else {self.text})", is_nullable=False, level=4)

    def truth(self) -> Code:
        """True or false, as Spec Kit takes the value for a condition."""
        if self.kind == "boolean" and not self.is_nullable:
            return self
        if self.kind == "text":
            text = f"{self.without_null().inside(3)} | trim | lower not in ['', 'false']"
            return replace(self, text=text, kind="boolean", is_nullable=False, level=3)
        return replace(self, text=f"not not {self.inside(2)}", kind="boolean", is_nullable=False, level=2)

    def ordered(self, otherwise: str) -> str:
        """An operand of <: text that looks like a number counts as that number, and `otherwise` replaces any other value."""
        if self.kind == "number" and not self.is_nullable:
            return self.inside(3)
        is_number_likely = self.kind == "unknown" and not self.is_nullable
        return f"{self.inside(3)} | float" + ("" if is_number_likely else f"({otherwise})")


def literal(value: str | int | float | bool | None) -> Code:
    """A value as Jinja2 writes it."""
    match value:
        case None:
            return Code("none", is_nullable=True)
        case bool():
            return Code("true" if value else "false", "boolean")
        case str():
            return Code(quoted(value), "text")
        case float() if not math.isfinite(value):
            return Code(MOST if value > 0 else LEAST, "number")  # Jinja2 has no word for infinity
        case _:
            return Code(repr(value), "number")


NULL = literal(None)


def quoted(text: str) -> str:
    """Text between single quotes."""
    text = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{text}'"


def field_of(owner: str, parts: Iterable[str | int]) -> str:
    """`owner.a['b-c'][0]`."""
    for part in parts:
        plain = isinstance(part, str) and _NAME.fullmatch(part)
        owner += f".{part}" if plain else f"[{quoted(part) if isinstance(part, str) else part}]"
    return owner


def jobs_of(codes: Iterable[Code]) -> frozenset[str]:
    """All jobs that several expressions name."""
    return frozenset().union(*(code.jobs for code in codes))


def join_codes(word: Literal["and", "or"], codes: Iterable[Code]) -> Code:
    """`a and b and c`, as true or false. A single expression is itself."""
    parts = list(codes)
    if len(parts) == 1:
        return parts[0].truth()
    level: Level = 1 if word == "and" else 0
    text = f" {word} ".join(part.inside(level) for part in parts)
    are_booleans = all(part.kind == "boolean" and not part.is_nullable for part in parts)
    return Code(text, "boolean" if are_booleans else "unknown", False, level, jobs_of(parts)).truth()


def negated(code: Code) -> Code:
    """`not code`."""
    truth = code if code.kind != "text" else code.truth()
    return Code(f"not {truth.inside(1)}", "boolean", False, 2, code.jobs)


def plain_text(text: str) -> str:
    """A template that gives `text` back as it is, also if it has signs of a template in it."""
    return _TEMPLATE_SIGN.sub(lambda found: f"{{% raw %}}{found[0]}{{% endraw %}}", text)
