"""What one pass over a run's files decodes of each line: enough to fold, of outcomes only what was said. Format 1 (`formats`).

A line is the JSON of one record (`records`). An outcome can be kilobytes; most of it is skipped over here and read whole, by
place (file, offset, length), only when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from orchestrator.store.records import Commit, Fact, Record, RunHeader, Started, Status
from orchestrator.store.refusals import refused
from orchestrator.store.spending_records import Spent
from orchestrator.workers.byte_text import json_decoder
from orchestrator.workers.foreign import decode_struct


class CheckpointHead(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a checkpoint. `counts` has, for each job, how many items have each status (none with 0)."""

    format: int
    run: str
    generation: int
    journal: str
    next_sequence: int
    next_worker: int
    counts: dict[str, dict[Status, int]]


class JournalHeader(msgspec.Struct, frozen=True, tag="journal", kw_only=True):
    """First line of a journal, inside its first group."""

    format: int
    generation: int
    run: str


class SaidByAgent(msgspec.Struct, frozen=True, gc=False):
    """Of `AgentReport` what tells that little was done, or something denied."""

    notes: tuple[str, ...] = ()
    denials: tuple[str, ...] = ()


class Said(msgspec.Struct, frozen=True, gc=False):
    """Of `Outcome` what people may have to know of a success."""

    message: str = ""
    agent: SaidByAgent | None = None


class EndLine(msgspec.Struct, frozen=True, tag="end", gc=False):
    """`AttemptEnded` with little of its outcome."""

    job: str
    index: int
    attempt: int
    status: Status
    outcome: Said = Said()
    token: str | None = None
    deduped_from: str | None = None
    round: int = 0
    spent: Spent | None = None


class SettledLine(msgspec.Struct, frozen=True, tag="item", gc=False):
    """`ItemSettled` without its words."""

    job: str
    index: int
    status: Status
    stale: bool = False
    gone: bool = False


Line = EndLine | Started | SettledLine | Commit | JournalHeader | Fact
"""What a line decodes to in the pass."""

_decode_head: Callable[[bytes], CheckpointHead] = json_decoder(CheckpointHead)
_decode_beginning: Callable[[bytes], list[RunHeader | JournalHeader | Commit]] = json_decoder(
    list[RunHeader | JournalHeader | Commit]
)
_decode_block: Callable[[bytes], list[Line]] = json_decoder(list[Line])
_decode_line: Callable[[bytes], Line] = json_decoder(Line)
_decode_record: Callable[[bytes], Record] = json_decoder(Record)
_decode_records: Callable[[bytes], list[Record]] = json_decoder(list[Record])

_LINES_OF_BEGINNING = 2
_DAMAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a line raises that no version has written."""


def decode_head(document: bytes) -> CheckpointHead:
    """The first line of a checkpoint, as a JSON object of its own. Raises ForeignBytesError."""
    return decode_struct(_decode_head, document)


def decode_line(line: bytes) -> Line | None:
    """The line's light form; None if it is damaged or of an unknown kind."""
    try:
        return _decode_line(line)
    except _DAMAGE:
        return None


def decode_lines(lines: Sequence[bytes]) -> Sequence[Line | None]:
    """The light form of each of `lines`, None for those that are damaged. One call into C when none is."""
    # The files of a run that begins have no more than this, and who asks what a run is reads no more: so most need no decoder of
    # all kinds of lines, which takes as long to make as a thousand lines to read.
    joined = b"[" + b",".join(lines) + b"]"
    if len(lines) <= _LINES_OF_BEGINNING:
        with suppress(*_DAMAGE):
            beginning = _decode_beginning(joined)
            if len(beginning) == len(lines):
                return beginning
    try:
        decoded = _decode_block(joined)
    except _DAMAGE:
        return [decode_line(line) for line in lines]
    # Damage can make two lines read as one value or one as two: then only the slow way tells which is which.
    return decoded if len(decoded) == len(lines) else [decode_line(line) for line in lines]


def decode_record(line: bytes, path: Path) -> Record:
    """The whole record of a line. Raises StateRefusedError."""
    try:
        return _decode_record(line)
    except _DAMAGE as error:
        raise refused(path, f"damaged: {error}") from error


def decode_records(lines: Sequence[bytes], path: Path) -> list[Record]:
    """The whole record of each of `lines`, by one call into C. Raises StateRefusedError."""
    with suppress(*_DAMAGE):
        records = _decode_records(b"[" + b",".join(lines) + b"]")
        if len(records) == len(lines):
            return records
    return [decode_record(line, path) for line in lines]
