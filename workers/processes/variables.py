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


def base_environment(folder: str) -> dict[bytes, bytes]:
    """This process's environment without what is meant for us alone, and with the name of the worker's `folder`."""
    return {name: value for name, value in os.environb.items() if name not in _OURS} | {_FOLDER: os.fsencode(folder)}


class Variables:
    """The environments of attempts that start from `base` (of `base_environment`)."""

    def __init__(self, base: Mapping[bytes, bytes]) -> None:
        self._base = base
        self._made_for: tuple[list[str], list[str] | None] | None = None

    def block_of(self, start: Start) -> Block:
        """The environment of `start`, until the next call. Raises ValueError for what no process can be given."""
        made_for = ([*start.env], start.env_allowed)
        if made_for != self._made_for:
            self._make_block(start)
            self._made_for = made_for
        entries = [
            f"{name}={value}".encode(ENCODING, ERRORS)
            for name, value in start.env.items()
            if value is not None and name not in (MARK_VARIABLE, WORKER_FOLDER_VARIABLE)
        ]
        entries.append(f"{MARK_VARIABLE}={start.mark}".encode(ENCODING, ERRORS))
        refuse_nul(entries)
        self._block[self._fixed : self._fixed + len(entries) + 1] = [*entries, None]
        return self._block

    def path_of(self, start: Start) -> str | None:
        """Where `start` looks for programs; None: it has no PATH."""
        if "PATH" in start.env:
            return start.env["PATH"]
        path = self._passed(start).get(b"PATH")
        return None if path is None else os.fsdecode(path)

    def _passed(self, start: Start) -> Mapping[bytes, bytes]:
        return self._base if start.env_allowed is None else passed_of(self._base, start.env_allowed)

    def _make_block(self, start: Start) -> None:
        """A block with what is the same for all starts that change the same variables, and with room for these."""
        import ctypes  # Only a worker needs it, and the supervisor loads this module, too.

        if any(not name or "=" in name[1:] for name in start.env):
            raise ValueError("illegal environment variable name")
        changed = {name.encode(ENCODING, ERRORS) for name in (*start.env, MARK_VARIABLE)}
        passed = {name: value for name, value in self._passed(start).items() if name not in changed}
        passed[_FOLDER] = self._base[_FOLDER]
        fixed = [name + b"=" + value for name, value in passed.items()]
        self._fixed = len(fixed)
        self._block: Block = (ctypes.c_char_p * (len(fixed) + len(changed) + 1))(*fixed)


def passed_of(environment: Mapping[bytes, bytes], patterns: Sequence[str]) -> dict[bytes, bytes]:
    """The variables that a name in `patterns` names, or the beginning before its final `*`. (Of text: `passed_variables`.)"""
    names = {os.fsencode(pattern) for pattern in patterns}
    beginnings = tuple(name[:-1] for name in names if name.endswith(b"*"))
    return {name: value for name, value in environment.items() if name in names or name.startswith(beginnings)}


def refuse_nul(words: Sequence[bytes]) -> None:
    """Raise ValueError if one of these words holds the byte that would end it for C."""
    if b"\0" in b"".join(words):
        raise ValueError("embedded null byte")
