"""Where the placeholders of a shell script stand: refuses each one whose quoting the script itself would undo.

Each placeholder becomes words in single quotes. That holds only where the shell reads a command: not inside quotes, a
here-document, a comment, backticks, `${ }` or arithmetic, nor right after `$` or a backslash.

Promise: if `check_placeholders` returns, then no text value changes how any POSIX shell splits the script.
What a command or an arithmetic expression then does with the text (`eval`; `$((x))` in bash) is outside. What follows the
last placeholder is not looked at. How a script is read stands in `shell_reader`.
"""

from __future__ import annotations

from orchestrator.jobsfile.language.shell_contexts import PLACEHOLDER, RAW
from orchestrator.jobsfile.language.shell_cursor import RefusedAt
from orchestrator.jobsfile.language.shell_reader import ShellReader


class Misplaced(Exception):
    """The placeholder number `ordinal` (RAW ones count, from 0) may not stand where it does; `words` is why, and what to do."""

    def __init__(self, ordinal: int, words: str) -> None:
        super().__init__(words)
        self.ordinal = ordinal
        self.words = words


def check_placeholders(script: str) -> None:
    """Raises Misplaced for the first placeholder whose value could be read as syntax, or where we cannot be sure."""
    try:
        ShellReader(script).scan()
    except RefusedAt as refused:
        before = script[: refused.position]
        raise Misplaced(before.count(PLACEHOLDER) + before.count(RAW), refused.words) from None
