"""Where the reading of a shell script stands: going on over text, and refusing the placeholder that comes next."""

from __future__ import annotations

from typing import NoReturn

from orchestrator.jobsfile.language.shell_contexts import (
    BRANCH_CLOSE,
    BRANCH_NEXT,
    BRANCH_OPEN,
    BRANCHES,
    COMMAND,
    PLACEHOLDER,
    RAW,
    ContextStack,
    HereDocument,
)


class RefusedAt(Exception):
    """The placeholder at this position of the script may not stand there; `words` is why, and what to do."""

    def __init__(self, position: int, words: str) -> None:
        super().__init__(words)
        self.position = position
        self.words = words


class ShellCursor:
    """A position in a script, and what is open there. What follows the last placeholder (`end`) is not looked at."""

    def __init__(self, script: str) -> None:
        self.script = script
        self.at = 0
        self.end = script.rfind(PLACEHOLDER) + 1
        self.stack = ContextStack([COMMAND])
        self.here_documents: list[tuple[HereDocument, ...]] = [()]
        """Announced and not yet begun, for each command in the stack."""
        self.starts_word: bool | None = True
        """Whether a `#` here begins a comment; None: that depends on what is rendered."""

    def refuse(self, words: str, at: int | None = None) -> NoReturn:
        """Refuse the placeholder that stands at `at`, or comes first after it."""
        found = self.script.find(PLACEHOLDER, self.at if at is None else at)
        # None is left: this is inside an open branch, whose loop comes back to the last placeholder.
        if found < 0:
            found = self.end - 1
        raise RefusedAt(found, words)

    def doubt(self, what: str) -> NoReturn:
        """Refuse the next placeholder, because nobody knows in which context it stands."""
        self.refuse(
            f"comes after {what}, which not every shell reads alike: put it into a shell variable at the top of the script"
        )

    def pass_literal(self, end: int, words: str) -> None:
        """Go to `end` over text that the shell takes as it is. `words`: why no placeholder may stand in it."""
        found = self.script.find(PLACEHOLDER, self.at, end)
        if found >= 0:
            self.refuse(words, found)
        # Whole branches may stand in the text; a branch of which one edge lies outside would cut it.
        depth = 0
        for character in self.script[self.at : end]:
            if character in BRANCHES:
                depth += {BRANCH_OPEN: 1, BRANCH_NEXT: 0, BRANCH_CLOSE: -1}[character]
                if depth < (character == BRANCH_NEXT):
                    self.doubt("a {% %} that cuts quoted text or a comment")
        if depth:
            self.doubt("a {% %} that cuts quoted text or a comment")
        self.at = end

    def find(self, wanted: str, start: int, what: str) -> int:
        """The position of the end of `what`."""
        found = self.script.find(wanted, start)
        if found < 0:
            self.doubt(f"{what} without an end")
        return found

    def step_in_word(self) -> None:
        """Go on by one character, which belongs to a word."""
        self.at += 1
        self.starts_word = False

    def refuse_newline(self) -> None:
        """Refuse a line break inside quotes if a here-document waits for the end of the line: shells disagree where it begins."""
        if any(self.here_documents):
            self.doubt("a here-document whose line goes on inside quotes")

    def skip_escaped(self) -> None:
        """A backslash and what it escapes; a placeholder there is left for its context to refuse."""
        after = self.script[self.at + 1 : self.at + 2]
        if after and after in BRANCHES:
            self.doubt("a backslash before {% %}")
        self.at += 1 if after in (PLACEHOLDER, RAW) else 2
