"""The errors that a user is told of in words, each with its exit code.

Three kinds of errors exist. The user's: `UserError` and its subclasses (what, where, what to do; no traceback). An item's:
data in its outcome, never an exception that escapes. Ours: everything else; the traceback goes to supervisor.log, exit 70.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command (design section 7)."""

    COMPLETED = 0
    FAILED = 1
    USAGE = 2
    PAUSED = 3
    CANCELLED = 4
    REJECTED = 5
    BUG = 70
    STATE_UNWRITABLE = 74
    HELD = 75
    HANGUP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class UserError(Exception):
    """A mistake that the user can mend. `message` says what and where, `hint` what to do; both are one line."""

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class JobsFileError(UserError):
    """A jobs file with mistakes: `problems` has one line each, with its place (`jobs.port.timeout: …`)."""

    def __init__(self, path: str, problems: list[str]) -> None:
        count = len(problems)
        super().__init__(f"{path}: {count} mistake{'s' if count != 1 else ''}")
        self.problems = problems

    def __str__(self) -> str:
        return "\n  ".join([self.message, *self.problems])


class RunHeldError(UserError):
    """Another process supervises this run."""

    exit_code = ExitCode.HELD


class StateUnwritableError(UserError):
    """The state could not be written: disk full, read-only, EIO. What is recorded stays, and the run can be resumed."""

    exit_code = ExitCode.STATE_UNWRITABLE


class StateRefusedError(UserError):
    """State that is damaged or of a newer format: told, and left untouched."""
