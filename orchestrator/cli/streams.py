"""What an attempt wrote, wherever it stands just now."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from orchestrator.results import RunReader


def open_stream(reader: RunReader, job_id: str, index: int, attempt: int, name: str) -> BinaryIO | None:
    """Stream `name` (stdout or stderr) of one attempt: from its file, else from its record, else live; None if it is empty."""
    running = reader.history.open_starts.get((job_id, index))
    if running is not None and running.attempt == attempt:
        live = reader.run_dir.worker_folder(running.worker) / name
        return _opened(live) or _opened(_final_path(reader, job_id, index, attempt, name))
    from_file = _opened(_final_path(reader, job_id, index, attempt, name))
    if from_file is not None:
        return from_file
    ended = reader.history.jobs[job_id].last_end(index)
    if ended is None or ended.attempt != attempt:
        return None
    capture = ended.outcome.stdout if name == "stdout" else ended.outcome.stderr
    # After power loss a small stream may be in the record only.
    return io.BytesIO(capture.inline) if capture.inline else None


def _final_path(reader: RunReader, job_id: str, index: int, attempt: int, name: str) -> Path:
    stdout, stderr = reader.run_dir.output_paths(job_id, index, attempt)
    return Path(stdout if name == "stdout" else stderr)


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None
