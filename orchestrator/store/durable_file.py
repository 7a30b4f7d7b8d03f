"""Whole files that are replaced durably: after a crash the old content or the new one stands there, never a mixture.

Promise: when `write_durably` returns, `path` has the new content and survives power loss; when it raises, or the process is
killed inside it, `path` still has its old content (or, after the rename, the new one). It relies on one writer a path at a
time: the temporary name is fixed, so what a killed writer left behind is simply overwritten by the next.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.errors import StateUnwritableError
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.files.opening import open_file
from orchestrator.workers.files.room import NO_ROOM
from orchestrator.workers.files.syncing import sync_data, sync_folder


def unwritable(path: Path, error: OSError, *, is_run: bool = True) -> StateUnwritableError:
    """The user's words for a write that failed at `path`. `is_run`: there is a run by now, which can be resumed."""
    full = error.errno in NO_ROOM
    if not is_run:
        hint = f"{'free some space there' if full else 'mend that'}, then run it again"
    else:
        hint = "free some space there, then resume the run" if full else "mend that, then resume the run: what is recorded stays"
    return StateUnwritableError(f"{path}: cannot write state: {error.strerror or error}", hint)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all of `data`, however many calls it takes. Survives SIGKILL. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def temporary_path(path: Path) -> Path:
    """Where the new content of `path` is written before it takes its place: hidden, in the same folder."""
    return path.with_name(f".{path.name}.new")


def write_whole(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Replace `path` by `data`, which is never seen half-written. Survives SIGKILL, not power loss: for caches and notes.

    Raises StateUnwritableError. An exception of the iterable itself propagates as it is.
    """
    temporary = temporary_path(path)
    try:
        with open(open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.writelines([data] if isinstance(data, bytes) else data)
        temporary.rename(path)
    except OSError as error:
        raise unwritable(path, error) from error


def write_durably(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Replace `path` (mode 0600) by `data`; survives power loss when it returns.

    Raises StateUnwritableError. An exception of the iterable itself propagates as it is. Either way no temporary file stays.
    """
    for _ in write_in_parts(path, [data] if isinstance(data, bytes) else data):
        pass


def write_for_next_sync(path: Path, data: bytes) -> None:
    """As `write_durably`, but that its name survives power loss with the next sync of its folder, which the caller owes."""
    for _ in write_in_parts(path, [data], is_name_synced=False):
        pass


def write_in_parts(path: Path, chunks: Iterable[bytes], *, is_name_synced: bool = True) -> Iterator[None]:
    """As `write_durably`, which it has done when it ends: a chunk at a time. One that is closed before leaves the old content.

    `is_name_synced`: else as `write_for_next_sync`.
    """
    temporary = temporary_path(path)
    try:
        yield from _write_temporary(path, temporary, chunks)
        try:
            os.rename(temporary, path)
            fault_point("file.renamed")
            if is_name_synced:
                sync_folder(path.parent)
                fault_point("file.folder_synced")
        except OSError as error:
            # Renamed or not: whichever content stands there is whole.
            raise unwritable(path, error) from error
    except BaseException:
        # Only tidiness: the next writer overwrites a temporary file that cannot be removed now.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _write_temporary(path: Path, temporary: Path, chunks: Iterable[bytes]) -> Iterator[None]:
    try:
        fd = open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        for chunk in chunks:
            try:
                write_all(fd, chunk)
            except OSError as error:
                raise unwritable(path, error) from error
            yield
        # Synced before the rename: else a power cut may leave the new name with no content behind it.
        try:
            fault_point("file.written")
            sync_data(fd)
            fault_point("file.synced")
        except OSError as error:
            raise unwritable(path, error) from error
    finally:
        os.close(fd)
