"""Data to stdout. A closed pipe raises BrokenPipeError, which `main` takes for "the reader has enough". Other errors are told.

Promise: on a terminal nothing arrives that it would obey, whatever is written here, but by `write_raw`. A pipe and a file get
data byte for byte; a line of words (`write_line`) is one line, and is escaped everywhere.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from orchestrator.errors import ExitCode, UserError
from orchestrator.system.redaction import of_this_process
from orchestrator.system.wording import for_terminal, shown

_decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
"""Of what this process writes to a terminal."""


class OutputError(UserError):
    """Stdout, or the file of -o, could not be written."""

    exit_code = ExitCode.STATE_UNWRITABLE


def stdout_bytes() -> BinaryIO | None:
    """Stdout for bytes; None if this process was started without a stdout."""
    return sys.stdout.buffer if sys.stdout is not None else None


def own_stdout() -> BinaryIO | None:
    """Stdout for a thread that may wait there for ever: unbuffered, and not locked when the interpreter flushes sys.stdout."""
    if sys.stdout is None:
        return None
    sys.stdout.flush()
    return open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def write_bytes(data: bytes) -> None:
    """Write data to stdout: to a terminal as text that it cannot obey, else as it is. Raises BrokenPipeError, OutputError.

    Data may be cut anywhere: on a terminal the beginning of a character waits for its rest, or for `finish`.
    """
    write_raw(_for_terminal(_decoder.decode(data)) if is_terminal() else data)


def _for_terminal(text: str) -> bytes:
    # One that does not speak UTF-8 would obey parts of its characters.
    encoding = sys.stdout.encoding if sys.stdout is not None else None
    return for_terminal(text).encode(encoding or "utf-8", "backslashreplace")


def write_raw(data: bytes) -> None:
    """Write `data` to stdout as it is, for a user who has asked for that. Raises BrokenPipeError, OutputError."""
    stream = stdout_bytes()
    if stream is None:
        return
    try:
        stream.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"stdout: {error.strerror}") from error


def write_line(text: str) -> None:
    """Write one line of words to stdout, without secrets: nothing in it ends the line, or drives a terminal."""
    write_bytes(shown(of_this_process().redact_text(text)).encode() + b"\n")


def write_lines(lines: Iterable[str]) -> None:
    """Write lines for people to stdout, without secrets: a message may hold what a failed command printed."""
    for line in lines:
        write_line(line)


def write_json(value: object) -> None:
    """Write `value` to stdout as one line of JSON, without secrets."""
    from orchestrator.views.json_lines import json_line

    write_to(None, [of_this_process().redact(json_line(value))])


def write_to(path: str | None, chunks: Iterable[bytes]) -> None:
    """Write `chunks` to stdout (None, "-"), or to a file that is replaced once all is written; a terminal may be such a file.

    Raises BrokenPipeError, OutputError; UserError for a file that cannot be written.
    """
    if path is None or path == "-":
        for chunk in chunks:
            write_bytes(chunk)
        return
    with replaced(path) as file:
        file.writelines(_shown_chunks(chunks) if file.isatty() else chunks)


def _shown_chunks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for chunk in chunks:
        yield _for_terminal(decoder.decode(chunk))
    yield _for_terminal(decoder.decode(b"", final=True))


def new_file(path: str | os.PathLike[str]) -> BinaryIO:
    """A file that was not there before, which others may read and never write. Raises FileExistsError, OSError."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb")


def check_replaceable(path: str) -> None:
    """Raise UserError if `replaced` could not write `path` now; it is left as it is."""
    folder = os.path.dirname(path) or "."
    written = path if os.path.lexists(path) and not os.path.isfile(path) else folder
    if os.path.isdir(path):
        raise UserError(f"{path}: cannot be written: it is a folder", "name a file in it")
    if not os.path.isdir(folder):
        raise UserError(f"{path}: cannot be written: there is no folder {folder}", "make the folder, or name another file")
    if not os.access(written, os.W_OK):
        raise UserError(f"{path}: cannot be written: {os.strerror(errno.EACCES)}", "name a file that you may write")


@contextlib.contextmanager
def replaced(path: str, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` once all of it is written. Raises UserError if it cannot be written.

    A device, a FIFO or a link at `path` is written itself: replaced by a file, it would be gone for all others.
    """
    # Beside the target, for only a rename within one file system replaces at once.
    is_special = os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode)
    temporary = path if is_special else f"{path}.new-{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if is_special else os.O_EXCL)
    try:
        with open(os.open(temporary, flags, mode), "wb") as file:
            yield file
        if not is_special:
            os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        # It is gone by the rename, or was never made.
        if not is_special and os.path.lexists(temporary):
            os.unlink(temporary)


def silence() -> None:
    """Let stdout lead nowhere, for its reader has gone. Otherwise what is still buffered would fail once more at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def finish() -> None:
    """Write all that waits: nothing more comes. Raises BrokenPipeError, OutputError."""
    if rest := _decoder.decode(b"", final=True):
        write_raw(_for_terminal(rest))
    flush()


def flush() -> None:
    """Write what is buffered. Raises BrokenPipeError, OutputError."""
    stream = stdout_bytes()
    if stream is None:
        return
    try:
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"stdout: {error.strerror}") from error
