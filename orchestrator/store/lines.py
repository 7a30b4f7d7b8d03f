"""What one pass over a run's files decodes of each line: enough to fold, nothing of the outcomes.

A line is the JSON of one record (`records`). An outcome can be kilobytes; its line is skipped over here and read whole, by
place (file, offset, length), only when somebody asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from orchestrator.errors import StateRefusedError
from orchestrator.store.records import Commit, Fact, Record, Spent, Started, Status
from orchestrator.store.refusals import refused

BLOCK_BYTES = 1 << 16
"""How much of a file is read and decoded at a time. A larger block is slower: malloc gets each one afresh from the kernel."""


class JournalHeader(msgspec.Struct, frozen=True, tag="journal", kw_only=True):
    """First line of a journal, inside its first group."""

    format: int
    generation: int
    run: str


class EndLine(msgspec.Struct, frozen=True, tag="end", gc=False):
    """`AttemptEnded` without its outcome."""

    job: str
    index: int
    attempt: int
    status: Status
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

_block_decoder: msgspec.json.Decoder[list[Line]] = msgspec.json.Decoder(list[Line])
_line_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_record_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def decode_line(line: bytes) -> Line | None:
    """The line's light form; None if it is damaged or of an unknown kind."""
    try:
        return _line_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def decode_lines(lines: Sequence[bytes]) -> Sequence[Line | None]:
    """The light form of each of `lines`, None for those that are damaged. One call into C when none is."""
    try:
        decoded = _block_decoder.decode(b"[" + b",".join(lines) + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [decode_line(line) for line in lines]
    # Damage can make two lines read as one value or one as two: then only the slow way tells which is which.
    return decoded if len(decoded) == len(lines) else [decode_line(line) for line in lines]


def decode_record(line: bytes, path: Path) -> Record:
    """The whole record of a line. Raises StateRefusedError."""
    try:
        return _record_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused(path, f"damaged: {error}") from error


class SourceFile:
    """A file of the run, open for reading by place, also after it was deleted. Closed with its last user."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        # Nothing to close when the open itself failed.
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self._fd).st_size

    def moment(self) -> tuple[int, int]:
        """Bytes in the file, and when it was last written to (nanoseconds): differs whenever a writer did something."""
        found = os.fstat(self._fd)
        return found.st_size, found.st_mtime_ns

    def is_at_its_path(self) -> bool:
        """Whether this very file stands at its path, and neither another one nor none."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return False
        # The number of an open file is not given to another one.
        return os.path.samestat(found, os.fstat(self._fd))

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`: fewer only at the end of the file. Raises StateRefusedError."""
        try:
            data = os.pread(self._fd, length, offset)
            while len(data) < length and (more := os.pread(self._fd, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise StateRefusedError(f"{self.path}: cannot be read: {error.strerror}") from error
        return data
