"""What an attempt came to, in a class and in words: a pure rule over what was seen of it."""

from __future__ import annotations

import os
from signal import Signals
from typing import NamedTuple

from workers.protocol import AttemptClass, EndReason
from workers.wording import duration_in_words, excess_in_words, size_in_words


class Verdict(NamedTuple):
    attempt_class: AttemptClass
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    ended_by: EndReason | None = None

    def but(self, attempt_class: AttemptClass, message: str) -> Verdict:
        """The same end, with a trouble of ours or of its promises that counts for more. A failure keeps its words in front."""
        words = f"{self.message}; {message}" if self.message else message
        return self._replace(attempt_class=attempt_class, message=words)


def verdict_of(
    status: int, ended_by: EndReason | None, *, timeout_seconds: float | None, memory_bytes: int | None, used_bytes: int
) -> Verdict:
    """`status` is the wait status of the main process; `ended_by` why we ended it, if we did. `used_bytes` is what its processes
    used when they were found to use more than `memory_bytes`.

    What we ended is never a success, whatever it exits with: it may have stopped half way.
    """
    exit_code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    if ended_by is EndReason.TIMEOUT:
        words = f"timed out after {duration_in_words(timeout_seconds or 0.0)}"
        return Verdict(AttemptClass.TIMEOUT, words, exit_code, number, ended_by)
    if ended_by is EndReason.MEMORY:
        limit = memory_bytes or 0
        words = f"its processes used {excess_in_words(used_bytes, limit)}, more than memory = {size_in_words(limit)}"
        return Verdict(AttemptClass.MEMORY, words, exit_code, number, ended_by)
    if ended_by is not None:
        words = "cancelled" if ended_by is EndReason.CANCEL else "ended by a drain"
        return Verdict(AttemptClass.CANCELLED, words, exit_code, number, ended_by)
    if exit_code == 0:
        return Verdict(AttemptClass.OK, "", 0)
    words = f"exit code {exit_code}" if number is None else f"ended by {_signal_name(number)}"
    return Verdict(AttemptClass.COMMAND_FAILED, words, exit_code, number)


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
