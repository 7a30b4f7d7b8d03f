"""Captured streams as outcomes tell them: a small one from the record itself, a large one from its file, compared with its hash.

Nothing here trusts a file by its name: what is not what was recorded is a CaptureMismatch, and no success stands on it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from orchestrator.store.run_dir import RunDir
from orchestrator.system.digests import sha256_hex
from orchestrator.workers.files.contents import copy_content
from orchestrator.workers.files.opening import open_file, open_found
from orchestrator.workers.files.syncing import make_folder, run_folder_of
from orchestrator.workers.protocol import Capture


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
        with _whole(path, capture) as file:
            data = file.read()
    except OSError as error:
        raise CaptureMismatch(f"{path}: {error.strerror}") from error
    _compare(path, capture, len(data), sha256_hex(data))
    return data


def capture_lines(capture: Capture, run_dir: RunDir) -> Iterator[bytes]:
    """The lines of the stream with their ends, one in memory at a time. Raises CaptureMismatch, before the first."""
    if capture.inline is not None or capture.size == 0:
        yield from io.BytesIO(capture.inline or b"")
        return
    verify_capture(capture, run_dir)
    with open(open_file(capture_path(capture, run_dir)), "rb") as file:
        yield from file


def capture_start(capture: Capture, run_dir: RunDir, length: int) -> bytes:
    """The first bytes of the stream, so many at most. Not compared with what was recorded. Raises CaptureMismatch."""
    if capture.inline is not None or capture.size == 0:
        return (capture.inline or b"")[:length]
    return _part(capture, run_dir, 0, length)


def capture_end(capture: Capture, run_dir: RunDir, length: int) -> bytes:
    """The last bytes of the stream, so many at most. Not compared with what was recorded. Raises CaptureMismatch."""
    if capture.inline is not None or capture.size == 0:
        return (capture.inline or b"")[-length:]
    return _part(capture, run_dir, max(capture.size - length, 0), length)


def _part(capture: Capture, run_dir: RunDir, first: int, length: int) -> bytes:
    path = capture_path(capture, run_dir)
    try:
        with open(open_file(path), "rb", buffering=0) as file:
            file.seek(first)
            return file.read(length)
    except OSError as error:
        raise CaptureMismatch(f"{path}: {error.strerror}") from error


def verify_capture(capture: Capture, run_dir: RunDir) -> None:
    """Raise CaptureMismatch unless the whole stream can be read as it was recorded. Memory does not grow with its size."""
    if capture.inline is not None or capture.size == 0:
        return
    import hashlib

    path = capture_path(capture, run_dir)
    try:
        with _whole(path, capture) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise CaptureMismatch(f"{path}: {error.strerror}") from error
    _compare(path, capture, size, digest)


def check_capture_stands(capture: Capture, run_dir: RunDir) -> None:
    """Raise CaptureMismatch unless there is a file of the recorded size. It is not opened: other damage is not seen."""
    if capture.inline is not None or capture.size == 0:
        return
    path = capture_path(capture, run_dir)
    try:
        size = path.lstat().st_size
    except OSError as error:
        raise CaptureMismatch(f"{path}: {error.strerror}") from error
    if size != capture.size:
        raise _other_size(path, capture, size)


def capture_path(capture: Capture, run_dir: RunDir) -> Path:
    """Where the stream lies. Recorded paths are absolute: after the home was moved it lies in this run's directory."""
    if capture.path is None:
        raise CaptureMismatch(f"{capture.size} bytes were captured and no file is recorded")
    path = Path(capture.path)
    moved = run_dir.path.joinpath(*path.parts[-4:])
    return path if path.exists() or not moved.exists() else moved


def keep_capture(capture: Capture, source: RunDir, target: str) -> Capture:
    """The same stream at `target`, so that it stays when the run `source` is pruned: a second name of the file, else a copy.

    Survives SIGKILL, not power loss: a hash in the record finds a file that came back empty.
    Raises CaptureMismatch if the stream is gone or not what was recorded, OSError if it cannot be kept.
    """
    if capture.size == 0:
        return capture
    verify_capture(capture, source)
    make_folder(os.path.dirname(target), run_folder_of(target), is_synced=False)
    Path(target).unlink(missing_ok=True)
    try:
        os.link(capture_path(capture, source), target)
    except OSError:
        # Gone (a small stream is in the record, too), on another file system, or of too many names.
        if capture.inline is not None:
            with open(open_file(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
                file.write(capture.inline)
        else:
            copy_content(str(capture_path(capture, source)), target)
    return msgspec.structs.replace(capture, path=target)


@contextmanager
def _whole(path: Path, capture: Capture) -> Iterator[io.BufferedReader]:
    """The file of the stream, to be read. Raises OSError, and CaptureMismatch if it has another size than was recorded."""
    descriptor, found = open_found(path, os.O_RDONLY)
    with open(descriptor, "rb") as file:
        # Before it is read: a hole of gigabytes behind it would take minutes.
        if found.st_size != capture.size:
            raise _other_size(path, capture, found.st_size)
        yield file


def _compare(path: Path, capture: Capture, size: int, sha256: str) -> None:
    if size != capture.size:
        raise _other_size(path, capture, size)
    if capture.sha256 is not None and sha256 != capture.sha256:
        raise CaptureMismatch(f"{path}: its content is not what was recorded")


def _other_size(path: Path, capture: Capture, size: int) -> CaptureMismatch:
    return CaptureMismatch(f"{path}: has {size} bytes, {capture.size} were recorded")
