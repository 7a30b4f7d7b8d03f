"""An output that is too large to be held as a value: it is read from its file piece by piece, by whoever writes it somewhere.

Promise: what is written of it is what would be written of the value, and memory does not grow with it. The file is compared with
its hash before its first piece is given. Outputs that are JSON are values however large: they are bounded when they are decoded.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.jobsfile.model import Job, OutputKind
from orchestrator.reading.run_records import Records
from orchestrator.store.captures import capture_lines, capture_path, verify_capture
from orchestrator.store.outputs import answer_capture, json_lines
from orchestrator.workers.byte_text import BYTE_ORDER_MARK, encode_json
from orchestrator.workers.protocol import AttemptClass, Outcome

LARGE_BYTES = 1 << 20
"""What has more is given in pieces."""
PIECE_BYTES = 1 << 16


class LargeOutput:
    """The output of kind `text` or `lines` in the file at `path`."""

    def __init__(self, path: Path, kind: OutputKind) -> None:
        self._path = path
        self._kind = kind

    def text(self) -> Iterator[str]:
        """As a cell of a table has it: text as it is, lines as JSON."""
        if self._kind == "text":
            return _without_last_end(self._pieces())
        return (piece.decode() for piece in self.json())

    def json(self) -> Iterator[bytes]:
        """As JSON."""
        if self._kind == "text":
            yield b'"'
            for piece in self.text():
                yield encode_json(piece)[1:-1]
            yield b'"'
            return
        before = b"["
        for line in self.lines():
            yield before + encode_json(line)
            before = b","
        yield b"[]" if before == b"[" else b"]"

    def lines(self) -> Iterator[str]:
        """As `workers.byte_text.lines_of` has them."""
        ending = "\r\n" if self._has_dos_ends() else "\n"
        parts: list[str] = []
        for number, piece in enumerate(self._pieces(newline=ending)):
            first, *more = (piece.removeprefix(_MARK) if number == 0 else piece).split(ending)
            parts.append(first)
            if more:
                yield "".join(parts)
                yield from more[:-1]
                parts = [more[-1]]
        if rest := "".join(parts):
            yield rest

    def _has_dos_ends(self) -> bool:
        """Whether there are line ends, and each is CR LF."""
        before, ends = b"", 0
        for block in self._blocks():
            joined = before[-1:] + block
            found = joined.count(b"\r\n")
            if found != block.count(b"\n"):
                return False
            ends += found
            before = block
        return ends > 0

    def _pieces(self, newline: str = "\n") -> Iterator[str]:
        """The text; no piece ends in the middle of a line end."""
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        # Only a CR can be half of an end.
        held = ""
        for block in self._blocks():
            text = held + decoder.decode(block)
            held = "\r" if newline == "\r\n" and text.endswith("\r") else ""
            yield text.removesuffix(held) if held else text
        yield held + decoder.decode(b"", final=True)

    def _blocks(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while block := file.read(PIECE_BYTES):
                yield block


def output_of_end_in_pieces(records: Records, job_id: str, outcome: Outcome) -> Any:
    """`Records.output_of_end`, or a `LargeOutput` in its place. Raises CaptureMismatch."""
    large = large_output(records, records.job(job_id), outcome)
    return records.output_of_end(job_id, outcome) if large is None else large


def items_in_pieces(records: Records, job_id: str) -> Iterator[Any] | None:
    """The elements of the one output of `job_id` if that is a large list, one at a time; None: it is not. Raises CaptureMismatch,
    for JSON while they are read.
    """
    past, job = records.history.jobs[job_id], records.job(job_id)
    ended = None if job.for_each is not None or past.gates or past.is_void(0) else past.last_end(0)
    if ended is None or not _is_large(ended.outcome):
        return None
    if job.output == "jsonl":
        return json_lines(capture_lines(answer_capture(ended.outcome), records.run_dir))
    large = large_output(records, job, ended.outcome) if job.output == "lines" else None
    return None if large is None else large.lines()


def _is_large(outcome: Outcome) -> bool:
    capture = answer_capture(outcome)
    return outcome.attempt_class is AttemptClass.OK and capture.inline is None and capture.size > LARGE_BYTES


def large_output(records: Records, job: Job, outcome: Outcome) -> LargeOutput | None:
    """The output of a success, if it is large. Raises CaptureMismatch."""
    if not _is_large(outcome) or job.output not in ("text", "lines"):
        return None
    capture = answer_capture(outcome)
    verify_capture(capture, records.run_dir)
    return LargeOutput(capture_path(capture, records.run_dir), job.output)


_MARK = BYTE_ORDER_MARK.decode()


def _without_last_end(pieces: Iterator[str]) -> Iterator[str]:
    """The text without one newline at its end."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = "\n" if text.endswith("\n") else ""
        yield text.removesuffix(held) if held else text
