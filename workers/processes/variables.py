"""The environment that an attempt's processes start with: mostly the same for all of a worker, so it is kept as C has it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..protocol import MARK_VARIABLE, WORKER_FOLDER_VARIABLE, Start

if TYPE_CHECKING:
    import ctypes

    Block = ctypes.Array[ctypes.c_char_p]
    """`NAME=VALUE` of each variable, and behind the last a null pointer (None)."""

ENCODING, ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
"""Those of `os.fsencode`, which asks first what it is given: an attempt has ten words for it, and all of them are text."""

_OURS = (b"ORCHESTRATE_FAULT", b"ORCHESTRATE_WORKER_FAULT")
_FOLDER = WORKER_FOLDER_VARIABLE.encode()
_SET_BY_US = (MARK_VARIABLE, WORKER_FOLDER_VARIABLE)


def base_environment(folder: str) -> dict[bytes, bytes]:
    """This process's environment without what is meant for us alone, and with the name of the worker's `folder`."""
    given = {name: value for name, value in os.environb.items() if name not in _OURS}
    # Secret inputs: a command has those that its job gives it.
    for name in [name for name in given if name.endswith(b"_SECRET") and name.startswith(b"ORCHESTRATE_")]:
        # By whichever variable the user gave it.
        for of_user in [other for other in given if other.startswith(b"ORCHESTRATE_INPUT_") and given[other] == given[name]]:
            del given[of_user]
        del given[name]
    return given | {_FOLDER: os.fsencode(folder)}


class Variables:
    """The environments of attempts that start from `base` (of `base_environment`)."""

    def __init__(self, base: Mapping[bytes, bytes]) -> None:
        self._base = base
        self._path = os.fsdecode(base[b"PATH"]) if b"PATH" in base else None
        self._made_for: tuple[list[str], list[str] | None] | None = None
        self._values: dict[str, str | None] = {}
        """What the variables that the start before changed have in the block, and the places of these there."""
        self._places: dict[str, int] = {}

    def block_of(self, start: Start) -> Block:
        """The environment of `start`, until the next call. Raises ValueError for what no process can be given."""
        if ([*start.env], start.env_allowed) != self._made_for:
            self._make_block(start)
        # From one start to the next mostly only that changes which names the item.
        for name, value in start.env.items():
            if value != self._values[name] and name not in _SET_BY_US:
                if value is None or self._values[name] is None:
                    # What is removed has no place.
                    self._make_block(start)
                    break
                self._put(name, value)
        self._put(MARK_VARIABLE, start.mark)
        return self._block

    def path_of(self, start: Start) -> str | None:
        """Where `start` looks for programs; None: it has no PATH."""
        if "PATH" in start.env:
            return start.env["PATH"]
        if start.env_allowed is None:
            return self._path
        path = self._passed(start).get(b"PATH")
        return None if path is None else os.fsdecode(path)

    def _passed(self, start: Start) -> Mapping[bytes, bytes]:
        return self._base if start.env_allowed is None else passed_of(self._base, start.env_allowed)

    def _put(self, name: str, value: str) -> None:
        self._block[self._places[name]] = _entry(name, value)
        self._values[name] = value

    def _make_block(self, start: Start) -> None:
        """A block for this start, and for all that change the same variables."""
        import ctypes  # Only a worker needs it, and the supervisor loads this module, too.

        if any(not name or "=" in name[1:] for name in start.env):
            raise ValueError("illegal environment variable name")
        changed = {name.encode(ENCODING, ERRORS) for name in (*start.env, MARK_VARIABLE)}
        passed = {name: value for name, value in self._passed(start).items() if name not in changed}
        passed[_FOLDER] = self._base[_FOLDER]
        entries = [name + b"=" + value for name, value in passed.items()]
        places = {}
        given = {name: value for name, value in start.env.items() if name not in _SET_BY_US} | {MARK_VARIABLE: start.mark}
        for name, value in given.items():
            if value is not None:
                places[name] = len(entries)
                entries.append(_entry(name, value))
        self._block: Block = (ctypes.c_char_p * (len(entries) + 1))(*entries)
        self._made_for, self._values, self._places = ([*start.env], start.env_allowed), {**start.env}, places


def _entry(name: str, value: str) -> bytes:
    entry = f"{name}={value}".encode(ENCODING, ERRORS)
    if b"\0" in entry:
        raise ValueError("embedded null byte")
    return entry


def passed_of(environment: Mapping[bytes, bytes], patterns: Sequence[str]) -> dict[bytes, bytes]:
    """The variables that a name in `patterns` names, or the beginning before its final `*`. (Of text: `passed_variables`.)"""
    names = {os.fsencode(pattern) for pattern in patterns}
    beginnings = tuple(name[:-1] for name in names if name.endswith(b"*"))
    return {name: value for name, value in environment.items() if name in names or name.startswith(beginnings)}
