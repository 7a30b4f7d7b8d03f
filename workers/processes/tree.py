"""The processes of an attempt: who belongs to it, and how to end all of them.

While a worker lives, the tree is what descends from it: it is a subreaper, so that what a double fork or `setsid` detaches
comes back to it, and `wait` says ECHILD when nothing is left. Once a worker was killed, other evidence leads to its agent's
processes: the agent's pid with its start ticks, and all that descends from it; its session; the mark in the environment; the
worker's capture files open for writing. A pid or a session number alone is no evidence: numbers are used again.

Refuses to handle: a process that shed session, mark, parent and streams after its worker was killed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..protocol import MARK_VARIABLE, Begun, Ended, LogLine, Spawned
from .identity import boot_id, is_same_process

if TYPE_CHECKING:
    import psutil

CAPTURE_NAMES = ("stdout", "stderr", "check")
"""The files in a worker's folder that its attempts' processes write to: of the agent, of its check."""

_PR_SET_CHILD_SUBREAPER = 36
_WAIT_BETWEEN_KILLS_SECONDS = 0.05


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

    found = {process.pid: process for process in _descendants(psutil.Process(), strangers)}
    if not is_subreaper:
        for process in _own_processes():
            if process.pid not in found and (_is_session(process, session) or _has_mark(process, mark)):
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
            os.kill(pid, signal.SIGKILL)
        killed |= new


def end_tree_of_dead_worker(lines: Sequence[LogLine], *, mark: str, grace_seconds: float, folder: str | None = None) -> int:
    """End what a killed worker's attempt `mark` left: SIGTERM, up to `grace_seconds`, SIGKILL, until it is confirmed gone.

    `lines` is the worker's log, `folder` the worker's (its capture files are evidence). Returns how many processes there
    were. Never touches this process nor its ancestors. Raises PermissionError if a process cannot be signalled, for then
    the tree is not ended.
    """
    import psutil

    found = _tree_of_dead_worker(lines, mark, folder)
    ended = {process.pid for process in found}
    send(found, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    psutil.wait_procs(found, timeout=max(grace_seconds, 0.001))
    while living := _tree_of_dead_worker(lines, mark, folder):
        ended.update(process.pid for process in living)
        if time.monotonic() < deadline:
            psutil.wait_procs(living, timeout=deadline - time.monotonic())
            continue
        for process in living:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
            except psutil.AccessDenied as error:
                raise PermissionError(f"process {process.pid} of attempt {mark} may not be signalled") from error
        psutil.wait_procs(living, timeout=_WAIT_BETWEEN_KILLS_SECONDS)
    return len(ended)


def _tree_of_dead_worker(lines: Sequence[LogLine], mark: str, folder: str | None) -> list[psutil.Process]:
    import psutil

    spawned = _running_attempt(lines, mark)
    agent: psutil.Process | None = None
    if spawned is not None and is_same_process(spawned.pid, spawned.start_ticks, boot_id()):
        try:
            agent = psutil.Process(spawned.pid)
        except psutil.NoSuchProcess:
            agent = None
    found: dict[int, psutil.Process] = {}
    if agent is not None:
        found.update((process.pid, process) for process in [agent, *_descendants(agent)])
    captures = {f"{folder}/{name}" for name in CAPTURE_NAMES} if folder else set[str]()
    for process in _own_processes():
        if process.pid in found:
            continue
        # The session number belongs to the agent only while the agent itself is there to vouch for it.
        if (agent is not None and _is_session(process, agent.pid)) or _has_mark(process, mark) or _writes_to(process, captures):
            for member in [process, *_descendants(process)]:
                found.setdefault(member.pid, member)
    untouchable = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    return [process for process in found.values() if process.pid not in untouchable and _is_living(process)]


def _running_attempt(lines: Sequence[LogLine], mark: str) -> Spawned | None:
    """The `Spawned` of the attempt `mark`, if it was begun in this boot and has not ended."""
    sequences = {line.sequence for line in lines if isinstance(line, Begun) and line.mark == mark and line.boot_id == boot_id()}
    sequences -= {line.sequence for line in lines if isinstance(line, Ended)}
    for line in reversed(lines):
        if isinstance(line, Spawned) and line.sequence in sequences:
            return line
    return None


def _descendants(root: psutil.Process, strangers: frozenset[int] = frozenset()) -> list[psutil.Process]:
    """Living descendants, parents first; not the `strangers` nor theirs."""
    import psutil

    try:
        if not strangers:
            return [process for process in root.children(recursive=True) if _is_living(process)]
        found: list[psutil.Process] = []
        for child in root.children():
            if child.pid not in strangers:
                found += [process for process in [child, *_descendants(child)] if _is_living(process)]
        return found
    except psutil.NoSuchProcess:
        return []


def _own_processes() -> list[psutil.Process]:
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


def _is_living(process: psutil.Process) -> bool:
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_session(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session
    except (ProcessLookupError, PermissionError):
        return False


def _has_mark(process: psutil.Process, mark: str) -> bool:
    """Whether the process carries the mark, or that of an attempt nested in it."""
    import psutil

    try:
        carried = process.environ().get(MARK_VARIABLE, "")
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return False
    return carried == mark or carried.startswith(mark + "/")


def _writes_to(process: psutil.Process, paths: set[str]) -> bool:
    """Whether it has one of the files open for writing (a reader, `logs -f`, is no part of the tree)."""
    import psutil

    if not paths:
        return False
    try:
        return any(file.path in paths and getattr(file, "mode", "r") != "r" for file in process.open_files())
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return False
