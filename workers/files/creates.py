"""The file or folder an attempt promises: made under a temporary name, durable and renamed when it succeeded, else removed."""

from __future__ import annotations

import os

from ..attempt_end import AttemptEnd
from ..processes.spawn import SHORTAGES, CannotStart
from ..protocol import AttemptClass, Creates
from .syncing import sync_folder


def clear(promised: Creates) -> None:
    """Remove what an attempt that was killed left under the temporary name. Raises CannotStart, or OSError (SHORTAGES)."""
    try:
        _remove(promised.temporary)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        raise CannotStart(f"creates: {promised.temporary} stands in the way: {error.strerror}") from error


def settle(promised: Creates, end: AttemptEnd) -> AttemptEnd:
    """Keep the promise after a success (the final name then survives power loss, whole); remove the rest after a failure."""
    try:
        # After a failure half a file must not stay for somebody to take for a whole one.
        if end.attempt_class is not AttemptClass.OK:
            _remove(promised.temporary)
            return end
        # Durable before the name is: after power loss the final name never stands for half a file.
        _sync(promised.temporary)
        os.replace(promised.temporary, promised.final)
        sync_folder(os.path.dirname(promised.final))
    except FileNotFoundError:
        return end.but(AttemptClass.CREATES_MISSING, f"{promised.final} was not created (nothing at {promised.temporary})")
    except OSError as error:
        # A shortage says nothing of the command: the item may be tried again.
        if error.errno in SHORTAGES:
            return end.but(AttemptClass.STATE_ERROR, f"{promised.final} could not be made durable: {error.strerror}")
        if end.attempt_class is AttemptClass.OK:
            return end.but(AttemptClass.CREATES_MISSING, f"{promised.final} could not be put in place: {error.strerror}")
        return end.but(end.attempt_class, f"{promised.temporary} could not be removed: {error.strerror}")
    return end


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        # macOS says EPERM of a folder where Linux says EISDIR.
        if not os.path.isdir(path) or os.path.islink(path):
            raise
        import shutil

        shutil.rmtree(path)


def _sync(path: str) -> None:
    if not os.path.isdir(path):
        _sync_file(path)
        return
    for folder, _, names in os.walk(path):
        for name in names:
            inside = os.path.join(folder, name)
            if not os.path.islink(inside):
                _sync_file(inside)
        sync_folder(folder)


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
