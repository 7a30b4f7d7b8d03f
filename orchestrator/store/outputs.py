"""What an attempt answered, in the shape that its job promises."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, assert_never

from orchestrator.jobsfile.model import OutputKind
from orchestrator.store.captures import CaptureMismatch, capture_lines, capture_start, read_capture
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.byte_text import BYTE_ORDER_MARK, UTF16_MARKS, lines_of, text_of_bytes
from orchestrator.workers.foreign import LARGEST_BYTES, ForeignBytesError, decode_json
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.protocol import Capture, Outcome
from orchestrator.workers.wording import size_in_words


class BadOutputError(CaptureMismatch):
    """The output is not what `output` promised; one line in words. Nothing can stand on it, as on one that was damaged."""


def parse_output(kind: OutputKind, stdout: bytes) -> Any:
    """Give a job's output its shape: text (one final newline dropped), list of lines, JSON value, list of JSON values.

    Bytes that are not UTF-8 stay what they are in text and lines (`workers.byte_text`). Lines end in LF, or all of them in CR LF;
    a byte order mark belongs to none, nor to JSON. Raises BadOutputError for json and jsonl.
    """
    match kind:
        case "text":
            text = text_of_bytes(stdout)
            return text[:-1] if text.endswith("\n") else text
        case "lines":
            return lines_of(stdout)
        case "json":
            try:
                return decode_json(stdout.removeprefix(BYTE_ORDER_MARK))
            except ForeignBytesError as error:
                raise BadOutputError(f"the output is {error}") from error
        case "jsonl":
            return list(json_lines(stdout.split(b"\n")))
        case unknown:
            assert_never(unknown)


def json_lines(lines: Iterable[bytes]) -> Iterator[Any]:
    """The value of each line that is not empty, with or without its end, one at a time. Raises BadOutputError."""
    for number, line in enumerate(lines, 1):
        data = (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).removesuffix(b"\n")
        if data.strip():
            try:
                yield decode_json(data)
            except ForeignBytesError as error:
                raise BadOutputError(f"line {number} of the output is {error}") from error


def answer_capture(outcome: Outcome) -> Capture:
    """What an attempt's output is made of: what its agent answered, of a command its stdout."""
    return outcome.stdout if outcome.agent is None else outcome.agent.text


def check_output(outcome: Outcome, kind: OutputKind, run_dir: RunDir) -> None:
    """Raise BadOutputError unless the output has the shape `kind`, CaptureMismatch unless it is what was recorded.

    All bytes are lines, but those of UTF-16: each line would hold NUL bytes. Of a list of lines no more than that is looked at.
    """
    if kind == "lines":
        if capture_start(answer_capture(outcome), run_dir, 2) in UTF16_MARKS:
            raise BadOutputError("the output is in UTF-16; lines are in UTF-8 (iconv -f UTF-16 -t UTF-8 makes them so)")
        return
    if kind != "jsonl":
        read_output(outcome, kind, run_dir)
        return
    _refuse_large(outcome, kind)
    # A line at a time: a list of all values would only be thrown away.
    for _ in json_lines(capture_lines(answer_capture(outcome), run_dir)):
        continue


def read_output(outcome: Outcome, kind: OutputKind, run_dir: RunDir) -> Any:
    """The output of an attempt, in the shape `kind`. Raises CaptureMismatch, BadOutputError."""
    _refuse_large(outcome, kind)
    return shape_output(outcome, kind, read_capture(answer_capture(outcome), run_dir))


def shape_output(outcome: Outcome, kind: OutputKind, answer: bytes) -> Any:
    """The output of an attempt whose `answer_capture` is these bytes, in the shape `kind`. Raises BadOutputError."""
    return parse_output(kind, answer if outcome.agent is None or kind != "json" else without_fence(answer))


def without_fence(answer: bytes) -> bytes:
    """The JSON of an answer that stands in a fence (```json … ```): models like to put one around, whatever they are told.

    So with text around the fence if there is one fence alone; anything else is left as it is.
    """
    # Counted first: to look for the end of each of a million fences would take for ever.
    found = _FENCE.search(answer) if answer.count(b"```") == 2 else None
    return answer if found is None else found[1]


_FENCE = lazy_pattern(rb"^```(?:json|JSON)?[ \t]*\r?\n(.*?)^[ \t]*```[ \t]*\r?$", re.DOTALL | re.MULTILINE)


def _refuse_large(outcome: Outcome, kind: OutputKind) -> None:
    """Raise BadOutputError for more JSON than is ever taken as values: it is not read."""
    if kind in ("json", "jsonl") and answer_capture(outcome).size > LARGEST_BYTES:
        raise BadOutputError(f"the output is larger than {size_in_words(LARGEST_BYTES)}")
