"""What the processes of an attempt have in memory together, found by its tree alone.

Promise: a look costs a few reads for each process of the attempt, however many others the machine has: 64 attempts that sleep
cost next to nothing. The kernel names the children of each thread; where it does not (macOS, a kernel without
CONFIG_PROC_CHILDREN), all processes are looked through.
"""

from __future__ import annotations

import os

from . import tree
from .surroundings import Host

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MOST_BYTES = 1 << 16
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""It has ended while it was looked at; or it is another user's, and hidden (hidepid)."""

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 1.0
_GROWTH_OF_PAUSE = 1.5


class MemoryPauses:
    """When to look again: ever later, up to a second, at a tree that uses the same as before."""

    def __init__(self) -> None:
        self._used = -1
        self._pause = FIRST_PAUSE_SECONDS

    def pause_after(self, used_bytes: int) -> float:
        """Seconds from a look that found so much to the next one."""
        is_idle = used_bytes == self._used
        self._pause = min(self._pause * _GROWTH_OF_PAUSE, LONGEST_PAUSE_SECONDS) if is_idle else FIRST_PAUSE_SECONDS
        self._used = used_bytes
        return self._pause


def used_by_attempt(mark: str, session: int, host: Host) -> int:
    """Bytes (RSS) of all that this process has started, but for the strangers of `host`; a shared page counts for each process.

    Raises OSError: no descriptor is left to look with. `mark` and `session` are for systems that know no subreaper.
    """
    try:
        return _used_below(os.getpid(), host.strangers)
    except NotImplementedError:
        processes = tree.living_tree(mark, session, host.strangers, is_subreaper=host.is_subreaper)
        return tree.used_bytes(processes)


def _used_below(root: int, strangers: frozenset[int]) -> int:
    """Raises NotImplementedError: the system names no children."""
    if not os.path.exists(f"/proc/{root}/task/{root}/children"):
        raise NotImplementedError
    used = 0
    waiting = [pid for pid in _children_of(root) if pid not in strangers]
    while waiting:
        pid = waiting.pop()
        try:
            used += int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE_BYTES
            waiting += _children_of(pid)
        except _GONE:
            continue
    return used


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
        except _GONE:
            continue
    return found


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(descriptor, _MOST_BYTES)
        # A file of the kernel comes in parts: of one that has a thousand children a read gives the first of them.
        while len(data) >= 2048 and (more := os.read(descriptor, _MOST_BYTES)):
            data += more
        return data
    finally:
        os.close(descriptor)
