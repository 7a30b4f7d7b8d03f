"""What a run came to, kept in its folder when its supervisor ends: `list`, `status` and a resume that finds nothing to do read it
instead of all records. Only a cache.

Promise: it is believed only while checkpoint and journal are what they were when it was written, by their generation, sizes and
times. One that is torn, edited, another's or of another version is as none, and nothing is said of it: then the records are read.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from orchestrator.errors import StateUnwritableError
from orchestrator.store.durable_file import write_whole
from orchestrator.store.run_dir import CHECKPOINT_NAME, SUMMARY_NAME, RunDir, journal_name
from orchestrator.workers.byte_text import encode_json, json_decoder
from orchestrator.workers.files.opening import read_file
from orchestrator.workers.foreign import ForeignBytesError, decode_struct
from orchestrator.workers.processes.identity import boot_id

if TYPE_CHECKING:
    from orchestrator.store.run_history import RunHistory

FORMAT = 3
"""Another one for each change of what `reading.run_summary` or `reading.told_items` make: an older one is then read from the
records."""

_LARGEST_BYTES = 16 << 20

Moment = tuple[int, int]
"""Of a file: bytes, and the time of the last write in nanoseconds."""


class KeptSummary(msgspec.Struct, frozen=True, kw_only=True):
    """`summary`: the object of `status --json`. `told`: what `status` tells people besides (`reading.told_items`); None: it has
    to be read. `boot_id`: of the boot in which the run ended. `slots_set`: as of `RunHistory`."""

    format: int
    generation: int
    checkpoint: Moment
    journal: Moment
    boot_id: str
    slots_set: int | None
    summary: dict[str, Any]
    told: dict[str, Any] | None


_decode = json_decoder(KeptSummary)


def keep_summary(run_dir: RunDir, history: RunHistory, summary: dict[str, Any], told: dict[str, Any] | None = None) -> None:
    """Keep this of a run whose last record is durable, by who holds its lock: see `KeptSummary`.

    Survives SIGKILL, not power loss. Where it cannot be written there is none.
    """
    checkpoint, journal = history.sources.moments()
    kept = encode_json(
        KeptSummary(
            format=FORMAT,
            generation=history.generation,
            checkpoint=checkpoint,
            journal=journal,
            boot_id=boot_id(),
            slots_set=history.slots_set,
            summary=summary,
            told=told,
        )
    )
    if len(kept) < _LARGEST_BYTES:
        with contextlib.suppress(StateUnwritableError):
            write_whole(run_dir.summary, kept + b"\n%d\n" % crc32(kept))


def kept_summary(run_dir: RunDir) -> KeptSummary | None:
    """What was kept of a run that no other process supervises; None if there is nothing, or the run has changed since."""
    # By texts: `list` asks this of each run, and a path of pathlib takes longer than what the kernel is asked.
    folder = os.fspath(run_dir.path)
    try:
        line, _, end = read_file(f"{folder}/{SUMMARY_NAME}", _LARGEST_BYTES).partition(b"\n")
        if end != b"%d\n" % crc32(line):
            return None
        kept = decode_struct(_decode, line)
        moments = _moment(f"{folder}/{CHECKPOINT_NAME}"), _moment(f"{folder}/{journal_name(kept.generation)}")
    except (OSError, ForeignBytesError):
        return None
    is_as_it_was = kept.format == FORMAT and moments == (kept.checkpoint, kept.journal)
    return kept if is_as_it_was and kept.summary.get("run_id") == run_dir.run_id else None


def _moment(path: str) -> Moment:
    found = os.lstat(path)
    return found.st_size, found.st_mtime_ns
