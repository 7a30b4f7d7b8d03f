"""Turns the trees of Spec Kit's expressions into Jinja2, and its texts into templates.

Where the two languages differ, the Jinja2 does as Spec Kit does: null is empty in a text, `default` replaces null and empty text
only, and text that looks like a number is ordered as a number. `Names` says what a path means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.cli.importing.code import LEAST, MOST, NULL, Code, jobs_of, join_codes, literal, negated, plain_text, quoted
from orchestrator.cli.importing.expressions import (
    Compare,
    Expression,
    ExpressionError,
    Filtered,
    ListOf,
    Literally,
    Logic,
    Not,
    Path,
    split_template,
)


class Results(Protocol):
    """The outputs of several steps or items. In Spec Kit each of them is a mapping; here none is."""

    def whole(self) -> Code:
        """All outputs, as close to Spec Kit's as possible."""

    def each(self, parts: Sequence[str]) -> Code:
        """One field of each, as a list."""


class Names(Protocol):
    """What paths mean at one place of a workflow."""

    def code_of(self, path: Path) -> Code | Results:
        """The value of a path; null for a path that leads nowhere."""

    def parsed(self, path: Path) -> Code | None:
        """The value of `path | from_json`; None if that has no value here."""

    def lost(self, words: str) -> None:
        """Something of an expression could not be carried."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """The expression between `{{` and `}}` of a template."""

    code: Code


class Printer:
    """Prints the expressions of one place, whose names are `names`."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def pieces(self, text: str) -> list[str | Placeholder]:
        """A text's own pieces, and its placeholders as Jinja2. A placeholder that cannot be read is null, and told."""
        pieces: list[str | Placeholder] = []
        for piece in split_template(text):
            match piece:
                case str():
                    pieces.append(piece)
                case ExpressionError():
                    self._names.lost(str(piece))
                    pieces.append(Placeholder(NULL))
                case _:
                    pieces.append(Placeholder(self.code(piece)))
        return pieces

    def value(self, text: str) -> Code:
        """The value of a text: if the text is one placeholder, that placeholder's value; else text."""
        match self.pieces(text.strip()):
            case [Placeholder(code=code)]:
                return code
        codes = [literal(piece) if isinstance(piece, str) else piece.code.without_null() for piece in self.pieces(text)]
        if len(codes) < 2:
            return codes[0] if codes else literal("")
        return Code(f"({' ~ '.join(code.inside(3) for code in codes)})", "text", jobs=jobs_of(codes))

    def text(self, text: str) -> tuple[str, frozenset[str]]:
        """A template that gives text, and the jobs that it names."""
        pieces = self.pieces(text)
        codes = [piece.code for piece in pieces if isinstance(piece, Placeholder)]
        return "".join(map(written, pieces)), jobs_of(codes)

    def truth(self, condition: str | bool) -> Code:
        """A condition."""
        if isinstance(condition, bool) or condition.strip().lower() in ("true", "false"):
            return literal(str(condition).strip().lower() == "true")
        value = self.value(condition)
        return literal(False) if value == NULL else value.truth()

    def code(self, tree: Expression) -> Code:
        """One expression as Jinja2."""
        # A node of the tree is a piece of Jinja2; how tightly it binds goes along, for the parentheses.
        match tree:
            case Literally(value=value):
                return literal(value)
            case ListOf(elements=elements):
                codes = [self.code(element) for element in elements]
                return Code(f"[{', '.join(code.text for code in codes)}]", "list", jobs=jobs_of(codes))
            case Path():
                found = self._names.code_of(tree)
                return found if isinstance(found, Code) else found.whole()
            case Logic(word=word, operands=operands):
                return join_codes(word, [self._operand(each) for each in operands])
            case Not(operand=operand):
                return negated(self._operand(operand))
            case Compare():
                return self._compared(tree)
            case Filtered():
                return self._filtered(tree)

    def _operand(self, tree: Expression) -> Code:
        """An operand of `and`, `or` and `not`: there any text counts as true but the empty one, also the word false."""
        code = self.code(tree)
        if code.kind == "text" and not isinstance(tree, Literally):
            return Code(f"{code.without_null().inside(3)} != ''", "boolean", False, 3, code.jobs)
        return code

    def _compared(self, tree: Compare) -> Code:
        left, right = self.code(tree.left), self.code(tree.right)
        jobs = jobs_of((left, right))
        match tree.operator:
            case "==" | "!=":
                texts = left.inside(3), right.inside(3)
            case "in" | "not in":
                texts = left.inside(3), right.without_null().inside(3)
            case _ if "number" in (left.kind, right.kind):
                # A value that is no number is neither less nor more: it is replaced so that the comparison is false.
                outer = (MOST, LEAST) if "<" in tree.operator else (LEAST, MOST)
                texts = left.ordered(outer[0]), right.ordered(outer[1])
            case _:
                texts = left.inside(3), right.inside(3)
        return Code(f"{texts[0]} {tree.operator} {texts[1]}", "boolean", False, 3, jobs)

    def _filtered(self, tree: Filtered) -> Code:
        # Two filters are no filters here: from_json says how a job's output is read, map may stand for many steps.
        if tree.name == "from_json":
            found = self._names.parsed(tree.value) if isinstance(tree.value, Path) else None
            if found is None:
                self._names.lost("from_json of anything but what a shell step printed")
                return self.code(tree.value)
            return found
        argument = self.code(tree.argument) if tree.argument is not None else literal("")
        if tree.name == "map":
            return self._mapped(tree.value, tree.argument)
        value = self.code(tree.value)
        jobs = jobs_of((value, argument))
        match tree.name:
            case "default":
                return _default(value, argument)
            case "join":
                kept = value.filtered("default([], true)", "list") if value.is_nullable else value
                if kept.kind == "text":
                    return kept
                return Code(f"{kept.inside(3)} | join({argument.text})", "text", jobs=jobs)
            # contains
            case _:
                owner = value.without_null()
                return Code(f"{argument.inside(3)} in {owner.inside(3)}", "boolean", False, 3, jobs)

    def _mapped(self, value: Expression, argument: Expression | None) -> Code:
        if not isinstance(argument, Literally) or not isinstance(argument.value, str) or not argument.value:
            self._names.lost("map with anything but the name of a field")
            return self.code(value)
        if isinstance(value, Path):
            found = self._names.code_of(value)
            if not isinstance(found, Code):
                return found.each(argument.value.split("."))
        code = self.code(value)
        if code.kind not in ("list", "unknown"):
            return Code("[]", "list")  # a value that is no list has no elements with fields
        kept = code.filtered("default([], true)", "list") if code.is_nullable else code
        return kept.filtered(f"map(attribute={quoted(argument.value)}) | list", "list")


def written(piece: str | Placeholder) -> str:
    """A piece of a template that gives text."""
    if isinstance(piece, str):
        return plain_text(piece)
    return "" if piece.code == NULL else f"{{{{ {piece.code.without_null().text} }}}}"


def _default(value: Code, argument: Code) -> Code:
    """`default` as in Spec Kit, where it replaces null and empty text; Jinja2's replaces all that is false, or all undefined."""
    jobs = jobs_of((value, argument))
    kind = value.kind if value.kind == argument.kind else "unknown"
    if value == NULL:
        return argument
    if value.kind in ("text", "list"):
        return Code(f"{value.inside(3)} | default({argument.text}, true)", kind, argument.is_nullable, 4, jobs)
    missing = f"{value.inside(3)} in [none, '']"
    if value.kind == "unknown":
        missing = f"{value.inside(3)} is undefined or {missing}"
    return Code(f"({argument.text} if {missing} else {value.text})", kind, argument.is_nullable, 4, jobs)
