"""What the processes of an attempt have in memory together, found by its tree alone.

Each worker looks itself, and no supervisor for all of them: the limit holds also where that was killed.

Promise: a look costs a few reads for each process of the attempt, however many others the machine has: 64 attempts that sleep
cost next to nothing. The kernel names the children of each thread; where it does not (macOS, a kernel without
CONFIG_PROC_CHILDREN), all processes are looked through.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from . import tree
from .surroundings import Host

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MOST_BYTES = 1 << 16
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
"""It has ended while it was looked at; or it is another user's, and hidden (hidepid)."""

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 1.0
RESTING_PAUSE_SECONDS = (0.3, 20.0)
"""The longest pause at a tree that uses no more than half of what it may: for each worker of its run, and at most. So all of them
together look some three times a second, and the one that runs alone is looked at each second."""
_GROWTH_OF_PAUSE = 1.5
_SAME_SHARE = 64
"""What differs by less than this part of the limit is the same: a runtime collects its garbage also while it waits."""


class MemoryPauses:
    """When to look again at a tree that may use `most_bytes`: ever later as long as it uses the same.

    `count_workers`: how many the run has. It is asked once a pause is long.
    """

    def __init__(self, most_bytes: int, count_workers: Callable[[], int]) -> None:
        self._most_bytes = most_bytes
        self._count_workers = count_workers
        self._used = -most_bytes
        """At the last look that found something else than the one before."""
        self._pause = FIRST_PAUSE_SECONDS

    def pause_after(self, used_bytes: int) -> float:
        """Seconds from a look that found so much to the next one."""
        if abs(used_bytes - self._used) * _SAME_SHARE > self._most_bytes:
            self._used, self._pause = used_bytes, FIRST_PAUSE_SECONDS
            return self._pause
        longer, longest = self._pause * _GROWTH_OF_PAUSE, LONGEST_PAUSE_SECONDS
        if longer > longest and used_bytes <= self._most_bytes // 2:
            of_each, most = RESTING_PAUSE_SECONDS
            longest = min(max(of_each * self._count_workers(), longest), most)
        self._pause = min(longer, longest)
        return self._pause

    def end_rest(self) -> None:
        """Something is being done: the pauses begin anew."""
        self._pause = FIRST_PAUSE_SECONDS


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
