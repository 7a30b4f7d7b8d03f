"""The attempts that a process is in, whatever it has done to its environment, session and parents.

An attempt's processes descend from its worker, which is a subreaper: neither `setsid` nor a double fork leads away from it. A
worker is told by its command line or, where attempts run in the supervisor itself, by its liveness lock, which it keeps open and
no agent inherits. Where no worker is above it a process is still in an attempt if it, a process above it, or the leader of its
session carries the attempt's mark: their worker was killed.

Invariant: the outermost is read first, so what a process in an attempt pretends to be can only take from it what it may do. What
could not be read for want of descriptors or memory is an error, and no evidence that there is nothing.
It refuses to handle: a process that outlived its killed worker and has shed its mark and its session.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import msgspec

from orchestrator.system.process_chain import Process
from orchestrator.workers.command_line import worker_told
from orchestrator.workers.log import LOG_NAME, read_log, running_attempt
from orchestrator.workers.processes.identity import HAS_PROC
from orchestrator.workers.protocol import LIVENESS_LOCK_NAME, MARK_VARIABLE, Begun

_LIVENESS_SUFFIX = f"/{LIVENESS_LOCK_NAME}"
_MARK = f"{MARK_VARIABLE}=".encode()
_PARTS_OF_A_MARK = 3
"""`RUN.NONCE/ITEM/ATTEMPT`, and such a group more for each nested run."""


_GONE_OR_ANOTHERS = contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError)
"""Another user's process cannot be looked into, and is no worker of ours."""


class Enclosing(msgspec.Struct, frozen=True):
    """An attempt that a process is in. `worker`: the folder of its worker; empty: it is known by its mark alone.

    `run` and `item`: as people call them; empty if they are not known. `has_control`: its job lets it steer runs, and so does the
    job of each attempt that it is in itself. `is_agents`: it is of an agent that may not steer, or what it is of is not known.
    """

    run: str
    item: str
    worker: str = ""
    has_control: bool = False
    is_agents: bool = True

    @property
    def words(self) -> str:
        """As people call it."""
        return f"item {self.item} of run {self.run}" if self.item else "an item of a run"


def enclosing_attempts(chain: Sequence[Process]) -> Iterator[Enclosing]:
    """The attempts that the first process of `chain` is in, the outermost first. `chain`: as of `process_chain.chain_of`.

    Raises OSError for a shortage of the machine.
    """
    found = False
    # From above: no process of an attempt stands above its worker, so the first worker is one. What is below may pretend to be.
    seen: set[str] = set()
    for process in reversed(chain[1:]):
        if (folder := worker_folder_of(process.pid)) is not None:
            found = True
            yield _attempt_of(folder, seen)
            seen.add(folder)
    if found:
        return
    # Nobody above is a worker: then the mark tells, as it does to `workers.processes.dead_tree`.
    pids = [process.pid for process in reversed(chain)]
    for pid in dict.fromkeys([*pids, *(process.session for process in chain[:1])]):
        if mark := _mark_of(pid):
            yield _of_mark(mark)
            return


def worker_folder_of(pid: int) -> str | None:
    """The folder that the process serves as a worker, or as a supervisor that runs attempts itself; None: it is neither.

    Raises OSError for a shortage of the machine.
    """
    arguments, files = (_arguments, _open_files) if HAS_PROC else (_arguments_by_psutil, _open_files_by_psutil)
    told = worker_told(arguments(pid))
    if told is not None and os.path.isfile(f"{told.folder}{_LIVENESS_SUFFIX}"):
        return told.folder
    return next((name.removesuffix(_LIVENESS_SUFFIX) for name in files(pid) if name.endswith(_LIVENESS_SUFFIX)), None)


def _attempt_of(folder: str, above: set[str]) -> Enclosing:
    """The attempt that the worker in `folder` runs. `above`: the folders of the workers above that one."""
    running: Begun | None = None
    with contextlib.suppress(OSError):
        running = running_attempt(read_log(f"{folder}/{LOG_NAME}"))
    holding = running.holding if running is not None else None
    if holding is None:
        return Enclosing("", "", folder)
    # An attempt above whose worker was killed is not there to say that it may.
    is_whole = holding.parent is None or holding.parent in above
    may = holding.control and is_whole
    run = os.path.basename(holding.run)
    return Enclosing(run, holding.item, folder, has_control=may, is_agents=holding.is_agents and not may)


def _of_mark(mark: str) -> Enclosing:
    words = mark.split("/")[-_PARTS_OF_A_MARK:]
    return Enclosing(words[0].rpartition(".")[0], words[1]) if len(words) == _PARTS_OF_A_MARK else Enclosing("", "")


def _arguments(pid: int) -> list[str]:
    with _GONE_OR_ANOTHERS, open(f"/proc/{pid}/cmdline", "rb") as file:
        return os.fsdecode(file.read()).split("\0")
    return []


def _open_files(pid: int) -> Iterator[str]:
    folder = f"/proc/{pid}/fd"
    with _GONE_OR_ANOTHERS:
        for number in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                yield os.readlink(f"{folder}/{number}")


def _mark_of(pid: int) -> str:
    """The mark that the process was started with; empty without one, and of another user's process."""
    if not HAS_PROC:
        return _mark_by_psutil(pid)
    with _GONE_OR_ANOTHERS, open(f"/proc/{pid}/environ", "rb") as file:
        for entry in file.read().split(b"\0"):
            if entry.startswith(_MARK):
                return os.fsdecode(entry.removeprefix(_MARK))
    return ""


def _arguments_by_psutil(pid: int) -> list[str]:
    import psutil

    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).cmdline()
    return []


def _open_files_by_psutil(pid: int) -> Iterator[str]:
    import psutil

    with contextlib.suppress(psutil.Error):
        yield from (file.path for file in psutil.Process(pid).open_files())


def _mark_by_psutil(pid: int) -> str:
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        return psutil.Process(pid).environ().get(MARK_VARIABLE, "")
    return ""
