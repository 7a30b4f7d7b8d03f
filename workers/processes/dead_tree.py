"""What a killed worker left: which processes belong to its attempt, and how to end all of them.

No process descends from the worker any more, so other evidence leads to its agent's processes: the agent's pid with its start
ticks, and all that descends from it; its session; the mark in the environment; the worker's capture files open for writing. A pid
or a session number alone is no evidence: numbers are used again.

Refuses to handle: a process that shed session, mark, parent and streams after its worker was killed; a process that has become
another user's (`sudo`): it is given the grace, and then told and left alone, for nobody here may signal it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..protocol import Begun, Ended, LogLine, Spawned
from .identity import boot_id, is_same_process
from .tree import descendants_of, has_mark, is_in_session, is_living, processes_of_user, send

if TYPE_CHECKING:
    import psutil

CAPTURE_NAMES = ("stdout", "stderr", "check")
"""The files in a worker's folder that its attempts' processes write to: of the agent, of its check."""

_WAIT_BETWEEN_KILLS_SECONDS = 0.05


def end_tree_of_dead_worker(
    lines: Sequence[LogLine],
    *,
    mark: str,
    grace_seconds: float,
    folder: str | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> int:
    """End what a killed worker's attempt `mark` left: SIGTERM, up to `grace_seconds`, SIGKILL, until it is confirmed gone.

    `lines` is the worker's log, `folder` the worker's (its capture files are evidence). Returns how many processes there
    were. Never touches this process nor its ancestors. `tell` hears of each process that may not be signalled, and is left alone.
    """
    import psutil

    left_alone: set[psutil.Process] = set()

    # Ask all of them to end, and give them the grace.
    found = _tree_of_dead_worker(lines, mark, folder)
    ended = {process.pid for process in found}
    send(found, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    psutil.wait_procs(found, timeout=max(grace_seconds, 0.001))
    # Look again after each round: a process that was asked to end may have started others.
    while living := [process for process in _tree_of_dead_worker(lines, mark, folder) if process not in left_alone]:
        ended.update(process.pid for process in living)
        if time.monotonic() < deadline:
            psutil.wait_procs(living, timeout=deadline - time.monotonic())
            continue
        for process in living:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
            except psutil.AccessDenied:
                left_alone.add(process)
                tell(f"process {process.pid} is another user's, may not be signalled, and is left alone")
        psutil.wait_procs(living, timeout=_WAIT_BETWEEN_KILLS_SECONDS)
    return len(ended)


def _tree_of_dead_worker(lines: Sequence[LogLine], mark: str, folder: str | None) -> list[psutil.Process]:
    import psutil

    # The agent itself, if it is the same process still: its pid may be another's by now.
    spawned = _running_attempt(lines, mark)
    agent: psutil.Process | None = None
    if spawned is not None and is_same_process(spawned.pid, spawned.start_ticks, boot_id(), spawned.ticks_more):
        try:
            agent = psutil.Process(spawned.pid)
        except psutil.NoSuchProcess:
            agent = None
    found: dict[int, psutil.Process] = {}
    if agent is not None:
        found.update((process.pid, process) for process in [agent, *descendants_of(agent)])
    # Then all that carries evidence, and its descendants, which may have shed theirs.
    captures = {f"{folder}/{name}" for name in CAPTURE_NAMES} if folder else set[str]()
    for process in processes_of_user():
        if process.pid in found:
            continue
        # A session number is evidence only while the agent that leads the session lives: numbers are used again.
        if (agent is not None and is_in_session(process, agent.pid)) or has_mark(process, mark) or _writes_to(process, captures):
            for member in [process, *descendants_of(process)]:
                found.setdefault(member.pid, member)
    # A supervisor that runs inside this very attempt must not end itself.
    untouchable = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    return [process for process in found.values() if process.pid not in untouchable and is_living(process)]


def _running_attempt(lines: Sequence[LogLine], mark: str) -> Spawned | None:
    """The `Spawned` of the attempt `mark`, if it was begun in this boot and has not ended."""
    sequences = {line.sequence for line in lines if isinstance(line, Begun) and line.mark == mark and line.boot_id == boot_id()}
    sequences -= {line.sequence for line in lines if isinstance(line, Ended)}
    for line in reversed(lines):
        if isinstance(line, Spawned) and line.sequence in sequences:
            return line
    return None


def _writes_to(process: psutil.Process, paths: set[str]) -> bool:
    """Whether it has one of the files open for writing (a reader, `logs -f`, is no part of the tree)."""
    import psutil

    if not paths:
        return False
    try:
        return any(file.path in paths and getattr(file, "mode", "r") != "r" for file in process.open_files())
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return False
