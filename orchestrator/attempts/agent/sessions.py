"""Which session the next attempt of an item goes on in, and what it is told there. Pure rules over the end of the last attempt.

Promise: a session is resumed only by the agent that began it, in the folder that it began in: others do not find it, and one CLI
hangs. What a session has told of its usage before is taken off what it will tell.
It refuses to handle: whether an attempt is made at all (core), what is asked of the CLI (command).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from orchestrator.workers.protocol import AgentReport, AttemptClass, Outcome, Usage

RESUME_PROMPT = "You were interrupted before you had finished. Go on from where you stopped, and finish what you were told to do."
"""What a session is told that was interrupted, where `resume_prompt` says nothing else."""

RETRY_PROMPT = "What you did is not right yet: a check of it failed. It said:\n\n{check_output}\n\nMend that."
"""What it is told after a failed check, where `retry_prompt` says nothing else."""


_INTERRUPTED = frozenset(
    {
        AttemptClass.TIMEOUT,
        AttemptClass.STALLED,
        AttemptClass.LOST,
        AttemptClass.CANCELLED,  # by a drain; who cancelled it for good does not come here
        AttemptClass.USAGE_LIMIT,
        AttemptClass.RATE_LIMIT,
        AttemptClass.OVERLOADED,
        AttemptClass.NETWORK,
        AttemptClass.TURNS,
        AttemptClass.MEMORY,
        AttemptClass.SHORTAGE,  # of room for the agent, or for its check: no word on the session, which may be paid for
        AttemptClass.STATE_ERROR,  # likewise: a full disk took what it wrote, not its session
    }
)
_NOT_BEGUN = frozenset({AttemptClass.LOST, AttemptClass.SHORTAGE})
"""What may have come before the agent was even started: then there is no report on it."""
_UNCHECKED = frozenset({AttemptClass.CHECK_FAILED, AttemptClass.BAD_OUTPUT})
_KILLED = frozenset({128 + 1, 128 + 2, 128 + 9, 128 + 15})
"""Exit codes of clients that tell so of the signal that ended them, or their child."""


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
    """The session that the next attempt goes on in; None: it begins one.

    `can_resume`: the CLI knows how, and the job lets it. `is_asked`: somebody wants that very session to go on, however its last
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
    """Whether somebody else ended the agent: a person, or the kernel for want of memory.

    Once alone: if it ends like that in the resumed session, too, it may be the session that ends it.
    """
    by_signal = outcome.signal is not None or outcome.exit_code in _KILLED
    return outcome.attempt_class is AttemptClass.AGENT_FAILED and by_signal and not report.is_resumed


def words_for(last: LastEnd | None, resumed: Resumed | None) -> Words:
    """What the next attempt is told. Without a session it is the prompt; a check's output comes behind that."""
    if last is None or resumed is None:
        return "prompt"
    return "retry" if was_unchecked(last) else "resume"


def was_unchecked(last: LastEnd | None) -> bool:
    """Whether the last attempt failed by its check, or its answer is not what it should be: the next is told why."""
    return last is not None and (last.outcome.attempt_class in _UNCHECKED or check_was_ended(last.outcome))


def check_was_ended(outcome: Outcome) -> bool:
    """Whether it was no longer the agent but its check that took too long, or too much memory: perhaps by what it did.

    Of such an end only the message tells whose it is: that of a check begins so (workers/checking.py).
    """
    return outcome.attempt_class in (AttemptClass.TIMEOUT, AttemptClass.MEMORY) and outcome.message.startswith("check: ")


def carried_over(outcome: Outcome, last: LastEnd | None) -> Outcome:
    """`outcome` of an attempt that resumed a session, with that session and what it had told before, where the attempt was lost
    or ended before it told anything.

    Else the next attempt would begin anew, or be charged with all that the session has ever told.
    """
    report, before = outcome.agent, last.outcome.agent if last is not None else None
    if before is None or before.session_id is None:
        return outcome
    if report is None and outcome.attempt_class in _NOT_BEGUN:
        report = AgentReport(agent=before.agent, session_id=before.session_id, is_resumed=True)
        outcome = msgspec.structs.replace(outcome, agent=report)
    if report is None or report.session_id != before.session_id:
        return outcome
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
    """Whether an attempt that was to go on in a session failed before it did anything, for no reason that is known."""
    report = outcome.agent
    if report is None or not report.is_resumed or outcome.attempt_class not in _UNKNOWN:
        return False
    used = () if report.usage is None else msgspec.structs.astuple(report.usage)
    return not any(used) and not report.cost_usd and report.text.size == 0


_UNKNOWN = (AttemptClass.AGENT_FAILED, AttemptClass.PROTOCOL_ERROR)
