"""The expressions of a Spec Kit workflow, `{{ steps.test.output.exit_code != 0 }}`, as trees; nothing is evaluated here.

The language has paths (`a.b-c[0].d`), text, numbers, true, false, null, lists, `or`, `and`, `not`, comparisons, `in`, `not in`,
and filters behind `|`, which bind weakest of all. Parentheses have their usual meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from orchestrator.workers.lazy_pattern import lazy_pattern

_LONGEST = 10_000
_DEEPEST = 50

_TOKEN = lazy_pattern(
    r"""\s*(?:
    (?P<text>'[^']*'|"[^"]*")
    |(?P<number>-?\d+(?:\.\d+)?(?![\w.-]))
    |(?P<operator>==|!=|>=|<=|>|<)
    |(?P<path>[A-Za-z_][\w-]*(?:\[\d+\])*(?:\.[\w-]+(?:\[\d+\])*)*)
    |(?P<sign>[|()\[\],])
    )""",
    re.VERBOSE,
)
_PATH_PART = lazy_pattern(r"[\w-]+|\[(\d+)\]")
_FILTERS = {"default": (0, 1), "join": (1, 1), "map": (1, 1), "contains": (1, 1), "from_json": (0, 0)}
_WORDS = ("and", "or", "not", "in")
_CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None, "none": None}

Constant = str | int | float | bool | None
Comparison = Literal["==", "!=", ">", "<", ">=", "<=", "in", "not in"]


class ExpressionError(Exception):
    """A text that is no expression of this language; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Literally:
    """A value as written."""

    value: Constant


@dataclass(frozen=True, slots=True)
class ListOf:
    """`[a, b]`."""

    elements: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Path:
    """`steps.test.output.stdout`: keys as text, places in a list as numbers."""

    parts: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Logic:
    """`a and b and c`, `a or b`."""

    word: Literal["and", "or"]
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`not a`."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class Compare:
    """`a == b`, `a in b`."""

    operator: Comparison
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Filtered:
    """`value | name(argument)`."""

    value: Expression
    name: str
    argument: Expression | None


Expression = Literally | ListOf | Path | Logic | Not | Compare | Filtered


def parse_expression(source: str) -> Expression:
    """The tree of the text between `{{` and `}}`. Raises ExpressionError."""
    if len(source) > _LONGEST:
        raise ExpressionError(f"longer than {_LONGEST} characters")
    return _Parser(_tokens(source)).whole()


def split_template(text: str) -> list[str | Expression | ExpressionError]:
    """The pieces of a text: plain text, and the trees of its placeholders (or the error of one). A `{{` without end is text."""
    # A placeholder that cannot be read is told with its text, and the rest is read all the same.
    pieces: list[str | Expression | ExpressionError] = []
    at = 0
    while (start := text.find("{{", at)) >= 0:
        end = _end_of_placeholder(text, start + 2)
        if end < 0:
            break
        if start > at:
            pieces.append(text[at:start])
        try:
            pieces.append(parse_expression(text[start + 2 : end]))
        except ExpressionError as error:
            pieces.append(ExpressionError(f"{{{{ {' '.join(text[start + 2 : end].split())} }}}}: {error}"))
        at = end + 2
    if at < len(text):
        pieces.append(text[at:])
    return pieces


def paths_parsed_as_json(text: str) -> list[Path]:
    """The paths in a text's placeholders whose values are read as JSON: `a.b | from_json`."""
    found: list[Path] = []
    waiting = [piece for piece in split_template(text) if not isinstance(piece, str | ExpressionError)]
    while waiting:
        match waiting.pop():
            case Filtered(value=Path() as path, name="from_json"):
                found.append(path)
            case Filtered(value=value, argument=argument):
                waiting += [value, *([argument] if argument is not None else [])]
            case Logic(operands=operands) | ListOf(elements=operands):
                waiting += operands
            case Compare(left=left, right=right):
                waiting += [left, right]
            case Not(operand=operand):
                waiting.append(operand)
    return found


def _number(text: str) -> int | float:
    if len(text) > 300:
        raise ExpressionError("a number of too many digits")
    return float(text) if "." in text else int(text)


def _end_of_placeholder(text: str, start: int) -> int:
    """The place of the first `}}` outside of quotes; without one, of the first `}}` at all; -1 without any."""
    quote = ""
    for at in range(start, len(text)):
        if quote:
            quote = "" if text[at] == quote else quote
        elif text[at] in "'\"":
            quote = text[at]
        elif text.startswith("}}", at):
            return at
    return text.find("}}", start)


def _tokens(source: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    at = 0
    source = source.rstrip()
    while at < len(source):
        found = _TOKEN.match(source, at)
        if found is None:
            rest = " ".join(source[at:].split())
            raise ExpressionError(f"cannot be read from {rest[:20]!r} on")
        kind, text = str(found.lastgroup), found[str(found.lastgroup)]
        tokens.append(("word" if kind == "path" and text in _WORDS else kind, text))
        at = found.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def whole(self) -> Expression:
        tree = self.piped()
        if self._at < len(self._tokens):
            raise ExpressionError(f"unexpected {self._tokens[self._at][1]!r}")
        return tree

    def piped(self) -> Expression:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ExpressionError("nested too deeply")
        tree = self._either()
        for _ in range(_DEEPEST):
            if not self._takes("|"):
                break
            tree = self._filter(tree)
        self._depth -= 1
        return tree

    def _filter(self, value: Expression) -> Expression:
        kind, name = self._next()
        if kind != "path" or name not in _FILTERS:
            raise ExpressionError(f"unknown filter {name!r}; there are {', '.join(_FILTERS)}")
        argument = None
        if self._takes("("):
            argument = self.piped()
            self._expect(")")
        least, most = _FILTERS[name]
        if not least <= (argument is not None) <= most:
            raise ExpressionError(f"the filter {name} takes {'an argument' if most else 'no argument'}")
        return Filtered(value, name, argument)

    def _either(self) -> Expression:
        operands = [self._both()]
        while self._takes("or"):
            operands.append(self._both())
        return Logic("or", tuple(operands)) if len(operands) > 1 else operands[0]

    def _both(self) -> Expression:
        operands = [self._negated()]
        while self._takes("and"):
            operands.append(self._negated())
        return Logic("and", tuple(operands)) if len(operands) > 1 else operands[0]

    def _negated(self) -> Expression:
        count = 0
        while self._takes("not"):
            count += 1
        tree = self._compared()
        if count == 0:
            return tree
        return Not(tree) if count % 2 else Not(Not(tree))

    def _compared(self) -> Expression:
        left = self._primary()
        operator = self._comparison()
        if operator is None:
            return left
        tree = Compare(operator, left, self._primary())
        if self._comparison() is not None:
            raise ExpressionError("two comparisons in a row")
        return tree

    def _comparison(self) -> Comparison | None:
        kind, text = self._peek()
        if kind == "operator" or text == "in":
            self._at += 1
            return text  # type: ignore[return-value]
        if text == "not" and self._peek(1)[1] == "in":
            self._at += 2
            return "not in"
        return None

    def _primary(self) -> Expression:
        # A value, a path, or something in brackets.
        kind, text = self._next()
        match kind:
            case "text":
                return Literally(text[1:-1])
            case "number":
                return Literally(_number(text))
            case "path" if text.lower() in _CONSTANTS:
                return Literally(_CONSTANTS[text.lower()])
            case "path":
                parts = _PATH_PART.finditer(text)
                return Path(tuple(int(part[1]) if part[1] is not None else part[0] for part in parts))
        if text == "(":
            tree = self.piped()
            self._expect(")")
            return tree
        if text == "[":
            return self._list()
        raise ExpressionError(f"unexpected {text!r}" if text else "ends too early")

    def _list(self) -> Expression:
        elements: list[Expression] = []
        while not self._takes("]"):
            if self._takes(","):
                continue
            elements.append(self.piped())
            if self._peek()[1] != "]":
                self._expect(",")
        return ListOf(tuple(elements))

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _takes(self, text: str) -> bool:
        kind, found = self._peek()
        if found != text or kind in ("text", "path"):
            return False
        self._at += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._takes(text):
            found = self._peek()[1]
            raise ExpressionError(f"expected {text!r}, got {found!r}" if found else f"{text!r} is missing")
