"""Start an agent process: everything that stands between a `Start` and a pid.

The agent leads its own session, has every signal at its default, and inherits its three streams and what keeps the attempt's
locks held (`carried_locks`; numbered high, where no program looks) and nothing else of ours. `posix_spawn`, never fork: that
costs several times as much.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from ..faultpoints import fault_point
from ..protocol import MARK_VARIABLE, WORKER_FOLDER_VARIABLE, Start

_OPEN_MAX = os.sysconf("SC_OPEN_MAX")
LOCK_DESCRIPTORS_FROM = 200 if _OPEN_MAX < 0 else max(16, min(200, _OPEN_MAX - 64))
"""First number of what is inherited for the locks: less than 200 only where the limit of open files is very low."""

_OURS = (b"ORCHESTRATE_FAULT", b"ORCHESTRATE_WORKER_FAULT")
_MARK = MARK_VARIABLE.encode()
_FOLDER = WORKER_FOLDER_VARIABLE.encode()
_DUP2 = os.POSIX_SPAWN_DUP2
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
"""Those of `os.fsencode`, which asks first what it is given: an attempt has ten words for it, and all of them are text."""

SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ETOOMANYREFS)
"""Error numbers that say: the machine has no room for a process, a file or a message just now."""


_TRIES_WHILE_WRITTEN = 20
_PAUSE_WHILE_WRITTEN_SECONDS = 0.05
"""A program that is just being written, by an item that runs beside or by an editor, is mostly there within a second. The worker
hears nothing meanwhile, so it is no longer than that."""


class CannotStart(Exception):
    """The agent was not started, and another try would fail in the same way: the reason in words."""


def base_environment(folder: str) -> dict[bytes, bytes]:
    """This process's environment without what is meant for us alone, and with the name of the worker's `folder`."""
    return {name: value for name, value in os.environb.items() if name not in _OURS} | {_FOLDER: os.fsencode(folder)}


def ignored_signals() -> frozenset[int]:
    """The signals that this process ignores, SIGPIPE because of Python: exec would keep them so. Handled ones it resets."""
    return frozenset(number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN)


def spawn(
    start: Start,
    argv: list[str],
    base: Mapping[bytes, bytes],
    ignored: Collection[int],
    streams: tuple[int, int, int],
    carried: Sequence[int],
) -> int:
    """Start `argv` with the environment of `start`, in the current directory; returns the pid.

    Raises CannotStart, or OSError (SHORTAGES) when the command is not to blame.

    `base` (of `base_environment`) is what the environment starts from, `ignored` the signals to give back, `streams` become 0,
    1 and 2; `carried` is what keeps the attempt's locks held.
    """
    environment = _environment_of(start, base)
    # What carries the locks goes high, above every number of ours that is still to be copied.
    actions = [(_DUP2, streams[0], 0), (_DUP2, streams[1], 1), (_DUP2, streams[2], 2)]
    if carried:
        first = max(LOCK_DESCRIPTORS_FROM, max(carried) + 1)
        actions.extend((_DUP2, fd, first + place) for place, fd in enumerate(carried))
    # Try each place where the command may stand; keep the reason that says most for the end.
    reason: OSError | None = None
    command = argv[0] if argv else ""
    # An agent's own program is never one of the folder that it works in, where the attempt before may have put one.
    is_anywhere = start.env_allowed is None
    try:
        for path in _candidates(command, environment, is_anywhere=is_anywhere):
            try:
                return _spawn_when_written(
                    path, argv, environment, file_actions=actions, setsid=True, setsigmask=(), setsigdef=ignored
                )
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
    raise CannotStart(_in_words(command, reason, environment, is_anywhere=is_anywhere)) from reason


def _spawn_when_written(path: str, argv: list[str], environment: Mapping[bytes, bytes], **how: Any) -> int:
    """As `os.posix_spawn`, and waits for a moment for whoever still has the program open for writing. Raises OSError."""
    tries = 0
    while True:
        try:
            fault_point("worker.spawn")
            return os.posix_spawn(path, argv, environment, **how)
        except OSError as error:
            tries += 1
            if error.errno != errno.ETXTBSY or tries >= _TRIES_WHILE_WRITTEN:
                raise
        time.sleep(_PAUSE_WHILE_WRITTEN_SECONDS)


def _environment_of(start: Start, base: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    environment = dict(base) if start.env_allowed is None else passed_of(base, start.env_allowed)
    for name, value in start.env.items():
        if value is None:
            environment.pop(name.encode(_ENCODING, _ERRORS), None)
        else:
            environment[name.encode(_ENCODING, _ERRORS)] = value.encode(_ENCODING, _ERRORS)
    environment[_MARK] = start.mark.encode(_ENCODING, _ERRORS)
    environment[_FOLDER] = base[_FOLDER]
    return environment


def passed_of(environment: Mapping[bytes, bytes], patterns: Sequence[str]) -> dict[bytes, bytes]:
    """The variables that a name in `patterns` names, or the beginning before its final `*`. (Of text: `passed_variables`.)"""
    names = {os.fsencode(pattern) for pattern in patterns}
    beginnings = tuple(name[:-1] for name in names if name.endswith(b"*"))
    return {name: value for name, value in environment.items() if name in names or name.startswith(beginnings)}


def _candidates(command: str, environment: Mapping[bytes, bytes], *, is_anywhere: bool) -> Iterator[str]:
    """Where the command may stand, best first: in the item's own PATH; if it `is_anywhere`, also relative to its own directory.

    Looked for one by one: mostly the first that is found is the last that anybody asks for.
    """
    if "/" in command or not command:
        yield command
        return
    path = environment.get(b"PATH")
    folders = (os.defpath if path is None else os.fsdecode(path)).split(":")
    # A folder that PATH names twice has nothing else at the second look.
    places = [f"{folder or '.'}/{command}" for folder in dict.fromkeys(folders) if is_anywhere or os.path.isabs(folder)]
    is_executable = False
    for place in places:
        if os.access(place, os.X_OK):
            is_executable = True
            yield place
    if not is_executable:
        yield from filter(os.path.exists, places)


def _in_words(command: str, reason: OSError | None, environment: Mapping[bytes, bytes], *, is_anywhere: bool) -> str:
    if reason is None:
        return f"command not found: {command}" if command else "the command is empty"
    match reason.errno:
        case errno.ENOENT | errno.ENOTDIR:
            if any(os.path.exists(place) for place in _candidates(command, environment, is_anywhere=is_anywhere)):
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
