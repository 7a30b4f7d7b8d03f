"""A process and the processes above it, as the kernel tells of them: by whom something was started, whatever it says itself.

Promise: a chain that is returned was true at one moment: each process in it is the parent of the one before. It is read from what
no process can write: neither its environment nor its memory nor its arguments.
It refuses to handle: what the processes of the chain are (`enclosing`).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec

from orchestrator.workers.processes.identity import HAS_PROC, kernel_told

if TYPE_CHECKING:
    import psutil

_WALKS = 5
"""How often a chain is read, at most, while processes in it end."""

_PSEUDO_TERMINALS = range(136, 144)
"""Major numbers of /dev/pts; each has 256 of them."""
_CONSOLES = 4
_MINORS = 256


class Process(msgspec.Struct, frozen=True):
    """One process. `name`: what the kernel calls it; `terminal`: as `pts/3`, empty if it has none.

    `session`: the pid of the leader of its session. `started`: its start in an order that the kernel keeps.
    """

    pid: int
    name: str
    session: int
    terminal: str
    started: int


class ChainUnknownError(Exception):
    """The process is gone, or those above it end faster than they can be read."""


def chain_of(pid: int) -> tuple[Process, ...]:
    """The process and all above it, the nearest first, as far as this user may see them. Raises ChainUnknownError."""
    for _ in range(_WALKS):
        if (chain := _walk(pid) if HAS_PROC else _walk_by_psutil(pid)) is not None:
            return chain
    raise ChainUnknownError


def _walk(pid: int) -> tuple[Process, ...] | None:
    """The chain; None if a process ended meanwhile, so that its children have another parent now."""
    chain: list[Process] = []
    while pid > 0:
        read = _read(pid)
        if read is None:
            # Where other users' processes are hidden (hidepid) the chain ends at the first: no worker of ours is above it.
            return tuple(chain) if chain and _is_hidden(pid) else None
        process, parent = read
        # No parent is younger than its child: this one has the number of a parent that is gone.
        if chain and process.started > chain[-1].started:
            return None
        chain.append(process)
        pid = parent
    return tuple(chain) or None


def _read(pid: int) -> tuple[Process, int] | None:
    """The process and the pid of its parent; None if there is none of that number, or it is hidden."""
    told = kernel_told(pid)
    if told is None:
        return None
    fields = told.fields
    terminal = _terminal(os.major(int(fields[4])), os.minor(int(fields[4])))
    process = Process(pid, told.name.decode("utf-8", "replace"), int(fields[3]), terminal, int(fields[19]))
    return process, int(fields[1])


def _terminal(major: int, minor: int) -> str:
    if major in _PSEUDO_TERMINALS:
        return f"pts/{(major - _PSEUDO_TERMINALS.start) * _MINORS + minor}"
    return f"tty{minor}" if major == _CONSOLES else ""


def _is_hidden(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return False


def _walk_by_psutil(pid: int) -> tuple[Process, ...] | None:
    import psutil

    try:
        first = psutil.Process(pid)
        return tuple(_of_psutil(each) for each in (first, *first.parents()))
    except psutil.Error:
        return None


def _of_psutil(process: psutil.Process) -> Process:
    import psutil

    name = terminal = ""
    session = 0
    # Of another user's process not all is told.
    with contextlib.suppress(psutil.AccessDenied):
        name = process.name()
    with contextlib.suppress(psutil.AccessDenied):
        terminal = (process.terminal() or "").removeprefix("/dev/")
    with contextlib.suppress(PermissionError, ProcessLookupError):
        session = os.getsid(process.pid)
    return Process(process.pid, name, session, terminal, round(process.create_time() * 1_000_000))
