"""From what a worker says of an attempt to what it means for its item."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, assert_never

import msgspec

from orchestrator.core.events import Verdict
from orchestrator.jobsfile.answer_schema import AnswerSchema, AnswerSchemaError
from orchestrator.jobsfile.model import OutputKind
from orchestrator.store.captures import CaptureMismatch, read_capture
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.protocol import EMPTY_CAPTURE, INLINE_OUTPUT_BYTES, AttemptClass, Capture, EndReason, Outcome

LONGEST_CHECK_OUTPUT = 30_000
"""Characters of a check's output that a prompt gets: the last ones, where it says what went wrong."""


class BadOutputError(Exception):
    """The output is not what `output` promised; one line in words."""


def parse_output(kind: OutputKind, stdout: bytes) -> Any:
    """Give a job's output its shape: text (one final newline dropped), list of lines, JSON value, list of JSON values.

    Bytes that are not UTF-8 are replaced in text and lines. Raises BadOutputError for json and jsonl.
    """
    match kind:
        case "text":
            text = stdout.decode("utf-8", "replace")
            return text[:-1] if text.endswith("\n") else text
        case "lines":
            lines = stdout.decode("utf-8", "replace").split("\n")
            return lines[:-1] if lines[-1] == "" else lines
        case "json":
            try:
                return msgspec.json.decode(stdout)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise BadOutputError(f"the output is not JSON: {error}") from error
        case "jsonl":
            return [_parse_line(number, line) for number, line in enumerate(stdout.split(b"\n"), 1) if line.strip()]
        case unknown:
            assert_never(unknown)


def answer_of(outcome: Outcome) -> Capture:
    """What an attempt's output is made of: what its agent answered, of a command its stdout."""
    return outcome.stdout if outcome.agent is None else outcome.agent.text


def output_of(outcome: Outcome, kind: OutputKind, run_dir: RunDir) -> Any:
    """The output of an attempt, in the shape `kind`. Raises CaptureMismatch, BadOutputError."""
    return shaped_output(outcome, kind, read_capture(answer_of(outcome), run_dir))


def shaped_output(outcome: Outcome, kind: OutputKind, answer: bytes) -> Any:
    """The output of an attempt whose `answer_of` is these bytes, in the shape `kind`. Raises BadOutputError."""
    return parse_output(kind, answer if outcome.agent is None or kind != "json" else without_fence(answer))


def in_words(outcome: Outcome) -> str:
    """What people are told of an attempt that ended: its message, of an agent's with its class, and what was denied to it."""
    report = outcome.agent
    if report is None:
        return outcome.message
    if outcome.attempt_class is AttemptClass.OK:
        denied = f"{len(report.denials)} denied ({', '.join(dict.fromkeys(report.denials))})" if report.denials else ""
        return "; ".join(filter(None, (outcome.message, denied)))
    word = outcome.attempt_class.value
    return outcome.message if outcome.message.startswith(word) else f"{word}: {outcome.message or 'it says no more'}"


def without_fence(answer: bytes) -> bytes:
    """The JSON of an answer that stands in a fence (```json … ```): models like to put one around, whatever they are told.

    So with text around the fence if there is one fence alone; anything else is left as it is.
    """
    blocks = _FENCE.findall(answer)
    return blocks[0] if len(blocks) == 1 and answer.count(b"```") == 2 else answer


_FENCE = re.compile(rb"^```(?:json|JSON)?[ \t]*\r?\n(.*?)^[ \t]*```[ \t]*\r?$", re.DOTALL | re.MULTILINE)


def check_output(outcome: Outcome, run_dir: RunDir) -> str:
    """What a failed check said, the end of it if that is long; empty if none failed. Raises CaptureMismatch."""
    return check_text(read_capture(outcome.check, run_dir))


def check_text(check: bytes) -> str:
    """What a check wrote, as text: the end of it if that is long."""
    text = check.decode("utf-8", "replace").strip("\n")
    if len(text) <= LONGEST_CHECK_OUTPUT:
        return text
    return f"[… {len(text) - LONGEST_CHECK_OUTPUT} characters before this are left out]\n{text[-LONGEST_CHECK_OUTPUT:]}"


def checked(outcome: Outcome, kind: OutputKind, run_dir: RunDir) -> Outcome:
    """The outcome, or a `bad_output` in its place: a success whose output is not what `output` promised is none."""
    if outcome.attempt_class is not AttemptClass.OK or kind == "text":
        return outcome
    if answer_of(outcome).is_cut:  # half a line, and the mark, would pass for items
        message = f'the output was cut at max_output: output = "{kind}" needs all of it'
        return msgspec.structs.replace(outcome, attempt_class=AttemptClass.BAD_OUTPUT, message=message)
    if kind == "lines":
        return outcome
    try:
        output_of(outcome, kind, run_dir)
    except (BadOutputError, CaptureMismatch) as error:
        return unfit(outcome, AttemptClass.BAD_OUTPUT, str(error), str(error))
    return outcome


def fitting(outcome: Outcome, kind: OutputKind, run_dir: RunDir, schema: Callable[[], AnswerSchema]) -> Outcome:
    """The outcome, or a `check_failed` in its place: a success whose answer does not fit its schema is none.

    `schema` gives it, or raises AnswerSchemaError: then nothing fits.
    """
    if outcome.attempt_class is not AttemptClass.OK:
        return outcome
    try:
        mistakes = schema().mistakes_in(output_of(outcome, kind, run_dir))
    except (AnswerSchemaError, BadOutputError, CaptureMismatch) as error:
        mistakes = [str(error)]
    if not mistakes:
        return outcome
    told = "The answer does not fit its JSON Schema:\n" + "\n".join(mistakes)
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return unfit(outcome, AttemptClass.CHECK_FAILED, f"the answer does not fit its schema: {mistakes[0]}{more}", told)


def unfit(outcome: Outcome, attempt_class: AttemptClass, message: str, told: str) -> Outcome:
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
    AttemptClass.LOST: Verdict.LOST,
    AttemptClass.STATE_ERROR: Verdict.DRAINED,
}
"""What a class means, whoever asked for the end of its attempt; `cancelled` depends on that."""


def verdict_of(outcome: Outcome, asked_end: str | None) -> Verdict:
    """What `outcome` means. `asked_end`: why this supervisor asked for its end ("cancel", "drain"), if it did."""
    if outcome.attempt_class is not AttemptClass.CANCELLED:
        return _VERDICTS[outcome.attempt_class]
    if asked_end is not None:
        return Verdict.CANCELLED if asked_end == "cancel" else Verdict.DRAINED
    return Verdict.CANCELLED if outcome.ended_by is EndReason.CANCEL else Verdict.DRAINED


def _parse_line(number: int, line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadOutputError(f"line {number} of the output is not JSON: {error}") from error


class DoneHere(msgspec.Struct, frozen=True):
    """A success of this very run."""

    item: str
    payload: str
    outcome: Outcome
