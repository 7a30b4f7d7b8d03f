"""Reads a shell script as every POSIX shell does, up to its last placeholder: in which context each placeholder stands.

Promise: if `scan` returns, each placeholder stands where the shell reads a command, in every POSIX shell and whichever branches
of the template are rendered.
Invariant: before each step the stack of contexts is what the shell's own is at that character, in every shell and on every path
through `{% if %}` and `{% for %}`.
It refuses what shells read in different ways: a `'` inside `"${ }"`, `case` inside `"$( )"`, `$'\\''`. Such text may stand in a
script; only no placeholder may come after it, for nobody knows in which context that would be.

How it reads. One character decides which reader goes on (`readers`, by the innermost context): it opens a context, closes one, or
passes text over which the context does not change. Text that the shell takes as it is (single quotes, comments) is passed as a
whole, and a placeholder in it is refused.

- Commands and parentheses are read here; quotes, `$`, backticks and arithmetic in `shell_expansions`.
- A here-document is announced by `<<` and begins after the line has ended. What is announced and not yet begun is kept for each
  command in the stack; where a line goes on inside a `$( )`, shells disagree on where the document begins: refused.
- A branch of the template must end as it began: same contexts, same announced documents (`cross_branch`).
- `starts_word`: a `#` begins a comment only at the start of a word. After a placeholder or a branch nobody knows, hence None.
"""

from __future__ import annotations

import re

from orchestrator.jobsfile.language.shell_contexts import (
    BRANCH_CLOSE,
    BRANCH_OPEN,
    BRANCHES,
    DOUBLE_QUOTES,
    PLACEHOLDER,
    RAW,
    Context,
    ContextStack,
    HereDocument,
)
from orchestrator.jobsfile.language.shell_cursor import RefusedAt
from orchestrator.jobsfile.language.shell_expansions import IN_ARITHMETIC, QUOTES_UNDONE, ExpansionReader
from orchestrator.workers.lazy_pattern import lazy_pattern

_CASE = lazy_pattern(r"c(?:\\\n)*a(?:\\\n)*s(?:\\\n)*e(?![\w.\-=/+:,%@$'\"`{}\[\]*?~!#^])")
_SYNTAX = "'\"`()\\"

_COMMENT = "stands in a comment, which a line break in the value would end: take it out of there"
_HERE_DOCUMENT = "stands in a here-document, where our quotes are mere text: pass the value by stdin or env"


class ShellReader(ExpansionReader):
    """Reads a script as a shell would, up to its last placeholder."""

    def __init__(self, script: str) -> None:
        super().__init__(script)
        self.branches: list[tuple[tuple[Context, ...], tuple[tuple[HereDocument, ...], ...]]] = []
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
        """Raises RefusedAt for the first placeholder whose value could be read as syntax, or where we cannot be sure."""
        # Beyond the last placeholder nothing can go wrong with one; but a loop's branch comes back to those before its end.
        while self.at < len(self.script) and (self.at < self.end or self.branches):
            character = self.script[self.at]
            if character in BRANCHES:
                self.cross_branch(character)
            elif character == RAW:
                self.at += 1
                self.starts_word = None
            else:
                self.readers[self.stack[-1].kind](character)

    # Branches of the template.

    def cross_branch(self, character: str) -> None:
        """Go over the edge of a branch, which must have the same contexts on all of its sides."""
        state = (tuple(self.stack), tuple(self.here_documents))
        if self.stack.is_inside_quotes():
            self.doubt('a {% %} inside "$(…)"')
        if character == BRANCH_OPEN:
            self.branches.append(state)
        elif self.branches[-1] != state:
            self.doubt("a {% %} branch that opens or closes quotes")
        if character == BRANCH_CLOSE:
            self.branches.pop()
        self.at += 1
        self.starts_word = None

    # Commands.

    def read_command(self, character: str) -> None:
        """One step where the shell reads a command: the words of it, and whatever begins another context."""
        # `((` may be arithmetic or two subshells: that is decided by its end, and both read these differently.
        if self.stack.is_loose() and character in "'\"#\\`":
            self.doubt("quotes, a backslash or # inside ((…))")
        match character:
            # What separates words: a `#` behind it begins a comment.
            case " " | "\t" | ";" | "&" | "|" | ">":
                self.at += 1
                self.starts_word = True
            # The end of a line is where announced here-documents begin.
            case "\n":
                self.at += 1
                self.starts_word = True
                self.pass_here_documents()
            case "\\":
                self.read_backslash()
            case "'":
                self.at += 1
                self.pass_literal(self.find("'", self.at, "a single quote"), f"stands inside '…'; {QUOTES_UNDONE}")
                self.step_in_word()
            case '"':
                self.stack.append(DOUBLE_QUOTES)
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
            if self.stack.is_loose():
                self.refuse(IN_ARITHMETIC)
            # An empty list gives no word, so a `#` behind it may begin one.
            self.at += 1
            self.starts_word = None
            return
        if (
            character == "c"
            and self.starts_word is not False
            and self.stack.is_inside_quotes()
            and _CASE.match(self.script, self.at)
        ):
            self.doubt('case inside "$(…)"')
        self.step_in_word()

    def read_backslash(self) -> None:
        after = self.script[self.at + 1 : self.at + 2]
        if after == PLACEHOLDER:
            self.refuse("stands right after a backslash, which would undo our quotes", self.at + 1)
        if after and after in BRANCHES:
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
                # bash 3.2 takes them for syntax there.
                self.doubt("a comment with quotes or parentheses inside $(…)")
            self.pass_literal(end, _COMMENT)
        else:
            self.at += 1

    def read_parenthesis(self, character: str) -> None:
        self.at += 1
        self.starts_word = True
        if character == "(":
            self.stack.append(Context("parenthesis", is_loose=self.script.startswith("(", self.at)))
        elif self.stack[-1].kind == "parenthesis":
            self.stack.pop()
        elif len(self.stack) > 1:
            if self.here_documents.pop():
                self.doubt("a here-document that begins after the end of its $(…)")
            self.stack.pop()
            # It may as well have been the end of a pattern of `case`: the context is that of a command either way.
            self.starts_word = None

    # Here-documents.

    def read_less_than(self) -> None:
        if self.script[self.at + 1 : self.at + 2] in tuple(BRANCHES):
            self.doubt("a < before {% %}")
        if self.script.startswith("<<<", self.at):
            self.at += 3
        elif self.script.startswith("<<", self.at):
            if self.stack.is_loose():
                self.doubt("<< inside ((…))")
            self.at += 2
            self.here_documents[-1] += (self.read_here_document(),)
            self.starts_word = False
            return
        else:
            self.at += 1
        self.starts_word = True

    def read_here_document(self) -> HereDocument:
        """The here-document that `<<` announces: its delimiter is what is left of the word when its quotes are removed."""
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
        # The end of the document has to be known now.
        if any(character in BRANCHES + PLACEHOLDER + RAW for character in delimiter):
            self.doubt("a here-document whose delimiter is not fixed")
        # A word that goes on with something else (a `$`, a backtick) is read differently by different shells.
        after = self.script[self.at : self.at + 1]
        if not delimiter or (after and after not in " \t\n;&|<>()"):
            self.doubt("a here-document with an unusual delimiter")
        return HereDocument(delimiter, strip_tabs, is_quoted)

    def pass_here_documents(self) -> None:
        """A line of commands has ended: what it announced begins here."""
        if any(self.here_documents[:-1]):
            self.doubt("a here-document whose line goes on inside $(…)")
        for document in self.here_documents[-1]:
            self.pass_here_document(document)
        self.here_documents[-1] = ()

    def pass_here_document(self, document: HereDocument) -> None:
        """Go over the body of a here-document to the line behind its delimiter. No placeholder may stand in it."""
        begin = self.at
        while True:
            if self.at >= len(self.script):
                self.at = begin
                self.refuse(_HERE_DOCUMENT)
            # Line by line: the delimiter is a line of its own, and nothing else ends the document.
            newline = self.script.find("\n", self.at)
            line_end = len(self.script) if newline < 0 else newline
            line = self.script[self.at : line_end]
            if (line.lstrip("\t") if document.strip_tabs else line) == document.delimiter:
                break
            # Our quotes are mere text there; and a branch might cut off the delimiter.
            if PLACEHOLDER in line:
                self.refuse(_HERE_DOCUMENT)
            if any(each in line for each in BRANCHES):
                self.doubt("a {% %} inside a here-document")
            self.at = line_end + 1
        body = self.script[begin : self.at]
        if len(self.stack) > 1 and any(each in body for each in _SYNTAX):
            # bash 3.2, again.
            self.doubt("a here-document with quotes or parentheses inside $(…)")
        if not document.is_quoted:
            self.check_body(body)
        self.at = min(line_end + 1, len(self.script))

    def check_body(self, body: str) -> None:
        """Some shells look for the delimiter only outside the expansions of an unquoted body: be sure that all are closed."""
        if body.endswith("\\\n"):
            self.doubt("a here-document whose last line ends in a backslash")
        inner = ShellReader(body)
        inner.stack = ContextStack([Context("here-document")])
        inner.end = len(body)
        try:
            inner.scan()
        except RefusedAt:
            self.doubt("a here-document with unusual expansions")
        if len(inner.stack) > 1:
            self.doubt("a here-document with an expansion that is not closed")
