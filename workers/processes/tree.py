"""The processes of an attempt while its worker lives: which ones belong to it, and how to signal them.

The tree is what descends from the worker. The worker is a subreaper, so a process that a double fork or `setsid` detaches comes
back to it, and `wait` says ECHILD when nothing is left. What a killed worker left is found by other evidence: `dead_tree`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..protocol import MARK_VARIABLE

if TYPE_CHECKING:
    import psutil

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Have orphaned descendants of this process come to it. False where the system has no such thing (macOS)."""
    if sys.platform != "linux":
        return False
    import ctypes

    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def resign_as_subreaper() -> None:
    """Undo `become_subreaper`."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def children_now() -> frozenset[int]:
    """The children that this process has already, before it runs attempts itself (slots = 0)."""
    import psutil

    return frozenset(child.pid for child in psutil.Process().children())


def living_tree(mark: str, session: int, strangers: frozenset[int], *, is_subreaper: bool) -> list[psutil.Process]:
    """Living processes of the attempt that this process runs, parents first; not the `strangers` (its earlier children)."""
    import psutil

    found = {process.pid: process for process in descendants_of(psutil.Process(), strangers)}
    if not is_subreaper:
        for process in processes_of_user():
            if process.pid not in found and (is_in_session(process, session) or has_mark(process, mark)):
                found[process.pid] = process
    return list(found.values())


def used_bytes(processes: Sequence[psutil.Process]) -> int:
    """What these processes have in memory, together (RSS): a page that several share counts for each of them."""
    import psutil

    used = 0
    for process in processes:
        try:
            used += process.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            # It has just gone; or (macOS) it changed its user, and what it uses is not told.
            continue
    return used


def send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each that still lives; a stopped one is continued, so that it hears it."""
    import psutil

    for process in processes:
        try:
            process.send_signal(number)
            if number != signal.SIGKILL:
                process.send_signal(signal.SIGCONT)
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:
            # It changed its user (sudo): ours to wait for, not to signal.
            continue


def kill_children_on_sight(strangers: frozenset[int]) -> set[int]:
    """SIGKILL to our direct children, again as long as new ones turn up; returns their pids.

    A process that forks and exits in turn is gone before a scan of all processes is through; its heir is our child at once
    (we are its subreaper). The pid of a child is its own until we wait for it, so nobody else is hit.
    """
    killed = set(strangers)
    while True:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
                new = {int(pid) for pid in file.read().split()} - killed
        except FileNotFoundError:
            # No Linux, or a kernel without CONFIG_PROC_CHILDREN: the slower rounds have to do.
            return set()
        if not new:
            return killed - strangers
        for pid in new:
            with suppress(PermissionError):  # it changed its user (sudo): ours to wait for, not to signal
                os.kill(pid, signal.SIGKILL)
        killed |= new


def descendants_of(root: psutil.Process, strangers: frozenset[int] = frozenset()) -> list[psutil.Process]:
    """Living descendants, parents first; not the `strangers` nor theirs."""
    import psutil

    try:
        if not strangers:
            return [process for process in root.children(recursive=True) if is_living(process)]
        found: list[psutil.Process] = []
        for child in root.children():
            if child.pid not in strangers:
                found += [process for process in [child, *descendants_of(child)] if is_living(process)]
        return found
    except psutil.NoSuchProcess:
        return []


def processes_of_user() -> list[psutil.Process]:
    """All processes of the user that this process runs as."""
    import psutil

    user = os.getuid()
    found = []
    for process in psutil.process_iter():
        try:
            if user in (process.uids().real, process.uids().effective):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def is_living(process: psutil.Process) -> bool:
    """Whether the process runs still: a zombie does not."""
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def is_in_session(process: psutil.Process, session: int) -> bool:
    """Whether the process is in the session with that number."""
    try:
        return os.getsid(process.pid) == session
    except (ProcessLookupError, PermissionError):
        return False


def has_mark(process: psutil.Process, mark: str) -> bool:
    """Whether the process carries the mark, or that of an attempt nested in it."""
    carried = mark_of(process)
    return carried == mark or carried.startswith(mark + "/")


def mark_of(process: psutil.Process) -> str:
    """The mark that the process carries; empty if it has none, is gone, or does not let itself be looked into."""
    import psutil

    from ..command_line import worker_told

    try:
        try:
            return process.environ().get(MARK_VARIABLE, "")
        except psutil.AccessDenied:
            # A worker of ours: its command line says what its environment would.
            told = worker_told(process.cmdline())
            return told.mark if told is not None else ""
    except (psutil.Error, OSError):
        return ""
