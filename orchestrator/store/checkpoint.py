"""The checkpoint: a run's compacted history, one JSON document laid out one record a line.

```
{"format":1,"run":ID,"generation":G,"journal":"journal-G.jsonl","next_sequence":N,"next_worker":N,"counts":{…},"records":[
{"type":"run",…},
…
],"crc":C}
```

Its records fold to the same history as all records before it did. `crc` is the CRC-32 of everything before the last line.
`checkpoint_writer` makes such a document; here one is read. Refused, and left as it is: a damaged checkpoint, or one of a newer
format.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import msgspec

from orchestrator.store.formats import format_of, format_told
from orchestrator.store.kept_records import open_checkpoint
from orchestrator.store.lines import CheckpointHead, Line
from orchestrator.store.records import RunHeader
from orchestrator.store.refusals import refused
from orchestrator.store.run_dir import journal_name
from orchestrator.store.source_file import BLOCK_BYTES, SourceFile
from orchestrator.workers.foreign import ForeignBytesError
from orchestrator.workers.lazy_pattern import lazy_pattern

SEPARATOR = b",\n"
HEAD_END = b',"records":[\n'
_LAST_LINE = lazy_pattern(rb'\n\],"crc":(\d{1,10})\}\n\Z')
_LAST_LINE_BYTES = len('\n],"crc":4294967295}\n')


def read_head(source: SourceFile, beginning: bytes = b"") -> tuple[CheckpointHead, int]:
    """The first line and its length in bytes. `beginning`: what was read of the file. Raises StateRefusedError: damaged, or of a
    newer format."""
    line, end, _ = _from(source, 0, beginning).partition(b"\n")
    document = line.removesuffix(HEAD_END[:-1]) + b"}"
    try:
        head = format_of(source.path, format_told(document) or 0).decode_head(document)
    except ForeignBytesError as error:
        raise refused(source.path, f"damaged: it is {error}") from error
    if not end or not line.endswith(HEAD_END[:-1]) or head.journal != journal_name(head.generation):
        raise refused(source.path, "damaged")
    return head, len(line) + 1


def _from(source: SourceFile, offset: int, beginning: bytes) -> bytes:
    """What stands at `offset`, at least to the end of the line or of the file, or to a zero byte, which no line has.

    `beginning`: what was read of the file.
    """
    data = beginning[offset:]
    while b"\n" not in data and b"\0" not in data and (more := source.read(offset + len(data), 4096 + len(data))):
        data += more
    return data


def read_header(path: Path) -> RunHeader:
    """Only what the run is: cheap, and without a check of the rest. Raises FileNotFoundError, StateRefusedError."""
    source = open_checkpoint(path)
    # Mostly both lines at once: `list` does this for each run.
    beginning = source.read(0, 4096)
    head, start = read_head(source, beginning)
    line = _from(source, start, beginning).partition(b"\n")[0].removesuffix(b",")
    [header] = format_of(path, head.format).decode_lines([line])
    if not isinstance(header, RunHeader):
        raise refused(path, "damaged: it has no header")
    return header


class LinesOfBlock(msgspec.Struct):
    """Records that stand one behind the other in a file, and of each where it begins and how long it is."""

    lines: Sequence[Line]
    offsets: list[int]
    lengths: list[int]


def read_lines(source: SourceFile, head: CheckpointHead, start: int) -> Iterator[tuple[Line, int, int]]:
    """(line, offset, length) of each record after the head of `start` bytes. Raises StateRefusedError."""
    for block in read_blocks(source, head, start):
        yield from zip(block.lines, block.offsets, block.lengths, strict=True)


def read_blocks(source: SourceFile, head: CheckpointHead, start: int) -> Iterator[LinesOfBlock]:
    """The records after the head of `start` bytes, a block at a time. Raises StateRefusedError.

    The checksum is checked before anything is yielded: a damaged number must not be believed, not even for a moment.
    """
    end = _check_whole(source)
    decode_lines = format_of(source.path, head.format).decode_lines
    offset = start
    want = BLOCK_BYTES
    while offset < end:
        data = source.read(offset, min(want, end - offset))
        is_last = offset + len(data) >= end
        # A block may end in the middle of a record: that one is read again with the next. A record longer than a block
        # wants a larger block.
        if not is_last:
            whole = data.rfind(SEPARATOR)
            if whole < 0:
                want *= 2
                continue
            data = data[:whole]
        found = data.split(SEPARATOR)
        lines = [line for line in decode_lines(found) if line is not None]
        # A record that is skipped would be an outcome lost: it is refused.
        if len(lines) < len(found):
            raise refused(source.path, "has records of an unknown kind: newer?")
        lengths = [*map(len, found)]
        *offsets, offset = accumulate(lengths, lambda begin, length: begin + length + len(SEPARATOR), initial=offset)
        yield LinesOfBlock(lines, offsets, lengths)
        want = BLOCK_BYTES


def _check_whole(source: SourceFile) -> int:
    """Where the records end. Raises StateRefusedError."""
    size = source.size()
    last = _LAST_LINE.search(source.read(max(size - _LAST_LINE_BYTES, 0), _LAST_LINE_BYTES))
    if last is None:
        raise refused(source.path, "damaged: it is not complete")
    end = size - len(last[0])
    crc = 0
    for offset in range(0, end, BLOCK_BYTES):
        crc = zlib.crc32(source.read(offset, min(BLOCK_BYTES, end - offset)), crc)
    if crc != int(last[1]):
        raise refused(source.path, "damaged: its checksum does not match")
    return end
