"""Start an agent process: everything that stands between a `Start` and a pid.

The agent leads its own session, has every signal at its default, and inherits its three streams and what keeps the attempt's
locks held (`carried_locks`; numbered high, where no program looks) and nothing else of ours. `posix_spawn`, never fork: that
costs several times as much.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..faultpoints import fault_point
from ..protocol import Start
from .spawn_call import SpawnCall, default_signals
from .variables import Variables

_OPEN_MAX = os.sysconf("SC_OPEN_MAX")
LOCK_DESCRIPTORS_FROM = 60 if _OPEN_MAX < 0 else max(16, min(60, _OPEN_MAX - 64))
"""First number of what is inherited for the locks: less than 60 only where the limit of open files is very low.

A process has room for 64 numbers; for a higher one the kernel makes more in each that starts.
"""

SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ETOOMANYREFS)
"""Error numbers that say: the machine has no room for a process, a file or a message just now."""


_TRIES_WHILE_WRITTEN = 20
_PAUSE_WHILE_WRITTEN_SECONDS = 0.05
"""A program that is just being written, by an item that runs beside or by an editor, is mostly there within a second. The worker
hears nothing meanwhile, so it is no longer than that."""


class CannotStart(Exception):
    """The agent was not started, and another try would fail in the same way: the reason in words."""


class Spawner:
    """Starts one process after another; their environments start from `base` (of `base_environment`)."""

    def __init__(self, base: Mapping[bytes, bytes]) -> None:
        self._variables = Variables(base)
        self._call = SpawnCall(default_signals())
        self._copied: tuple[tuple[int, ...], Sequence[int]] = ((), ())
        self._copies: list[tuple[int, int]] = []
        self._search = _Search()

    def spawn(self, start: Start, argv: list[str], streams: tuple[int, int, int], carried: Sequence[int]) -> int:
        """Start `argv` with the environment of `start`, in the current directory; returns the pid.

        Raises CannotStart, or OSError (SHORTAGES) when the command is not to blame. `streams` become 0, 1 and 2;
        `carried` is what keeps the attempt's locks held.
        """
        # They have mostly the same numbers as those of the process before.
        if (streams, carried) != self._copied:
            self._copied, self._copies = (streams, [*carried]), _copies_of(streams, carried)
        # Try each place where the command may stand; keep the reason that says most for the end.
        reason: OSError | None = None
        command = argv[0] if argv else ""
        try:
            for path in self._candidates(command, start):
                try:
                    return self._spawn_when_written(path, argv, start)
                except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
                    # As the shell does: what cannot be executed here may stand further along PATH.
                    if reason is None or isinstance(error, PermissionError):
                        reason = error
        except OSError as error:
            if error.errno in SHORTAGES:
                raise
            if error.errno == errno.EBADF:  # of a lock's number: it is beyond the limit of open files
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from error
            reason = error
        except ValueError as error:
            raise CannotStart(f"{command or 'the command'}: {error}") from error
        is_found = reason is not None and any(map(os.path.exists, self._candidates(command, start)))
        raise CannotStart(_in_words(command, reason, is_found=is_found)) from reason

    def _spawn_when_written(self, path: str, argv: list[str], start: Start) -> int:
        """Start it, and wait for a moment for whoever still has the program open for writing. Raises OSError, ValueError."""
        tries = 0
        while True:
            try:
                fault_point("worker.spawn")
                return self._call.start(path, argv, self._variables.block_of(start), self._copies)
            except OSError as error:
                tries += 1
                if error.errno != errno.ETXTBSY or tries >= _TRIES_WHILE_WRITTEN:
                    raise
            time.sleep(_PAUSE_WHILE_WRITTEN_SECONDS)

    def _candidates(self, command: str, start: Start) -> Iterable[str]:
        """Where the command may stand, best first."""
        if "/" in command or not command:
            return (command,)
        # An agent's own program is never one of the folder that it works in, where the attempt before may have put one.
        is_anywhere = start.env_allowed is None
        return self._search.candidates((command, self._variables.path_of(start), is_anywhere), start.recorded_through)


class _Search:
    """Looks for programs along PATH.

    Where one was found is remembered for attempts that were sent together: they need nothing of each other, and most folders
    lack it.
    """

    def __init__(self) -> None:
        self._wanted: tuple[str, str | None, bool] | None = None
        self._places: list[str] = []
        self._may_remember = False
        self._found: str | None = None
        self._found_after = -1

    def candidates(self, wanted: tuple[str, str | None, bool], after: int) -> Iterator[str]:
        """Where the program may stand, best first. `wanted`: as for `_places_along`; `after`: the last attempt that had ended
        when this one was sent.

        Looked for one by one: mostly the first that is found is the last that anybody asks for.
        """
        if wanted != self._wanted:
            self._wanted, self._places, self._found = wanted, _places_along(*wanted), None
            # A relative one stands somewhere else for the next item.
            self._may_remember = all(map(os.path.isabs, self._places))
        if after != self._found_after or not self._may_remember:
            self._found, self._found_after = None, after
        if self._found is not None:
            yield self._found
        found: str | None = None
        for place in self._places:
            if os.access(place, os.X_OK):
                if found is None:
                    found = self._found = place
                yield place
        if found is None:
            yield from filter(os.path.exists, self._places)


def _copies_of(streams: Sequence[int], carried: Sequence[int]) -> list[tuple[int, int]]:
    """A descriptor of ours, and its number there."""
    copies = [*zip(streams, range(3), strict=True)]
    if carried:
        # What carries the locks goes high, above every number of ours that is still to be copied.
        first = max(LOCK_DESCRIPTORS_FROM, max(carried) + 1)
        copies.extend(zip(carried, range(first, first + len(carried)), strict=True))
    return copies


def _places_along(command: str, path: str | None, is_anywhere: bool) -> list[str]:
    """Where the command is looked for: in the item's own PATH; if it `is_anywhere`, also relative to its own directory."""
    folders = (os.defpath if path is None else path).split(":")
    # A folder that PATH names twice has nothing else at the second look.
    return [f"{folder or '.'}/{command}" for folder in dict.fromkeys(folders) if is_anywhere or os.path.isabs(folder)]


def _in_words(command: str, reason: OSError | None, *, is_found: bool) -> str:
    if reason is None:
        return f"command not found: {command}" if command else "the command is empty"
    match reason.errno:
        case errno.ENOENT | errno.ENOTDIR:
            if is_found:
                return f"{command}: its interpreter (the first line, after #!) was not found"
            return f"command not found: {command}"
        case errno.EACCES | errno.EPERM:
            return f"permission denied: {command}"
        case errno.E2BIG:
            return f"{command}: the arguments and the environment are too large for the kernel; pass large values by `stdin`"
        case errno.ETXTBSY:
            return f"{command}: it is being written: somebody has kept it open for writing"
        case errno.ENOEXEC:
            return f"{command}: not a program, and no #! line says what runs it"
        case _:
            return f"{command}: {reason.strerror}"
