"""What a run came to, kept in its folder when its supervisor ends: `list` reads it instead of all records. Only a cache.

Promise: it is believed only while checkpoint and journal are what they were when it was written, by their generation, sizes and
times. One that is torn, edited, another's or of another version is as none, and nothing is said of it: then the records are read.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any
from zlib import crc32

import msgspec

from orchestrator.errors import StateRefusedError, StateUnwritableError
from orchestrator.store.durable_file import write_whole
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.store.source_file import SourceFile
from orchestrator.workers.byte_text import encode_json, json_decoder
from orchestrator.workers.foreign import ForeignBytesError, decode_struct

FORMAT = 1
"""Another one for each change of what `reading.run_summary` makes: an older summary is then read from the records."""

_LARGEST_BYTES = 16 << 20

Moment = tuple[int, int]
"""Of a file: bytes, and the time of the last write in nanoseconds."""


class _Kept(msgspec.Struct, frozen=True):
    format: int
    generation: int
    checkpoint: Moment
    journal: Moment
    summary: dict[str, Any]


_decode = json_decoder(_Kept)


def keep_summary(run_dir: RunDir, history: RunHistory, summary: dict[str, Any]) -> None:
    """Keep the object of `status --json` for a run that was just checkpointed, by who holds its lock.

    Survives SIGKILL, not power loss. Where it cannot be written there is none.
    """
    checkpoint, journal = history.sources.moments()
    kept = encode_json(_Kept(FORMAT, history.generation, checkpoint, journal, summary))
    if len(kept) < _LARGEST_BYTES:
        with contextlib.suppress(StateUnwritableError):
            write_whole(run_dir.summary, kept + b"\n%d\n" % crc32(kept))


def kept_summary(run_dir: RunDir) -> dict[str, Any] | None:
    """What was kept of a run that no supervisor holds; None if there is nothing, or the run has changed since."""
    try:
        file = SourceFile(run_dir.summary)
        if file.size() > _LARGEST_BYTES:
            return None
        line, _, end = file.read(0, _LARGEST_BYTES).partition(b"\n")
        if end != b"%d\n" % crc32(line):
            return None
        kept = decode_struct(_decode, line)
        moments = _moment(run_dir.checkpoint), _moment(run_dir.journal(kept.generation))
    except (OSError, StateRefusedError, ForeignBytesError):
        return None
    is_as_it_was = kept.format == FORMAT and moments == (kept.checkpoint, kept.journal)
    return kept.summary if is_as_it_was and kept.summary.get("run_id") == run_dir.run_id else None


def _moment(path: os.PathLike[str]) -> Moment:
    found = os.lstat(path)
    return found.st_size, found.st_mtime_ns
