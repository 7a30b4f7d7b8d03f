"""What an attempt came to, in a class and in words: a pure rule over what was seen of it."""

from __future__ import annotations

import os
from signal import Signals
from typing import NamedTuple, assert_never

from .processes.oom_kills import OomKills, killed_in_words, killed_since
from .processes.spawn import SHORTAGES
from .protocol import AttemptClass, EndReason, Start
from .wording import duration_in_words, excess_in_words, size_in_words


class AttemptEnd(NamedTuple):
    """How a process of an attempt ended, or why none was started. `signal`: the number that ended it; `ended_by`: why we did."""

    attempt_class: AttemptClass
    message: str = ""
    exit_code: int | None = None
    signal: int | None = None
    ended_by: EndReason | None = None

    def but(self, attempt_class: AttemptClass, message: str) -> AttemptEnd:
        """The same end, with a trouble of ours or of its promises that counts for more. A failure keeps its words in front."""
        words = f"{self.message}; {message}" if self.message else message
        return self._replace(attempt_class=attempt_class, message=words)


_SUCCESS = AttemptEnd(AttemptClass.OK, "", 0)


def end_of(status: int, ended_by: EndReason | None, start: Start, used_bytes: int) -> AttemptEnd:
    """The end of a process whose wait status is `status`. `ended_by`: why we ended it, if we did. `used_bytes`: what its tree
    used when that was more than `memory`.

    A process that we ended is never a success, whatever it exits with: it may have stopped half way. (An agent that told its end
    before is judged by what it told: `AgentWatch.classify_end`.)
    """
    if ended_by is None and status == 0:
        return _SUCCESS
    exit_code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    if ended_by is not None:
        attempt_class, words = end_in_words(ended_by, start, used_bytes)
        return AttemptEnd(attempt_class, words, exit_code, number, ended_by)
    words = f"exit code {exit_code}" if number is None else f"ended by {_signal_name(number)}"
    return AttemptEnd(AttemptClass.COMMAND_FAILED, words, exit_code, number)


def accepted(end: AttemptEnd, start: Start) -> AttemptEnd:
    """The end of a command, which may succeed with other exit codes than 0."""
    is_ok = end.ended_by is None and end.exit_code in start.limits.ok_exit_codes
    return AttemptEnd(AttemptClass.OK, "", end.exit_code) if is_ok else end


def with_oom_kills_told(end: AttemptEnd, before: OomKills | None) -> AttemptEnd:
    """The end, with what may explain a failure that is none of ours: processes that the kernel has killed since `before`."""
    # Most attempts succeed: these pay for no look.
    if end.ended_by is not None or end.attempt_class is AttemptClass.OK:
        return end
    killed = killed_since(before)
    return end.but(end.attempt_class, killed_in_words(killed)) if killed else end


def end_in_words(ended_by: EndReason, start: Start, used_bytes: int = 0) -> tuple[AttemptClass, str]:
    """The class of an attempt that we ended for this reason, and the reason in words for people."""
    match ended_by:
        case EndReason.TIMEOUT:
            return AttemptClass.TIMEOUT, f"timed out after {duration_in_words(start.limits.timeout_seconds or 0.0)}"
        case EndReason.MEMORY:
            limit = start.limits.memory_bytes or 0
            words = f"its processes used {excess_in_words(used_bytes, limit)}, more than memory = {size_in_words(limit)}"
            return AttemptClass.MEMORY, words
        case EndReason.STALLED:
            return AttemptClass.STALLED, f"wrote nothing for {duration_in_words(start.limits.stall_timeout_seconds or 0.0)}"
        case EndReason.STOPPED:
            return AttemptClass.TIMEOUT, "timed out: its process was stopped (SIGSTOP) again after it had been continued"
        case EndReason.EVENTS:
            most = None if start.agent is None else start.agent.max_events
            return AttemptClass.STALLED, f"wrote more than {most} events"
        case EndReason.CANCEL:
            return AttemptClass.CANCELLED, "cancelled"
        case EndReason.DRAIN:
            return AttemptClass.CANCELLED, "ended by a drain"
        case EndReason.FINDING | EndReason.LINGERING:
            # What its stream told takes the place of these words.
            return AttemptClass.AGENT_FAILED, "ended for what it told"
        case unknown:
            assert_never(unknown)


def not_started(what: str, error: OSError) -> AttemptEnd:
    """Nothing was started: for want of room, or because `what` went wrong."""
    if error.errno in SHORTAGES:
        return AttemptEnd(AttemptClass.SHORTAGE, f"no room on this machine just now: {error.strerror}")
    return AttemptEnd(AttemptClass.STATE_ERROR, f"{what}: {error.strerror}")


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"
