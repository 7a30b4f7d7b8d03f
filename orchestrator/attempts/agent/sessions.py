"""Sessions of agents: which one the next attempt of an item goes on in, and with which words. Pure rules over the last end.

Promise: a session is resumed only by the agent that began it, in the folder where it began. Other agents do not find it, and one
CLI hangs. The usage that a session has told before is taken off what it will tell.
It refuses to handle: whether there is another attempt (core), the flags of the CLI (`command`).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from orchestrator.workers.protocol import AgentReport, AttemptClass, Outcome, Usage

RESUME_PROMPT = "You were interrupted before you had finished. Go on from where you stopped, and finish what you were told to do."
"""The words for a session that was interrupted, unless the job has a `resume_prompt`."""

RETRY_PROMPT = "What you did is not right yet: a check of it failed. It said:\n\n{check_output}\n\nMend that."
"""The words after a failed check, unless the job has a `retry_prompt`."""

_INTERRUPTED = frozenset(
    {
        AttemptClass.TIMEOUT,
        AttemptClass.STALLED,
        AttemptClass.LOST,
        AttemptClass.CANCELLED,  # by a drain: an item that was cancelled for good has no next attempt
        AttemptClass.USAGE_LIMIT,
        AttemptClass.RATE_LIMIT,
        AttemptClass.OVERLOADED,
        AttemptClass.NETWORK,
        AttemptClass.TURNS,
        AttemptClass.MEMORY,
        AttemptClass.SHORTAGE,  # of room for the agent or its check: nothing is said of the session, which may be paid for
        AttemptClass.NOT_BEGUN,  # likewise: of its worker
        AttemptClass.STATE_ERROR,  # likewise: a full disk took what the agent wrote, not its session
    }
)
_NOT_BEGUN = frozenset({AttemptClass.LOST, AttemptClass.SHORTAGE, AttemptClass.NOT_BEGUN})
"""Ends that may come before the agent is even started: then there is no report on it."""
_UNCHECKED = frozenset({AttemptClass.CHECK_FAILED, AttemptClass.BAD_OUTPUT})
_KILLED = frozenset({128 + 1, 128 + 2, 128 + 9, 128 + 15})
"""Exit codes by which clients tell the signal that ended them, or their child."""


class LastEnd(msgspec.Struct, frozen=True):
    """How the last attempt of an item ended. `folder`: where its agent worked (absolute)."""

    outcome: Outcome
    folder: str


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """The session that goes on. `usage_before` and `cost_before`: what it had told so far, as it told them."""

    session_id: str
    usage_before: Usage | None
    cost_before: float | None


Words = Literal["prompt", "resume", "retry"]
"""What an attempt is told: the whole prompt, `resume_prompt` or `retry_prompt`."""


def session_of(last: LastEnd | None, *, agent: str, folder: str, can_resume: bool, is_asked: bool = False) -> Resumed | None:
    """The session that the next attempt goes on in; None: it begins a new one.

    `can_resume`: the CLI knows how, and the job lets it. `is_asked`: a person wants that very session to go on, however its last
    attempt ended.
    """
    report = last.outcome.agent if last is not None else None
    if last is None or report is None or report.session_id is None or not can_resume:
        return None
    is_worth_it = is_asked or last.outcome.attempt_class in _INTERRUPTED | _UNCHECKED or _was_killed(last.outcome, report)
    if not is_worth_it or report.agent != agent or last.folder != folder:
        return None
    return Resumed(session_id=report.session_id, usage_before=report.usage_told, cost_before=report.cost_told)


def _was_killed(outcome: Outcome, report: AgentReport) -> bool:
    """Whether the agent was killed from outside: by a person, or by the kernel for want of memory."""
    # Only the first time: an agent that ends like that in the resumed session, too, may be ended by the session itself.
    by_signal = outcome.signal is not None or outcome.exit_code in _KILLED
    return outcome.attempt_class is AttemptClass.AGENT_FAILED and by_signal and not report.is_resumed


def words_for(last: LastEnd | None, resumed: Resumed | None) -> Words:
    """The words for the next attempt. Without a session these are the prompt, with a check's output behind it."""
    if last is None or resumed is None:
        return "prompt"
    return "retry" if was_unchecked(last) else "resume"


def was_unchecked(last: LastEnd | None) -> bool:
    """Whether the last attempt failed its check, or by a wrong answer: the next one is told why."""
    return last is not None and (last.outcome.attempt_class in _UNCHECKED or check_was_ended(last.outcome))


def check_was_ended(outcome: Outcome) -> bool:
    """Whether the check, not the agent, took too long or too much memory: perhaps by what the agent did."""
    # Only the message of such an end tells whose it is: that of a check begins so (`workers/check.py`).
    return outcome.attempt_class in (AttemptClass.TIMEOUT, AttemptClass.MEMORY) and outcome.message.startswith("check: ")


def carried_over(outcome: Outcome, last: LastEnd | None) -> Outcome:
    """`outcome` of an attempt that resumed a session: with that session, and with what it had told before, where it told nothing.

    Otherwise the next attempt would begin anew, or would be charged with all that the session has ever told.
    """
    report, before = outcome.agent, last.outcome.agent if last is not None else None
    if before is None or before.session_id is None:
        return outcome
    # The attempt was lost before its agent began: the session is still the one to go on in.
    if report is None and outcome.attempt_class in _NOT_BEGUN:
        report = AgentReport(agent=before.agent, session_id=before.session_id, is_resumed=True)
        outcome = msgspec.structs.replace(outcome, agent=report)
    if report is None or report.session_id != before.session_id:
        return outcome
    # The agent ended before it told sums: those that it had told before still hold.
    usage, cost = report.usage_told, report.cost_told
    if (usage is not None or before.usage_told is None) and (cost is not None or before.cost_told is None):
        return outcome
    told = msgspec.structs.replace(
        report,
        usage_told=before.usage_told if usage is None else usage,
        cost_told=before.cost_told if cost is None else cost,
    )
    return msgspec.structs.replace(outcome, agent=told)


def session_is_gone(outcome: Outcome) -> bool:
    """Whether an attempt that was to go on in a session failed before it did anything, for no known reason."""
    report = outcome.agent
    if report is None or not report.is_resumed or outcome.attempt_class not in _UNKNOWN:
        return False
    used = () if report.usage is None else msgspec.structs.astuple(report.usage)
    return not any(used) and not report.cost_usd and report.text.size == 0


_UNKNOWN = (AttemptClass.AGENT_FAILED, AttemptClass.PROTOCOL_ERROR)
