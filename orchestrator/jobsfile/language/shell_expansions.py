"""Quotes, expansions and arithmetic of a shell script: what ends them, and why no placeholder may stand in them."""

from __future__ import annotations

import re

from orchestrator.jobsfile.language.shell_contexts import (
    ARITHMETIC_EXPRESSION,
    ARITHMETIC_PARENTHESIS,
    BRANCHES,
    COMMAND,
    DOUBLE_QUOTES,
    PLACEHOLDER,
    Context,
)
from orchestrator.jobsfile.language.shell_cursor import ShellCursor

QUOTES_UNDONE = "our quotes would be undone: remove the quotes around it"
_BACKTICKS = "stands inside `…`, where quotes do not hold: write $(…)"
_PARAMETER = "stands inside ${…}, where quotes do not always hold: put it into a shell variable first"
IN_ARITHMETIC = "stands inside arithmetic, where quotes have no effect: put | int before | raw"
_SPECIAL_PARAMETERS = "$#?!@*-0123456789"


class ExpansionReader(ShellCursor):
    """Reads what a `"`, a `$` or a backtick has begun. What it opens on the stack, `ShellReader` goes on with."""

    def read_double_quotes(self, character: str) -> None:
        """One step inside double quotes, or in the body of a here-document, where a `"` is mere text."""
        if character == PLACEHOLDER:
            self.refuse(f'stands inside "…"; {QUOTES_UNDONE}')
        if character == "\n":
            self.refuse_newline()
            self.at += 1
        elif character == '"' and self.stack[-1] is DOUBLE_QUOTES:
            self.stack.pop()
            self.step_in_word()
        elif character == "\\":
            self.skip_escaped()
        elif character in "$`":
            self.read_expansion(character)
        else:
            self.at += 1

    def read_expansion(self, character: str) -> None:
        """One `$` or backtick, wherever it means something."""
        if character == "`":
            self.pass_backticks()
            return
        is_command = self.stack.is_command()
        after = self.script[self.at + 1 : self.at + 2]
        # A `$` right before our quote would make `$'…'` of it.
        if after == PLACEHOLDER and is_command:
            self.refuse("stands right after a $, which would change how our quotes are read", self.at + 1)
        if (after and after in BRANCHES) or self.script.startswith("\\\n", self.at + 1):
            self.doubt("a $ before {% %} or the end of a line")
        # What the `$` opens, by what stands behind it.
        if after == "(":
            self.open_substitution()
        elif after == "{":
            # Inside double quotes shells disagree about quotes in `${ }`, and so at every depth below.
            above = self.stack[-1]
            is_loose = above.is_loose if above.kind == "parameter" else not is_command
            self.stack.append(Context("parameter", is_loose=is_loose or above.is_loose))
            self.at += 2
        elif after == "'" and is_command:
            self.pass_dollar_quote()
        else:
            self.at += 2 if after and after in _SPECIAL_PARAMETERS else 1
            self.starts_word = False

    def open_substitution(self) -> None:
        self.at += 2
        if self.script[self.at : self.at + 1] in tuple(BRANCHES):
            self.doubt("a $( before {% %}")
        if self.script.startswith("(", self.at):
            self.stack.append(ARITHMETIC_EXPRESSION)
            self.at += 1
        else:
            self.stack.append(COMMAND)
            self.here_documents.append(())
            self.starts_word = True

    def pass_dollar_quote(self) -> None:
        """`$'…'`: with escapes in some shells, without in others."""
        self.at += 2
        end = self.find("'", self.at, "a single quote")
        with_escapes = re.compile(r"(?:[^'\\]|\\.)*", re.DOTALL).match(self.script, self.at)
        if with_escapes is None or with_escapes.end() != end:
            self.doubt(r"$'…' with \' in it")
        self.pass_literal(end, f"stands inside $'…'; {QUOTES_UNDONE}")
        self.step_in_word()

    def pass_backticks(self) -> None:
        """Go over `…` as a whole: its backslashes are read twice, so no context inside it is followed."""
        self.at += 1
        inside = re.compile(r"(?:[^`\\]|\\.)*", re.DOTALL).match(self.script, self.at)
        end = inside.end() if inside else self.at
        found = self.script.find(PLACEHOLDER, self.at, end)
        if found >= 0:
            self.refuse(_BACKTICKS, found)
        if end >= len(self.script):
            self.doubt("a backtick without an end")
        # Only where it is plain do all shells find the same end: no quotes that are open at it, no comment that hides it.
        text = self.script[self.at : end]
        outside_quotes = re.sub(r"""'[^']*'|"(?:[^"\\]|\\[^\n])*"|\\.""", "", text, flags=re.DOTALL)
        is_plain = not any(each in outside_quotes for each in "'\"#") and not any(each in text for each in BRANCHES)
        if not is_plain or (len(self.stack) > 1 and any(each in text for each in "'\"\\")):
            self.doubt("quotes, # or {% %} inside `…`")
        if "\n" in text:
            self.refuse_newline()
        self.at = end
        self.step_in_word()

    def read_parameter(self, character: str) -> None:
        """One step inside `${ }`, to its `}`."""
        match character:
            # A placeholder; the constant's name would match any character here.
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
        """Quotes inside `${ }`: a context of their own where all shells take them for quotes, else text that must not matter."""
        if not self.stack[-1].is_loose and quote == '"':
            self.stack.append(DOUBLE_QUOTES)
            self.at += 1
            return
        self.at += 1
        end = self.find(quote, self.at, "a quote")
        if self.stack[-1].is_loose and any(each in self.script[self.at : end] for each in "}$`\\'\"{\n"):
            self.doubt('quotes inside "${…}"')
        self.pass_literal(end, _PARAMETER)
        self.at += 1

    def read_arithmetic(self, character: str) -> None:
        """One step inside `$(( ))`, to the `))` that ends it."""
        match character:
            # A placeholder; the constant's name would match any character here.
            case "\ud800":
                self.refuse(IN_ARITHMETIC)
            # Some shells remove these before they calculate, others do not.
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
                self.stack.append(ARITHMETIC_PARENTHESIS)
                self.at += 1
            case ")":
                # `$((` whose end is no `))` was a subshell in a `$( )`, all along.
                if self.stack.pop() is ARITHMETIC_EXPRESSION:
                    if not self.script.startswith("))", self.at):
                        self.doubt("$(( that does not end in ))")
                    self.at += 1
                self.step_in_word()
            case _:
                self.at += 1
