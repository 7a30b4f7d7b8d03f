"""The files or folders an attempt promises (`creates`): made under temporary names, durable and renamed when it succeeds.

Promise: a final name stands for what a success made, whole, also after power loss. What a failed attempt made is never removed,
for its command may have removed what it was made of: it is set aside under a name of its own, and told.
Invariant: a file at the final name proves nothing if a failed attempt of this item may have left it there (`fingerprint`).

A command may also write the final name itself. Then the file is there before it is whole, so a killed attempt leaves half of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..attempt_end import AttemptEnd
from ..byte_text import bytes_of_text
from ..processes.spawn import SHORTAGES, CannotStart
from ..protocol import AttemptClass, Creates
from .syncing import make_folder, sync_file, sync_folder
from .walking import walk


class Before(NamedTuple):
    """What stood there when the attempt began: the fingerprint at the final name, and in words what was set aside."""

    final: str = ""
    note: str = ""


class Settled(NamedTuple):
    """What the attempt came to. `unproven`: of a failure, the fingerprints of what stands at the final names."""

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


def fingerprints(paths: Iterable[str]) -> str:
    """What stands at each of the paths, a word each, "-" for nothing; "" if nothing stands at any."""
    words = [fingerprint(path) for path in paths]
    return " ".join(word or "-" for word in words) if any(words) else ""


def clear(promised: Iterable[Creates]) -> tuple[Before, ...]:
    """Make the folders of the files, and set aside what an attempt that was killed left under their temporary names.

    Raises CannotStart, or OSError (SHORTAGES).
    """
    return tuple(map(_clear, promised))


def _clear(promised: Creates) -> Before:
    folder = os.path.dirname(promised.temporary)
    try:
        # As any folder of the user's; the file shall be found after power loss.
        make_folder(folder, None, mode=0o777)
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


def settle(promised: Sequence[Creates], end: AttemptEnd, before: Sequence[Before]) -> Settled:
    """Keep the promise after a success; after a failure set aside what was made, and note what may not be taken for it.

    `before`: of each file what `clear` told; of an attempt that never got so far nothing.
    """
    before = before or [Before()] * len(promised)
    if end.attempt_class is AttemptClass.OK:
        end = _keep(promised, end, before)
    notes = [each.note for each in before]
    if end.attempt_class is AttemptClass.OK:
        return Settled(_noted(end, notes))
    # Half a file must not stay under a name that the next attempt writes to.
    notes = [note for each, told in zip(promised, notes, strict=True) for note in (_given_up(each), told)]
    return Settled(_noted(end, notes), fingerprints(each.final for each in promised))


def _given_up(promised: Creates) -> str:
    """Set aside what a failure has made of a file; a note of it, or ""."""
    try:
        kept = _set_aside(promised.temporary)
    except OSError as error:
        return f"{promised.temporary} could not be set aside: {error.strerror}"
    return f"what it had made is kept as {kept}" if kept else ""


def _noted(end: AttemptEnd, notes: Iterable[str]) -> AttemptEnd:
    """The same end, and what a person should know besides."""
    note = "; ".join(filter(None, notes))
    if not note:
        return end
    return end._replace(message=f"{end.message} ({note})" if end.message else note)


def _keep(promised: Sequence[Creates], end: AttemptEnd, before: Sequence[Before]) -> AttemptEnd:
    """The success, with the final names durable; or in words why it is none. `before`: what stood there when it began."""
    # All are there before one of them takes its name: an attempt that made half of them has made none.
    for each, stood in zip(promised, before, strict=True):
        if words := _missing(each, stood.final):
            return end.but(AttemptClass.CREATES_MISSING, words)
    # Those that replace a file go first: if this is cut short, one is still missing, and the item runs again.
    for each in sorted(promised, key=lambda each: not os.path.lexists(each.final)):
        try:
            _put_in_place(each)
        except OSError as error:
            # A shortage says nothing of the command: the item may be tried again.
            if error.errno in SHORTAGES:
                return end.but(AttemptClass.STATE_ERROR, f"{each.final} could not be made durable: {error.strerror}")
            return end.but(AttemptClass.CREATES_MISSING, f"{each.final} could not be put in place: {error.strerror}")
    return end


def _missing(promised: Creates, before: str) -> str:
    """In words why the file was not made; "": it was. `before`: its fingerprint when the attempt began."""
    temporary, final = promised.temporary, promised.final
    if os.path.exists(temporary):
        return ""
    # The command may have written the final name itself.
    if not (now := fingerprint(final)):
        return f"{final} was not created (nothing at {temporary})"
    if now == before:
        return f"{final} was not created: it was there before, and has not changed (nothing at {temporary})"
    return ""


def _put_in_place(promised: Creates) -> None:
    # Durable before the name is: after power loss the final name never stands for half a file.
    if os.path.exists(promised.temporary):
        _sync(promised.temporary)
        os.replace(promised.temporary, promised.final)
    else:
        _sync(promised.final)
    sync_folder(os.path.dirname(promised.final))


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
