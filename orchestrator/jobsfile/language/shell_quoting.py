"""Where the placeholders of a shell script stand: refuses each one whose quoting the script itself would undo.

Each placeholder becomes words in single quotes. That holds only where the shell reads a command: not inside quotes, a
here-document, a comment, backticks, `${ }` or arithmetic, nor right after `$` or a backslash.

Promise: if `check_placeholders` returns, then no text value changes how any POSIX shell splits the script.
Invariant: before each step the stack of contexts is what the shell's own is at that character, in every shell and on every
path through `{% if %}` and `{% for %}`; so a branch must end in the context it began in.
Not handled, hence refused: whatever shells read in different ways (a `'` inside `"${ }"`, `case` inside `"$( )"`, `$'\\''`).
What a command or an arithmetic expression then does with the text (`eval`; `$((x))` in bash) is outside. What follows the
last placeholder is not looked at.

The script comes as one string in which a lone surrogate stands for each placeholder and each edge of a branch.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

PLACEHOLDER = "\ud800"
"""A placeholder that becomes quoted words."""
RAW = "\ud801"
"""A placeholder that opted out of quoting: allowed everywhere, and at its user's risk."""
BRANCH_OPEN, BRANCH_NEXT, BRANCH_CLOSE = "\ud802", "\ud803", "\ud804"
"""Around and between texts of which any number, in any order, may be rendered."""
_BRANCHES = BRANCH_OPEN + BRANCH_NEXT + BRANCH_CLOSE

_CASE = re.compile(r"c(?:\\\n)*a(?:\\\n)*s(?:\\\n)*e(?![\w.\-=/+:,%@$'\"`{}\[\]*?~!#^])")
_SYNTAX = "'\"`()\\"
_SPECIAL_PARAMETERS = "$#?!@*-0123456789"

_QUOTES = "our quotes would be undone: remove the quotes around it"
_COMMENT = "stands in a comment, which a line break in the value would end: take it out of there"
_HERE_DOCUMENT = "stands in a here-document, where our quotes are mere text: pass the value by stdin or env"
_BACKTICKS = "stands inside `…`, where quotes do not hold: write $(…)"
_PARAMETER = "stands inside ${…}, where quotes do not always hold: put it into a shell variable first"
_ARITHMETIC = "stands inside arithmetic, where quotes have no effect: put | int before | raw"


class Misplaced(Exception):
    """The placeholder number `ordinal` (RAW ones count, from 0) may not stand where it does; `words` is why, and what to do."""

    def __init__(self, ordinal: int, words: str) -> None:
        super().__init__(words)
        self.ordinal = ordinal
        self.words = words


class _HereDocument(NamedTuple):
    delimiter: str
    strip_tabs: bool
    is_quoted: bool


class _Context(NamedTuple):
    """One context of the shell's reading. `is_loose`: one that shells read in different ways."""

    kind: str
    is_loose: bool = False


_COMMANDS = ("command", "parenthesis")
_COMMAND = _Context("command")
_DOUBLE_QUOTES = _Context("double quotes")
_ARITHMETIC_EXPRESSION = _Context("arithmetic")
_ARITHMETIC_PARENTHESIS = _Context("arithmetic parenthesis")


def check_placeholders(script: str) -> None:
    """Raises Misplaced for the first placeholder whose value could be read as syntax, or where we cannot be sure."""
    _Scanner(script).scan()


class _Scanner:
    def __init__(self, script: str) -> None:
        self.script = script
        self.at = 0
        self.end = script.rfind(PLACEHOLDER) + 1
        self.stack = [_COMMAND]
        self.here_documents: list[tuple[_HereDocument, ...]] = [()]
        """Announced and not yet begun, for each command in the stack."""
        self.branches: list[tuple[tuple[_Context, ...], tuple[tuple[_HereDocument, ...], ...]]] = []
        self.starts_word: bool | None = True
        """Whether a `#` here begins a comment; None: that depends on what is rendered."""
        self.readers = {
            "command": self.read_command,
            "parenthesis": self.read_command,
            "double quotes": self.read_double_quotes,
            "here-document": self.read_double_quotes,
            "parameter": self.read_parameter,
            "arithmetic": self.read_arithmetic,
            "arithmetic parenthesis": self.read_arithmetic,
        }

    def scan(self) -> None:
        while self.at < len(self.script) and (self.at < self.end or self.branches):
            character = self.script[self.at]
            if character in _BRANCHES:
                self.cross_branch(character)
            elif character == RAW:
                self.at += 1
                self.starts_word = None
            else:
                self.readers[self.stack[-1].kind](character)

    # Refusing.

    def refuse(self, words: str, at: int | None = None) -> NoReturn:
        """Refuse the placeholder that stands at `at`, or comes first after it."""
        found = self.script.find(PLACEHOLDER, self.at if at is None else at)
        if found < 0:  # an open branch: its loop comes back to the last placeholder
            found = self.end - 1
        before = self.script[:found]
        raise Misplaced(before.count(PLACEHOLDER) + before.count(RAW), words)

    def doubt(self, what: str) -> NoReturn:
        self.refuse(
            f"comes after {what}, which not every shell reads alike: put it into a shell variable at the top of the script"
        )

    def pass_literal(self, end: int, words: str) -> None:
        """Go to `end` over text that the shell takes as it is. `words`: why no placeholder may stand in it."""
        found = self.script.find(PLACEHOLDER, self.at, end)
        if found >= 0:
            self.refuse(words, found)
        depth = 0
        for character in self.script[self.at : end]:
            if character in _BRANCHES:
                depth += {BRANCH_OPEN: 1, BRANCH_NEXT: 0, BRANCH_CLOSE: -1}[character]
                if depth < (character == BRANCH_NEXT):
                    self.doubt("a {% %} that cuts quoted text or a comment")
        if depth:
            self.doubt("a {% %} that cuts quoted text or a comment")
        self.at = end

    def find(self, wanted: str, start: int, what: str) -> int:
        found = self.script.find(wanted, start)
        if found < 0:
            self.doubt(f"{what} without an end")
        return found

    # Branches of the template.

    def cross_branch(self, character: str) -> None:
        state = (tuple(self.stack), tuple(self.here_documents))
        if self.is_inside_quotes():
            self.doubt('a {% %} inside "$(…)"')
        if character == BRANCH_OPEN:
            self.branches.append(state)
        elif self.branches[-1] != state:
            self.doubt("a {% %} branch that opens or closes quotes")
        if character == BRANCH_CLOSE:
            self.branches.pop()
        self.at += 1
        self.starts_word = None

    def is_inside_quotes(self) -> bool:
        """Whether this command stands somewhere inside quotes, `${ }` or arithmetic, so that its end must be found exactly."""
        return self.is_command() and any(each.is_loose or each.kind not in _COMMANDS for each in self.stack)

    def is_command(self) -> bool:
        return self.stack[-1].kind in _COMMANDS

    # Commands.

    def read_command(self, character: str) -> None:
        if self.is_loose() and character in "'\"#\\`":
            self.doubt("quotes, a backslash or # inside ((…))")
        match character:
            case " " | "\t" | ";" | "&" | "|" | ">":
                self.at += 1
                self.starts_word = True
            case "\n":
                self.at += 1
                self.starts_word = True
                self.pass_here_documents()
            case "\\":
                self.read_backslash()
            case "'":
                self.at += 1
                self.pass_literal(self.find("'", self.at, "a single quote"), f"stands inside '…'; {_QUOTES}")
                self.step_in_word()
            case '"':
                self.stack.append(_DOUBLE_QUOTES)
                self.at += 1
            case "#":
                self.read_hash()
            case "$" | "`":
                self.read_expansion(character)
            case "(" | ")":
                self.read_parenthesis(character)
            case "<":
                self.read_less_than()
            case _:
                self.read_word(character)

    def read_word(self, character: str) -> None:
        if character == PLACEHOLDER:
            if self.is_loose():
                self.refuse(_ARITHMETIC)
            self.at += 1
            self.starts_word = None  # an empty list gives no word
            return
        if character == "c" and self.starts_word is not False and self.is_inside_quotes() and _CASE.match(self.script, self.at):
            self.doubt('case inside "$(…)"')
        self.step_in_word()

    def step_in_word(self) -> None:
        self.at += 1
        self.starts_word = False

    def is_loose(self) -> bool:
        for context in reversed(self.stack):
            if context.kind != "parenthesis":
                return False
            if context.is_loose:
                return True
        return False

    def read_backslash(self) -> None:
        after = self.script[self.at + 1 : self.at + 2]
        if after == PLACEHOLDER:
            self.refuse("stands right after a backslash, which would undo our quotes", self.at + 1)
        if after and after in _BRANCHES:
            self.doubt("a backslash before {% %}")
        self.at += 1 if after == RAW else 2
        if after != "\n":
            self.starts_word = False

    def read_hash(self) -> None:
        if self.starts_word is None:
            self.doubt("a # that may or may not begin a comment")
        if self.starts_word:
            newline = self.script.find("\n", self.at)
            end = len(self.script) if newline < 0 else newline
            if len(self.stack) > 1 and any(each in self.script[self.at : end] for each in _SYNTAX):
                self.doubt("a comment with quotes or parentheses inside $(…)")  # bash 3.2 takes them for syntax
            self.pass_literal(end, _COMMENT)
        else:
            self.at += 1

    def read_parenthesis(self, character: str) -> None:
        self.at += 1
        self.starts_word = True
        if character == "(":
            self.stack.append(_Context("parenthesis", is_loose=self.script.startswith("(", self.at)))
        elif self.stack[-1].kind == "parenthesis":
            self.stack.pop()
        elif len(self.stack) > 1:
            if self.here_documents.pop():
                self.doubt("a here-document that begins after the end of its $(…)")
            self.stack.pop()
            self.starts_word = None  # this may as well have been the pattern of a case: the context is a command's either way

    # Here-documents.

    def read_less_than(self) -> None:
        if self.script[self.at + 1 : self.at + 2] in tuple(_BRANCHES):
            self.doubt("a < before {% %}")
        if self.script.startswith("<<<", self.at):
            self.at += 3
        elif self.script.startswith("<<", self.at):
            if self.is_loose():
                self.doubt("<< inside ((…))")
            self.at += 2
            self.here_documents[-1] += (self.read_here_document(),)
            self.starts_word = False
            return
        else:
            self.at += 1
        self.starts_word = True

    def read_here_document(self) -> _HereDocument:
        strip_tabs = self.script.startswith("-", self.at)
        self.at += strip_tabs
        while self.script.startswith((" ", "\t"), self.at):
            self.at += 1
        part = re.compile(r"""'([^'\n]*)'|"([^"\n$`\\]*)"|\\([^\n])|([^\s;&|<>()'"\\$`]+)""")
        delimiter, is_quoted = "", False
        while match := part.match(self.script, self.at):
            delimiter += "".join(group or "" for group in match.groups())
            is_quoted |= match[4] is None
            self.at = match.end()
        if any(character in _BRANCHES + PLACEHOLDER + RAW for character in delimiter):
            self.doubt("a here-document whose delimiter is not fixed")
        after = self.script[self.at : self.at + 1]
        if not delimiter or (after and after not in " \t\n;&|<>()"):
            self.doubt("a here-document with an unusual delimiter")
        return _HereDocument(delimiter, strip_tabs, is_quoted)

    def pass_here_documents(self) -> None:
        """A line of commands has ended: what it announced begins here."""
        if any(self.here_documents[:-1]):
            self.doubt("a here-document whose line goes on inside $(…)")
        for document in self.here_documents[-1]:
            self.pass_here_document(document)
        self.here_documents[-1] = ()

    def pass_here_document(self, document: _HereDocument) -> None:
        begin = self.at
        while True:
            if self.at >= len(self.script):
                self.at = begin
                self.refuse(_HERE_DOCUMENT)
            newline = self.script.find("\n", self.at)
            line_end = len(self.script) if newline < 0 else newline
            line = self.script[self.at : line_end]
            if (line.lstrip("\t") if document.strip_tabs else line) == document.delimiter:
                break
            if PLACEHOLDER in line:
                self.refuse(_HERE_DOCUMENT)
            if any(each in line for each in _BRANCHES):
                self.doubt("a {% %} inside a here-document")
            self.at = line_end + 1
        body = self.script[begin : self.at]
        if len(self.stack) > 1 and any(each in body for each in _SYNTAX):
            self.doubt("a here-document with quotes or parentheses inside $(…)")  # bash 3.2, again
        if not document.is_quoted:
            self.check_body(body)
        self.at = min(line_end + 1, len(self.script))

    def check_body(self, body: str) -> None:
        """Some shells look for the delimiter only outside the expansions of an unquoted body: be sure that all are closed."""
        if body.endswith("\\\n"):
            self.doubt("a here-document whose last line ends in a backslash")
        inner = _Scanner(body)
        inner.stack = [_Context("here-document")]
        inner.end = len(body)
        try:
            inner.scan()
        except Misplaced:
            self.doubt("a here-document with unusual expansions")
        if len(inner.stack) > 1:
            self.doubt("a here-document with an expansion that is not closed")

    # Quotes, expansions, arithmetic.

    def read_double_quotes(self, character: str) -> None:
        if character == PLACEHOLDER:
            self.refuse(f'stands inside "…"; {_QUOTES}')
        if character == "\n":
            self.refuse_newline()
            self.at += 1
        elif character == '"' and self.stack[-1] is _DOUBLE_QUOTES:
            self.stack.pop()
            self.step_in_word()
        elif character == "\\":
            self.skip_escaped()
        elif character in "$`":
            self.read_expansion(character)
        else:
            self.at += 1

    def refuse_newline(self) -> None:
        if any(self.here_documents):
            self.doubt("a here-document whose line goes on inside quotes")

    def skip_escaped(self) -> None:
        """A backslash and what it escapes; a placeholder there is left for its context to refuse."""
        after = self.script[self.at + 1 : self.at + 2]
        if after and after in _BRANCHES:
            self.doubt("a backslash before {% %}")
        self.at += 1 if after in (PLACEHOLDER, RAW) else 2

    def read_expansion(self, character: str) -> None:
        if character == "`":
            self.pass_backticks()
            return
        is_command = self.is_command()
        after = self.script[self.at + 1 : self.at + 2]
        if after == PLACEHOLDER and is_command:
            self.refuse("stands right after a $, which would change how our quotes are read", self.at + 1)
        if (after and after in _BRANCHES) or self.script.startswith("\\\n", self.at + 1):
            self.doubt("a $ before {% %} or the end of a line")
        if after == "(":
            self.open_substitution()
        elif after == "{":
            above = self.stack[-1]
            is_loose = above.is_loose if above.kind == "parameter" else not is_command
            self.stack.append(_Context("parameter", is_loose=is_loose or above.is_loose))
            self.at += 2
        elif after == "'" and is_command:
            self.pass_dollar_quote()
        else:
            self.at += 2 if after and after in _SPECIAL_PARAMETERS else 1
            self.starts_word = False

    def open_substitution(self) -> None:
        self.at += 2
        if self.script[self.at : self.at + 1] in tuple(_BRANCHES):
            self.doubt("a $( before {% %}")
        if self.script.startswith("(", self.at):
            self.stack.append(_ARITHMETIC_EXPRESSION)
            self.at += 1
        else:
            self.stack.append(_COMMAND)
            self.here_documents.append(())
            self.starts_word = True

    def pass_dollar_quote(self) -> None:
        """`$'…'`: with escapes in some shells, without in others."""
        self.at += 2
        end = self.find("'", self.at, "a single quote")
        with_escapes = re.compile(r"(?:[^'\\]|\\.)*", re.DOTALL).match(self.script, self.at)
        if with_escapes is None or with_escapes.end() != end:
            self.doubt(r"$'…' with \' in it")
        self.pass_literal(end, f"stands inside $'…'; {_QUOTES}")
        self.step_in_word()

    def pass_backticks(self) -> None:
        self.at += 1
        inside = re.compile(r"(?:[^`\\]|\\.)*", re.DOTALL).match(self.script, self.at)
        end = inside.end() if inside else self.at
        found = self.script.find(PLACEHOLDER, self.at, end)
        if found >= 0:
            self.refuse(_BACKTICKS, found)
        if end >= len(self.script):
            self.doubt("a backtick without an end")
        text = self.script[self.at : end]
        outside_quotes = re.sub(r"""'[^']*'|"(?:[^"\\]|\\[^\n])*"|\\.""", "", text, flags=re.DOTALL)
        is_plain = not any(each in outside_quotes for each in "'\"#") and not any(each in text for each in _BRANCHES)
        if not is_plain or (len(self.stack) > 1 and any(each in text for each in "'\"\\")):
            self.doubt("quotes, # or {% %} inside `…`")
        if "\n" in text:
            self.refuse_newline()
        self.at = end
        self.step_in_word()

    def read_parameter(self, character: str) -> None:
        match character:
            case "\ud800":
                self.refuse(_PARAMETER)
            case "}":
                self.stack.pop()
                self.step_in_word()
            case "\\":
                self.skip_escaped()
            case "'" | '"':
                self.read_quotes_in_parameter(character)
            case "$" | "`":
                self.read_expansion(character)
            case "\n":
                self.refuse_newline()
                self.at += 1
            case _:
                self.at += 1

    def read_quotes_in_parameter(self, quote: str) -> None:
        if not self.stack[-1].is_loose and quote == '"':
            self.stack.append(_DOUBLE_QUOTES)
            self.at += 1
            return
        self.at += 1
        end = self.find(quote, self.at, "a quote")
        if self.stack[-1].is_loose and any(each in self.script[self.at : end] for each in "}$`\\'\"{\n"):
            self.doubt('quotes inside "${…}"')
        self.pass_literal(end, _PARAMETER)
        self.at += 1

    def read_arithmetic(self, character: str) -> None:
        match character:
            case "\ud800":
                self.refuse(_ARITHMETIC)
            case "'" | '"' | "\\":
                self.doubt("quotes or a backslash inside $((…))")
            case "\n":
                self.refuse_newline()
                self.at += 1
            case "#" if self.script[self.at - 1].isspace():
                self.doubt("# inside $((…))")
            case "$" | "`":
                self.read_expansion(character)
            case "(":
                self.stack.append(_ARITHMETIC_PARENTHESIS)
                self.at += 1
            case ")":
                if self.stack.pop() is _ARITHMETIC_EXPRESSION:
                    if not self.script.startswith("))", self.at):
                        self.doubt("$(( that does not end in ))")
                    self.at += 1
                self.step_in_word()
            case _:
                self.at += 1
