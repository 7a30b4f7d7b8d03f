"""What an attempt wrote, wherever it stands just now."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.cli.noting import tell_note
from orchestrator.engines.onlookers import open_live_output, runs_now
from orchestrator.workers.files.opening import open_file

if TYPE_CHECKING:
    from orchestrator.reading.run_reader import RunReader

STREAMS = ("stdout", "stderr", "check")
"""In the order in which they are shown."""


def open_stream(reader: RunReader, job_id: str, index: int, attempt: int, name: str) -> BinaryIO | None:
    """Stream `name` of one attempt, wherever it stands now; None if it is empty.

    `name`: stdout, stderr, or check (what the attempt's check wrote when it failed).
    """
    # An attempt that runs writes into a file of its worker, which becomes its own when it ends: just now, perhaps.
    running = reader.history.open_starts.get((job_id, index))
    if running is not None and running.attempt == attempt and runs_now(reader.run_dir, running):
        live = open_live_output(reader.run_dir, running, name) if name != "check" else None
        return live or opened(_final_path(reader, job_id, index, attempt, name))
    # An attempt that has ended left a file for each stream that is not empty.
    from_file = opened(_final_path(reader, job_id, index, attempt, name))
    if from_file is not None:
        return from_file
    # After power loss a small stream may be in the record only.
    ended = reader.history.jobs[job_id].last_end(index)
    if ended is None or ended.attempt != attempt:
        return None
    outcome = ended.outcome
    capture = {"stdout": outcome.stdout, "stderr": outcome.stderr, "check": outcome.check}[name]
    return io.BytesIO(capture.inline) if capture.inline else None


def _final_path(reader: RunReader, job_id: str, index: int, attempt: int, name: str) -> Path:
    """Where the stream of an attempt lies once it has ended."""
    stdout, stderr = reader.run_dir.output_paths(job_id, index, attempt)
    return Path({"stdout": stdout, "stderr": stderr, "check": f"{stdout.removesuffix('stdout')}check"}[name])


def opened(path: Path) -> BinaryIO | None:
    """The file, open; None if there is none. One that cannot be read (another user's, no plain file) is told in a note."""
    try:
        return open(open_file(path), "rb")
    except FileNotFoundError:
        return None
    except OSError as error:
        tell_note(f"{path}: cannot be read: {error.strerror}")
        return None
