"""A worker's log: what survives when the worker, or the supervisor that should have heard of it, is killed.

Promise: a line that `read_log` returns was written whole, by this worker. Invariant: one line, one `write`, appended; a line
never depends on another, so a damaged one is skipped and nothing wrong follows from the rest: an outcome that is lost reads
as an attempt that has not ended. It survives SIGKILL at any instruction, not power loss: after that the journal alone counts.
A log is never empty, from before its worker starts: one that is gone or was emptied tells nothing, not that nothing was begun.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable

from .byte_text import encode_json, json_decoder
from .faultpoints import fault_point
from .files.holes import written_parts
from .files.opening import StrangeFileError, open_file
from .foreign import ForeignBytesError, decode_struct
from .protocol import Begun, Ended, LogLine

LOG_NAME = "log"
FORGET_ABOVE_BYTES = 64 * 1024

_HEAD = b"\n"
"""How each log begins."""

_decode: Callable[[bytes], LogLine] = json_decoder(LogLine)


class LogWriter:
    """Appends lines to `path`. Raises OSError when a line could not be written whole; the next line stands apart from it."""

    def __init__(self, path: str) -> None:
        self._descriptor = open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._size = os.fstat(self._descriptor).st_size
        # Also of a log that somebody has removed: the first line begins with a newline, the head.
        self._is_torn = True

    def append(self, line: LogLine) -> None:
        data = encode_line(line)
        if self._is_torn:
            data = b"\n" + data
        self._is_torn = True
        fault_point("worker.log.write")
        written = os.write(self._descriptor, data)
        if written < len(data):
            # The kernel tells why (disk full, quota) only to the write that follows a short one.
            written += os.write(self._descriptor, data[written:])
            if written < len(data):
                raise OSError(f"only {written} of {len(data)} bytes could be written")
        self._is_torn = False
        self._size += written

    def forget(self) -> None:
        """Cut a log that has grown long to its head. Only when every outcome in it stands in the journal."""
        if self._size > FORGET_ABOVE_BYTES:
            os.ftruncate(self._descriptor, len(_HEAD))
            self._size = len(_HEAD)
            # Of a log that somebody has emptied meanwhile this has made a byte that is no newline.
            self._is_torn = True

    def close(self) -> None:
        os.close(self._descriptor)


def encode_line(line: LogLine) -> bytes:
    """The line as it stands in the file: JSON, a space, CRC-32 of the JSON in eight hex digits, a newline."""
    data = encode_json(line)
    return b"%b %08x\n" % (data, zlib.crc32(data))


def begin_log(path: str) -> None:
    """Make the log of a worker that will be started. Raises OSError."""
    descriptor = open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        if os.fstat(descriptor).st_size == 0:
            os.write(descriptor, _HEAD)
    finally:
        os.close(descriptor)


def read_log(path: str) -> list[LogLine]:
    """All whole lines of the file, in order; none if `find_log` finds nothing. Raises OSError if it cannot be read."""
    return find_log(path) or []


def find_log(path: str) -> list[LogLine] | None:
    """All whole lines of the file, in order; None: it is gone, was emptied, or is no plain file, so it tells nothing.

    Raises OSError if it cannot be read.
    """
    try:
        descriptor = open_file(path)
    except (FileNotFoundError, StrangeFileError):
        return None
    try:
        size = os.fstat(descriptor).st_size
        # No line is durable: zeros may stand in its place.
        parts = written_parts(lambda offset, length: os.pread(descriptor, length, offset), 0, size)
        return parse_log(b"".join(data for _, data in parts)) if size else None
    finally:
        os.close(descriptor)


def parse_log(data: bytes) -> list[LogLine]:
    """All whole lines, in order. Damaged and torn ones are skipped."""
    lines: list[LogLine] = []
    # What follows the last newline is torn, even if it looks whole: its newline may be what is missing of a longer line.
    for line in data.split(b"\n")[:-1]:
        body, _, crc = line.rpartition(b" ")
        if crc != b"%08x" % zlib.crc32(body):
            continue
        try:
            lines.append(decode_struct(_decode, body))
        except ForeignBytesError:
            # A kind of line that this version does not know, or damage that the checksum fits by chance.
            continue
    return lines


def running_attempt(lines: Iterable[LogLine]) -> Begun | None:
    """The attempt that these lines tell to have begun and not to have ended."""
    running: Begun | None = None
    for line in lines:
        if isinstance(line, Begun):
            running = line
        elif isinstance(line, Ended) and running is not None and line.sequence == running.sequence:
            running = None
    return running
