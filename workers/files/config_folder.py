"""The folder in which an agent CLI keeps its own state: one for each attempt that runs at a time, where several get in each
other's way, and warmed once before anything else uses it.

    HOME/agents/NAME/   K/  K.lock  K.warm      slot K's own folder; held while an attempt uses it; it has been warmed
                        K.links                 what of it is the user's, and where that lies
                        sessions/ID             in which of them that session is: it goes on nowhere else

Promise: no two attempts of this machine's runs use one such folder at once, unless both go on in sessions that are in it; the
agent keeps the lock held, so that one that outlives a killed worker holds it still. Nobody waits here. A file that is shared
with the user's own folder is a link to it. A CLI that renews a login in its slot replaces the file, and so the link: the new
login is brought back to the user's folder after the attempt, because the old one may be of no use any more.

At most `MOST_SESSIONS` notes of sessions are kept, the newest. What else is old and of no use `config_expiry` takes away.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ..locks import lock_descriptor, unlock
from ..protocol import ConfigTask
from .beneath import lies_beneath
from .config_links import Links, links_path, note_links, noted_links
from .copying import remove_folder
from .opening import StrangeFileError, open_file, read_file, replace_file

MOST_SESSIONS = 10_000


class BeingWarmed(Exception):
    """Another attempt warms the user's own folder just now."""


class ConfigFolder:
    """One, for one attempt. Use `take_folder`; then `let_go`."""

    def __init__(self, task: ConfigTask, path: str, lock: int | None, warm_mark: str) -> None:
        self.path = path
        self._task = task
        self._lock = lock
        self._warm_mark = warm_mark

    @classmethod
    def take_folder(cls, task: ConfigTask, session_id: str | None) -> ConfigFolder:
        """A folder that nobody uses, or the one that has the session to go on with. Raises BeingWarmed, OSError."""
        os.makedirs(task.folder, mode=0o700, exist_ok=True)
        lock: int | None
        if not task.is_own:
            # The user's own folder, for all at once: one of them warms it while the others wait.
            warm_mark = f"{task.folder}/own.warm"
            if os.path.exists(warm_mark):
                return cls(task, task.real, None, warm_mark)
            lock = _lock(f"{task.folder}/own.lock")
            if lock is None:
                raise BeingWarmed
            return cls(task, task.real, lock, warm_mark)
        # A session goes on only in the folder that holds it, also if another attempt goes on in one there just now.
        number = _number_of(task.folder, session_id)
        if number is None:
            number, lock = _first_free(task.folder)
        else:
            lock = _lock(f"{task.folder}/{number}.lock")
        # Held: from here on the folder is this attempt's, so it may be filled with links.
        taken = cls(task, f"{task.folder}/{number}", lock, f"{task.folder}/{number}.warm")
        try:
            taken._link()
        except BaseException:
            taken._unlock()
            raise
        return taken

    @classmethod
    def take_idle_slot(cls, folder: str, number: int) -> ConfigFolder | None:
        """Slot `number` below `folder` as it lies there, to be removed; None: an attempt uses it. Raises OSError.

        Of a slot that does not tell what of it is the user's nothing is brought back.
        """
        path = f"{folder}/{number}"
        lock = _lock(f"{path}.lock")
        if lock is None:
            return None
        links = noted_links(path) or Links()
        task = ConfigTask(variable="", folder=folder, real=links.real, is_own=True, shared=links.shared)
        return cls(task, path, lock, f"{path}.warm")

    @property
    def locks(self) -> list[int]:
        """Descriptors of the locks that every process started in the folder is to keep held."""
        return [] if self._lock is None else [self._lock]

    @property
    def needs_warming(self) -> bool:
        """Whether the `warm` of the task has not succeeded here yet."""
        return bool(self._task.warm) and not os.path.exists(self._warm_mark)

    def note_warmed(self) -> None:
        """Note that the folder is warm: no other attempt need warm it. Survives SIGKILL."""
        os.close(open_file(self._warm_mark, os.O_WRONLY | os.O_CREAT))

    def share(self) -> None:
        """Let others use a folder that all share: the agent is about to start, and the folder is warm."""
        if not self._task.is_own:
            self._unlock()

    def note_session(self, session_id: str) -> None:
        """Note that the session is in this folder. Survives SIGKILL. Raises OSError."""
        if not self._task.is_own or not _is_name(session_id):
            return
        folder = f"{self._task.folder}/sessions"
        os.makedirs(folder, mode=0o700, exist_ok=True)
        replace_file(f"{folder}/{session_id}", os.path.basename(self.path).encode())
        _bound(folder)

    def remove(self) -> None:
        """Remove a slot's own folder, with all its CLI has kept there; its logins are brought back first. Raises OSError."""
        if os.path.isdir(self.path):
            self._bring_back()
        # Before the folder: what a kill leaves half removed is warmed again.
        with suppress(FileNotFoundError):
            os.unlink(self._warm_mark)
        remove_folder(self.path)
        with suppress(FileNotFoundError):
            os.unlink(links_path(self.path))

    def let_go(self) -> None:
        """The attempt has ended, and all its processes. Raises OSError if a renewed login could not be brought back."""
        try:
            if self._task.is_own:
                self._bring_back()
        finally:
            self._unlock()

    def _link(self) -> None:
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        note_links(self.path, self._task)
        # An attempt that was killed did not bring its renewed logins back.
        self._bring_back()
        for name in self._task.shared:
            own, real = os.path.join(self.path, name), os.path.join(self._task.real, name)
            if os.path.lexists(own) or not os.path.lexists(real) or not self._is_inside(own):
                continue
            os.makedirs(os.path.dirname(own), mode=0o700, exist_ok=True)
            os.symlink(real, own)

    def _bring_back(self) -> None:
        for name in self._task.shared:
            own, real = os.path.join(self.path, name), os.path.join(self._task.real, name)
            if os.path.islink(own) or not os.path.isfile(own) or not self._is_inside(own):
                continue
            if not os.path.exists(real) or os.stat(own).st_mtime > os.stat(real).st_mtime:
                _copy(own, real)
            os.unlink(own)
            os.symlink(real, own)

    def _is_inside(self, own: str) -> bool:
        """Whether the folder of `own` is none that an agent has put a link to elsewhere in place of."""
        return lies_beneath(os.path.realpath(os.path.dirname(own)), os.path.realpath(self.path))

    def _unlock(self) -> None:
        if self._lock is not None:
            unlock(self._lock)
            self._lock = None


def _copy(source: str, target: str) -> None:
    """Replaced whole, as private as it was; where it is a link, what that names."""
    target = os.path.realpath(target)
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    with open(source, "rb") as origin:
        replace_file(target, origin.read())


def _first_free(folder: str) -> tuple[int, int]:
    number = 0
    while (lock := _lock(f"{folder}/{number}.lock")) is None:
        number += 1
    return number, lock


def _number_of(folder: str, session_id: str | None) -> int | None:
    if session_id is None or not _is_name(session_id):
        return None
    with suppress(FileNotFoundError, StrangeFileError, ValueError):
        return int(read_file(f"{folder}/sessions/{session_id}"))
    return None


def _bound(sessions: str) -> None:
    """Forget the oldest notes where there are too many; a tenth more than that, so that this is seldom done."""
    names = os.listdir(sessions)
    if len(names) <= MOST_SESSIONS:
        return
    times: list[tuple[float, str]] = []
    for name in names:
        with suppress(FileNotFoundError):
            times.append((os.stat(f"{sessions}/{name}").st_mtime, name))
    for _, name in sorted(times)[: len(names) - MOST_SESSIONS * 9 // 10]:
        with suppress(FileNotFoundError):
            os.unlink(f"{sessions}/{name}")


def _is_name(session_id: str) -> bool:
    """Whether it can be the name of a file. What an agent tells is not to be trusted."""
    return 0 < len(session_id) <= 200 and session_id.replace("-", "").replace("_", "").isalnum() and session_id.isascii()


def _lock(path: str) -> int | None:
    """A descriptor that holds the lock; None: somebody else does."""
    descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        if lock_descriptor(descriptor):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
