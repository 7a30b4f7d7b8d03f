"""The file or folder an attempt promises (`creates`): made under a temporary name, durable and renamed when the attempt succeeds.

Promise: the final name stands for what a success made, whole, also after power loss. What a failed attempt made is never removed,
for its command may have removed what it was made of: it is set aside under a name of its own, and told.
Invariant: a file at the final name proves nothing if a failed attempt of this item may have left it there (`fingerprint`).

A command may also write the final name itself. Then the file is there before it is whole, so a killed attempt leaves half of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from ..attempt_end import AttemptEnd
from ..byte_text import bytes_of_text
from ..processes.spawn import SHORTAGES, CannotStart
from ..protocol import AttemptClass, Creates
from .syncing import sync_file, sync_folder
from .walking import walk


class Before(NamedTuple):
    """What stood there when the attempt began: the fingerprint at the final name, and in words what was set aside."""

    final: str = ""
    note: str = ""


class Settled(NamedTuple):
    """What the attempt came to. `unproven`: of a failure, the fingerprint of what stands at the final name."""

    end: AttemptEnd
    unproven: str = ""


def fingerprint(path: str) -> str:
    """What stands at `path`, as text that is another once the file, or anything in the folder, is another; "" for nothing."""
    try:
        found = _mark(os.stat(path))
        if not os.path.isdir(path):
            return found
    except OSError:
        return ""
    import hashlib

    digest = hashlib.sha256(found.encode())
    for inside in _all_in(path):
        try:
            digest.update(bytes_of_text(f"{inside} {_mark(os.lstat(inside))}\n"))
        except OSError:  # it goes while it is looked at: another look finds another folder
            digest.update(b"gone\n")
    return digest.hexdigest()[:32]


def clear(promised: Creates) -> Before:
    """Make the folder of the file, and set aside what an attempt that was killed left under the temporary name.

    Raises CannotStart, or OSError (SHORTAGES).
    """
    folder = os.path.dirname(promised.temporary)
    try:
        _make_folder(folder)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        raise CannotStart(f"creates: {folder} cannot be made: {error.strerror}") from error
    try:
        kept = _set_aside(promised.temporary)
    except OSError as error:
        if error.errno in SHORTAGES:
            raise
        raise CannotStart(f"creates: {promised.temporary} stands in the way: {error.strerror}") from error
    return Before(fingerprint(promised.final), f"what an attempt before it had made is kept as {kept}" if kept else "")


def _make_folder(path: str) -> None:
    """Make the folder and those above it, each durable in the one that it is in: the file shall be found after power loss."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for folder in reversed(missing):
        with suppress(FileExistsError):  # another item makes it, too
            os.mkdir(folder)
        sync_folder(os.path.dirname(folder))


def settle(promised: Creates, end: AttemptEnd, before: Before) -> Settled:
    """Keep the promise after a success; after a failure set aside what was made, and note what may not be taken for it."""
    if end.attempt_class is AttemptClass.OK:
        end = _keep(promised, end, before.final)
    if end.attempt_class is AttemptClass.OK:
        return Settled(_noted(end, before.note))
    # Half a file must not stay under a name that the next attempt writes to.
    try:
        kept = _set_aside(promised.temporary)
    except OSError as error:
        note = f"{promised.temporary} could not be set aside: {error.strerror}"
    else:
        note = f"what it had made is kept as {kept}" if kept else ""
    return Settled(_noted(end, "; ".join(filter(None, (note, before.note)))), fingerprint(promised.final))


def _noted(end: AttemptEnd, note: str) -> AttemptEnd:
    """The same end, and what a person should know besides."""
    if not note:
        return end
    return end._replace(message=f"{end.message} ({note})" if end.message else note)


def _keep(promised: Creates, end: AttemptEnd, before: str) -> AttemptEnd:
    """The success, with the final name durable; or in words why it is none. `before`: the fingerprint when it began."""
    temporary, final = promised.temporary, promised.final
    try:
        # Durable before the name is: after power loss the final name never stands for half a file.
        if os.path.exists(temporary):
            _sync(temporary)
            os.replace(temporary, final)
        elif not (now := fingerprint(final)):
            return end.but(AttemptClass.CREATES_MISSING, f"{final} was not created (nothing at {temporary})")
        elif now == before:
            words = f"{final} was not created: it was there before, and has not changed (nothing at {temporary})"
            return end.but(AttemptClass.CREATES_MISSING, words)
        else:
            # The command wrote the final name itself.
            _sync(final)
        sync_folder(os.path.dirname(final))
    except OSError as error:
        # A shortage says nothing of the command: the item may be tried again.
        if error.errno in SHORTAGES:
            return end.but(AttemptClass.STATE_ERROR, f"{final} could not be made durable: {error.strerror}")
        return end.but(AttemptClass.CREATES_MISSING, f"{final} could not be put in place: {error.strerror}")
    return end


def _set_aside(path: str) -> str:
    """Give what stands at `path` a name that nobody writes to; the name. "" if nothing is there, or nothing is in it."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return ""
    # A redirection makes an empty file before its command is found: keeping these would litter folders, and save nothing.
    if os.path.isdir(path) and not os.path.islink(path):
        if not os.listdir(path):
            os.rmdir(path)
            return ""
    elif found.st_size == 0 and not os.path.islink(path):
        os.unlink(path)
        return ""
    folder, name = os.path.split(path)
    number = 1
    # Two failed attempts have each their own: the first may have removed what the second would need.
    while os.path.lexists(kept := os.path.join(folder, f".kept-{number}{name}")):
        number += 1
    os.rename(path, kept)
    return kept


def _mark(found: os.stat_result) -> str:
    return f"{found.st_ino}.{found.st_size}.{found.st_mtime_ns}"


def _all_in(folder: str) -> Iterator[str]:
    """All paths below a folder, in an order that stays the same."""
    for parent, folders, names in walk(folder):
        folders.sort()
        for name in sorted([*folders, *names]):
            yield os.path.join(parent, name)


def _sync(path: str) -> None:
    if not os.path.isdir(path):
        _sync_file(path)
        return
    for folder, _, names in walk(path):
        for name in names:
            sync_file(os.path.join(folder, name))
        sync_folder(folder)


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
