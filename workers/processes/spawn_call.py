"""`posix_spawn` of the C library, for one process after another: what is the same for all of them is made once.

Promise: it starts what `os.posix_spawn` would start, and raises what that would raise. Python makes the descriptors, the signals
and every variable anew for each process, and asks the kernel twice for each descriptor: a sixth of its worker's cost.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING

from .variables import ENCODING, ERRORS

if TYPE_CHECKING:
    from .variables import Block

_ROOM_BYTES = 1024
"""The library's own structures are smaller: 336 and 80 bytes with glibc and with musl, a set of signals 128."""
_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80
_CLEARS_HANDLERS = (2, 38)
"""The first glibc whose child finds no handler. An earlier one asks of each signal what it is, and then sets it."""


class SpawnCall:
    """Starts processes that lead their own session, with no signal blocked and `defaults` at their default."""

    def __init__(self, defaults: Collection[int]) -> None:
        self._defaults = defaults
        self._copies: Sequence[tuple[int, int]] | None = None
        self._named: tuple[str, Sequence[str]] | None = None
        if sys.platform != "linux":
            return
        import ctypes  # Only a worker needs it, and the supervisor loads this module, too.

        # Its functions keep the interpreter's lock, as those of `os` that start a process do.
        self._library = ctypes.PyDLL(None)
        self._word = ctypes.c_char_p
        self._pid = ctypes.c_int()
        self._into_pid = ctypes.byref(self._pid)
        self._actions = ctypes.create_string_buffer(_ROOM_BYTES)
        self._attributes = _attributes(frozenset(defaults))

    def start(self, path: str, argv: Sequence[str], variables: Block, copies: Sequence[tuple[int, int]]) -> int:
        """Start the program `path`; returns its pid. `copies`: a descriptor of ours, and its number there.

        Raises OSError, and ValueError for words that no program can be given.
        """
        if sys.platform != "linux":
            environment = dict(entry.split(b"=", 1) for entry in variables if entry is not None)
            actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in copies]
            return os.posix_spawn(
                path, argv, environment, file_actions=actions, setsid=True, setsigmask=(), setsigdef=self._defaults
            )
        if not argv or not argv[0]:
            raise ValueError("it is empty")
        # Mostly it is the program of the process before, often with the same words, and the descriptors have the same numbers.
        if (path, argv) != self._named:
            self._name(path, argv)
        if copies != self._copies:
            self._prepare(copies)
        error = self._library.posix_spawn(
            self._into_pid, self._program, self._actions, self._attributes, self._arguments, variables
        )
        if error:
            raise OSError(error, os.strerror(error), path)
        return self._pid.value

    def _name(self, path: str, argv: Sequence[str]) -> None:
        """Have the path and the words of a program as C has them."""
        words = [word.encode(ENCODING, ERRORS) for word in (path, *argv)]
        if b"\0" in b"".join(words):
            raise ValueError("embedded null byte")
        # Behind the last word there is a null pointer.
        self._program, self._arguments = words[0], (self._word * len(words))(*words[1:])
        self._named = (path, [*argv])

    def _prepare(self, copies: Sequence[tuple[int, int]]) -> None:
        if self._copies is not None:
            self._library.posix_spawn_file_actions_destroy(self._actions)
            self._copies = None
        self._library.posix_spawn_file_actions_init(self._actions)
        for ours, theirs in copies:
            if error := self._library.posix_spawn_file_actions_adddup2(self._actions, ours, theirs):
                self._library.posix_spawn_file_actions_destroy(self._actions)
                raise OSError(error, os.strerror(error))
        self._copies = copies


@cache
def _attributes(defaults: frozenset[int]) -> object:
    """`posix_spawnattr_t` of the library. Naming each signal takes as long as a short item."""
    import ctypes

    library = ctypes.PyDLL(None)
    attributes, signals = (ctypes.create_string_buffer(_ROOM_BYTES) for _ in range(2))
    library.posix_spawnattr_init(attributes)
    library.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID))
    library.sigemptyset(signals)
    library.posix_spawnattr_setsigmask(attributes, signals)
    for number in defaults:
        library.sigaddset(signals, number)
    library.posix_spawnattr_setsigdefault(attributes, signals)
    return attributes


def default_signals() -> Collection[int]:
    """The signals that a process has to be given back: those that this one ignores, SIGPIPE because of Python. Exec keeps that.

    All of them where the library would ask first what each is: sixty calls of the kernel fewer, a tenth of a process's cost.
    """
    if _sets_each_signal():
        return signal.valid_signals()
    return [number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN]


def _sets_each_signal() -> bool:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        return name == "glibc" and tuple(map(int, version.split("."))) < _CLEARS_HANDLERS
    except (ValueError, OSError):  # another library
        return False
