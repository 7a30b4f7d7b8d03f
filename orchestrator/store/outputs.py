"""Captured streams as their outcomes tell them: small ones from the record itself, large ones from their file, verified."""

from __future__ import annotations

import hashlib
from pathlib import Path

from orchestrator.store.rundir import RunDir
from workers.protocol import Capture


class CaptureMismatch(Exception):
    """The file of a captured stream is not what its outcome says: the attempt must not count as a success."""


def read_capture(capture: Capture, run_dir: RunDir) -> bytes:
    """All bytes of the stream. Raises CaptureMismatch."""
    if capture.inline is not None:
        return capture.inline
    if capture.size == 0:
        return b""
    path = capture_path(capture, run_dir)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaptureMismatch(f"{path}: {error.strerror}") from error
    _compare(path, capture, len(data), hashlib.sha256(data).hexdigest())
    return data


def verify_capture(capture: Capture, run_dir: RunDir) -> None:
    """Raise CaptureMismatch unless the whole stream can be read as it was recorded. Memory does not grow with its size."""
    if capture.inline is not None or capture.size == 0:
        return
    path = capture_path(capture, run_dir)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise CaptureMismatch(f"{path}: {error.strerror}") from error
    _compare(path, capture, size, digest)


def capture_path(capture: Capture, run_dir: RunDir) -> Path:
    """Where the stream lies. Recorded paths are absolute: after the home was moved it lies in this run's directory."""
    if capture.path is None:
        raise CaptureMismatch(f"{capture.size} bytes were captured and no file is recorded")
    path = Path(capture.path)
    moved = run_dir.path.joinpath(*path.parts[-4:])
    return path if path.exists() or not moved.exists() else moved


def _compare(path: Path, capture: Capture, size: int, sha256: str) -> None:
    if size != capture.size:
        raise CaptureMismatch(f"{path}: has {size} bytes, {capture.size} were recorded")
    if capture.sha256 is not None and sha256 != capture.sha256:
        raise CaptureMismatch(f"{path}: its content is not what was recorded")
