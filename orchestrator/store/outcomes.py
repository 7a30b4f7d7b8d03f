"""From what a worker says of an attempt to what it means for its item: in words for people, and as a verdict for the core.

What makes an outcome worse gives another outcome: the one that was given stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from orchestrator.core.events import Verdict
from orchestrator.jobsfile.answer_schema import AnswerSchema, AnswerSchemaError
from orchestrator.jobsfile.model import OutputKind
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.outputs import BadOutputError, answer_capture, check_output, read_output
from orchestrator.store.records import AttemptEnded, EarlierEnd, Started
from orchestrator.store.run_dir import RunDir
from orchestrator.system.wording import cut
from orchestrator.workers.protocol import (
    EMPTY_CAPTURE,
    INLINE_OUTPUT_BYTES,
    AgentReport,
    AttemptClass,
    Capture,
    EndReason,
    Outcome,
)

LONGEST_CHECK_OUTPUT = 30_000
"""Characters of a check's output that a prompt gets: the last ones, where it says what went wrong."""


UNFIT = (AnswerSchemaError, BadOutputError, CaptureMismatch)
"""What is raised where there is no answer to be held against a schema, or no schema: then it does not fit."""

_MOST_EARLIER = 10
_LONGEST_EARLIER_MESSAGE = 200


class DoneHere(msgspec.Struct, frozen=True):
    """A success of this run, which another item with the same token may share if its `payload` is the same."""

    item: str
    payload: str
    outcome: Outcome


def outcome_in_words(outcome: Outcome) -> str:
    """What people are told of an attempt that ended: its message; of an agent's failure with its class, of its success with its
    notes and with what was denied to it."""
    report = outcome.agent
    if report is None:
        return outcome.message
    if outcome.attempt_class is AttemptClass.OK:
        return "; ".join(filter(None, (*notes_of(outcome), denied_words(report))))
    word = outcome.attempt_class.value
    return outcome.message if outcome.message.startswith(word) else f"{word}: {outcome.message or 'it says no more'}"


def notes_of(outcome: Outcome) -> list[str]:
    """What a person should know of a success, besides what was denied to its agent; empty of any other end."""
    if outcome.attempt_class is not AttemptClass.OK:
        return []
    return [*([outcome.message] if outcome.message else []), *(outcome.agent.notes if outcome.agent is not None else [])]


def ends_before(before: AttemptEnded | None, start: Started) -> list[EarlierEnd]:
    """What the end of the attempt `start` tells of those before it, of which `before` was the last that ended."""
    if before is None or before.deduped_from is not None or start.round:
        return []
    outcome = before.outcome
    told = EarlierEnd(
        attempt=before.attempt,
        attempt_class=outcome.attempt_class,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        message=cut(outcome.message, _LONGEST_EARLIER_MESSAGE),
    )
    return [*before.earlier, told][-_MOST_EARLIER:]


def denied_words(report: AgentReport) -> str:
    """`2 denied (Bash, Write)`; empty if nothing was."""
    return f"{len(report.denials)} denied ({', '.join(dict.fromkeys(report.denials))})" if report.denials else ""


def check_text(check: bytes) -> str:
    """What a check wrote, as text: the end of it if that is long."""
    text = check.decode("utf-8", "replace").strip("\n")
    if len(text) <= LONGEST_CHECK_OUTPUT:
        return text
    return f"[… {len(text) - LONGEST_CHECK_OUTPUT} characters before this are left out]\n{text[-LONGEST_CHECK_OUTPUT:]}"


def with_output_checked(outcome: Outcome, kind: OutputKind, run_dir: RunDir) -> Outcome:
    """The outcome, or a `bad_output` in its place: a success whose output is not what `output` promised is none."""
    if outcome.attempt_class is not AttemptClass.OK or kind == "text":
        return outcome
    if answer_capture(outcome).is_cut:  # half a line, and the mark, would pass for items
        message = f'the output was cut at max_output: output = "{kind}" needs all of it'
        return msgspec.structs.replace(outcome, attempt_class=AttemptClass.BAD_OUTPUT, message=message)
    try:
        check_output(outcome, kind, run_dir)
    except (BadOutputError, CaptureMismatch) as error:
        return as_unfit(outcome, AttemptClass.BAD_OUTPUT, str(error), str(error))
    return outcome


def with_answer_checked(outcome: Outcome, kind: OutputKind, run_dir: RunDir, schema: Callable[[], AnswerSchema]) -> Outcome:
    """The outcome, or a `check_failed` in its place: a success whose answer does not fit its schema is none.

    `schema` gives it, or raises AnswerSchemaError: then nothing fits. Blocks: not for the loop.
    """
    if outcome.attempt_class is not AttemptClass.OK:
        return outcome
    try:
        mistakes = schema().mistakes_in(read_output(outcome, kind, run_dir))
    except UNFIT as error:
        mistakes = [str(error)]
    return with_mistakes(outcome, mistakes)


def with_mistakes(outcome: Outcome, mistakes: list[str]) -> Outcome:
    """The outcome of a success, or a `check_failed` in its place if these are in its answer."""
    if not mistakes:
        return outcome
    told = "The answer does not fit its JSON Schema:\n" + "\n".join(mistakes)
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return as_unfit(outcome, AttemptClass.CHECK_FAILED, f"the answer does not fit its schema: {mistakes[0]}{more}", told)


def as_unfit(outcome: Outcome, attempt_class: AttemptClass, message: str, told: str) -> Outcome:
    """A success that is none, because of what it gave. `told`: what the next attempt of an agent hears about it."""
    check = EMPTY_CAPTURE
    if outcome.agent is not None:
        said = told.encode("utf-8", "replace")[:INLINE_OUTPUT_BYTES]
        check = Capture(size=len(said), inline=said)
    return msgspec.structs.replace(outcome, attempt_class=attempt_class, message=message, check=check)


_VERDICTS = {
    AttemptClass.OK: Verdict.SUCCEEDED,
    **dict.fromkeys(
        (
            AttemptClass.COMMAND_FAILED,
            AttemptClass.TIMEOUT,
            AttemptClass.MEMORY,
            AttemptClass.CREATES_MISSING,
            AttemptClass.BAD_OUTPUT,
            AttemptClass.CHECK_FAILED,
            AttemptClass.AGENT_FAILED,
            AttemptClass.STALLED,
            AttemptClass.TURNS,
            AttemptClass.PROTOCOL_ERROR,
        ),
        Verdict.FAILED,
    ),
    **dict.fromkeys(
        (
            AttemptClass.CANNOT_START,
            AttemptClass.LOOP_FAILED,
            AttemptClass.REJECTED,
            AttemptClass.AUTH,
            AttemptClass.BILLING,
            AttemptClass.CONTEXT,
            AttemptClass.BUDGET,
            AttemptClass.DENIED,
        ),
        Verdict.HOPELESS,
    ),
    **dict.fromkeys((AttemptClass.RATE_LIMIT, AttemptClass.OVERLOADED, AttemptClass.NETWORK), Verdict.THROTTLED),
    AttemptClass.USAGE_LIMIT: Verdict.PARKED,
    AttemptClass.PAUSED: Verdict.PAUSED,
    AttemptClass.SHORTAGE: Verdict.SHORTAGE,
    AttemptClass.NOT_BEGUN: Verdict.NOT_BEGUN,
    AttemptClass.LOST: Verdict.LOST,
    AttemptClass.STATE_ERROR: Verdict.DRAINED,
}
"""What a class means, whoever asked for the end of its attempt; `cancelled` depends on that."""


def verdict_of(outcome: Outcome, asked_end: str | None) -> Verdict:
    """What `outcome` means. `asked_end`: why this supervisor asked for its end ("cancel", "drain"), if it did."""
    # Its supervisor ended before it was sent: no worker has failed to begin it.
    if outcome.attempt_class is AttemptClass.NOT_BEGUN and outcome.ended_by is EndReason.DRAIN:
        return Verdict.DRAINED
    if outcome.attempt_class is not AttemptClass.CANCELLED:
        return _VERDICTS[outcome.attempt_class]
    if asked_end is not None:
        return Verdict.CANCELLED if asked_end == "cancel" else Verdict.DRAINED
    return Verdict.CANCELLED if outcome.ended_by is EndReason.CANCEL else Verdict.DRAINED
