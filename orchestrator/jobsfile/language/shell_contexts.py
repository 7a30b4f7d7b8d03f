"""What the reader of shell scripts tells apart: marks that stand for parts of the template, and contexts of the shell's reading.

The script comes as one string in which a lone surrogate stands for each placeholder and each edge of a branch.
"""

from __future__ import annotations

import msgspec

PLACEHOLDER = "\ud800"
"""A placeholder that becomes quoted words."""
RAW = "\ud801"
"""A placeholder that opted out of quoting: allowed everywhere, and at its user's risk."""
BRANCH_OPEN, BRANCH_NEXT, BRANCH_CLOSE = "\ud802", "\ud803", "\ud804"
"""Around and between texts of which any number, in any order, may be rendered."""
BRANCHES = BRANCH_OPEN + BRANCH_NEXT + BRANCH_CLOSE


class HereDocument(msgspec.Struct, frozen=True):
    """One that `<<` has announced. `is_quoted`: nothing is expanded in its body."""

    delimiter: str
    strip_tabs: bool
    is_quoted: bool


class Context(msgspec.Struct, frozen=True):
    """One context of the shell's reading. `is_loose`: one that shells read in different ways."""

    kind: str
    is_loose: bool = False


COMMANDS = ("command", "parenthesis")
"""Kinds in which the shell reads a command."""
COMMAND = Context("command")
DOUBLE_QUOTES = Context("double quotes")
ARITHMETIC_EXPRESSION = Context("arithmetic")
ARITHMETIC_PARENTHESIS = Context("arithmetic parenthesis")


class ContextStack(list[Context]):
    """The contexts that are open, the innermost last."""

    def is_command(self) -> bool:
        """Whether the shell reads a command here."""
        return self[-1].kind in COMMANDS

    def is_inside_quotes(self) -> bool:
        """Whether this command stands somewhere inside quotes, `${ }` or arithmetic, so that its end must be found exactly."""
        return self.is_command() and any(each.is_loose or each.kind not in COMMANDS for each in self)

    def is_loose(self) -> bool:
        """Whether these parentheses may be those of `((…))`."""
        for context in reversed(self):
            if context.kind != "parenthesis":
                return False
            if context.is_loose:
                return True
        return False
