"""What is taken away of the folders in which agent CLIs keep their state (`config_folder`): old sessions that nobody will go on
in, and the folders of slots that hold no session.

Promise: what an attempt uses stays, and so does a session that somebody may go on in, with the folder that it lies in. A kill in
the middle leaves nothing that a later attempt would trip over.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from ..locks import lock_descriptor
from .config_folder import ConfigFolder
from .config_links import noted_links
from .copying import bytes_on_disk
from .opening import StrangeFileError, open_file, read_file


class RemovedSlot(NamedTuple):
    """The folder of a slot, and how many bytes it had on disk."""

    path: str
    size: int


class Forgotten(NamedTuple):
    """What was taken away, or would be: the ids of sessions, the folders of slots. `left`: slots that had to stay, for it is not
    known what of them is the user's."""

    sessions: list[str]
    slots: list[RemovedSlot]
    left: list[str]


def forget_old_state(folder: str, oldest: float, is_needed: Callable[[str], bool], *, is_dry: bool) -> Forgotten:
    """In the `folder` of one agent (absolute) forget the sessions that were last used before `oldest` (seconds since the epoch)
    and that are not needed; then remove the slots that no session is in and that nobody has used since then. `is_dry`: nothing is
    done. Raises OSError.
    """
    sessions = f"{folder}/sessions"
    numbers = _slots(folder)
    held = {number for number in numbers if _is_held(f"{folder}/{number}.lock")}
    forgotten, with_session = [], set()
    for name, number, used_at in _noted(sessions):
        # The session of an attempt that runs may stand in no record yet.
        if used_at >= oldest or number in held or is_needed(name):
            with_session.add(number)
        else:
            forgotten.append(name)
            if not is_dry:
                with suppress(FileNotFoundError):
                    os.unlink(f"{sessions}/{name}")
    idle = [number for number in sorted(numbers - held) if _mtime(f"{folder}/{number}.lock") < oldest]
    unused = [number for number in idle if number not in with_session]
    # A login that was renewed in a slot, and not brought back, is perhaps the only good one.
    known = [number for number in unused if noted_links(f"{folder}/{number}") is not None]
    removed = [slot for number in known if (slot := _remove_slot(folder, number, set(forgotten), is_dry=is_dry)) is not None]
    return Forgotten(forgotten, removed, [f"{folder}/{number}" for number in unused if number not in known])


def _remove_slot(folder: str, number: int, forgotten: set[str], *, is_dry: bool) -> RemovedSlot | None:
    """Remove a slot unless it is used, or has a session by now; `forgotten` ones count no more."""
    path = f"{folder}/{number}"
    if not os.path.isdir(path):
        return None
    found = RemovedSlot(path, bytes_on_disk(path))
    if is_dry:
        return found
    taken = ConfigFolder.take_idle_slot(folder, number)
    if taken is None:
        return None
    try:
        # Asked again: an attempt may have had it meanwhile. From here on none can take it.
        if _has_session(folder, number, forgotten):
            return None
        taken.remove()
    finally:
        taken.let_go()
    return found


def _has_session(folder: str, number: int, forgotten: set[str]) -> bool:
    return any(each == number and name not in forgotten for name, each, _ in _noted(f"{folder}/sessions"))


def _noted(sessions: str) -> list[tuple[str, int, float]]:
    """(session, slot, time of its last use) of all that are noted; slot -1 of a note that tells none."""
    found = []
    with suppress(FileNotFoundError):
        for name in os.listdir(sessions):
            number = -1
            with suppress(FileNotFoundError):
                with suppress(StrangeFileError, ValueError):
                    number = int(read_file(f"{sessions}/{name}"))
                found.append((name, number, os.stat(f"{sessions}/{name}").st_mtime))
    return found


def _slots(folder: str) -> set[int]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return {int(name) for name in names if name.isdecimal() and name.isascii()}


def _is_held(lock: str) -> bool:
    try:
        descriptor = open_file(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not lock_descriptor(descriptor)
    finally:
        os.close(descriptor)


def _mtime(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except FileNotFoundError:
        return 0.0
