"""The formats of checkpoint and journal: which there have been, and how a file of each is read.

Records of tokens, parks of accounts and capsules have formats of their own, with their readers; the same holds for them.

Promise: what any version has written loads for ever. Refused, and left as it is: a file of a format that this program does not
know yet.

Within a format, lines may only gain: a record gets a field that has a default, or there is a new kind of record. A line without
the field then reads as it did before. All versions until now have written format 1 (tests/store/recorded_runs has runs of them).

Whatever else changes is the next format, N:
1. `FORMAT` becomes N. The structs and decoders that read format N - 1 move into a module of their own, which turns its lines
   into today's records; they get their `case` in `format_of`.
2. `RunStore.open` takes a checkpoint before it appends to a run of an older format, so that a journal holds lines of its own
   format alone. A checkpoint of such a run copies no line: it decodes each and encodes it anew.
3. The last program that wrote N - 1 records runs for the tests (tests/store/recorded_runs/record.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from orchestrator.store.lines import CheckpointHead, Line, decode_head, decode_lines, decode_record, decode_records
from orchestrator.store.records import Record
from orchestrator.store.refusals import newer, refused
from orchestrator.workers.byte_text import json_decoder
from orchestrator.workers.foreign import decode_struct

FORMAT = 1
"""The format that this program writes."""


class _Told(msgspec.Struct):
    format: int | None = None


_decode_told: Callable[[bytes], _Told] = json_decoder(_Told)


def format_told(document: bytes) -> int | None:
    """The format that a JSON object tells, whatever else is in it; None: it tells none. Raises ForeignBytesError."""
    return decode_struct(_decode_told, document).format


class Format(msgspec.Struct, frozen=True):
    """How files of one format are read, into today's structs: as the functions of `lines` do that have these names."""

    decode_head: Callable[[bytes], CheckpointHead]
    decode_lines: Callable[[Sequence[bytes]], Sequence[Line | None]]
    decode_record: Callable[[bytes, Path], Record]
    decode_records: Callable[[Sequence[bytes], Path], list[Record]]


TODAY = Format(decode_head, decode_lines, decode_record, decode_records)


def format_of(path: Path, found: int) -> Format:
    """How the file at `path` is read, which says that it has format `found`. Raises StateRefusedError: there is none such yet."""
    match found:
        case 1:
            return TODAY
        case _ if found > FORMAT:
            raise newer(path, found)
        case _:
            raise refused(path, f"damaged: no version has written format {found}")


def check_same(path: Path, found: int, format_: Format) -> None:
    """A journal has the format of its checkpoint, for one program makes both. Raises StateRefusedError."""
    if format_of(path, found) is not format_:
        raise refused(path, f"damaged: its format {found} is not that of its checkpoint")
