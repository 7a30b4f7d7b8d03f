"""For those who only look at a run and have no engine of their own: what its attempts write and which sessions their agents
have told just now, which workers live.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from orchestrator.engines.worker_ends import lines_of, logged_outcome, outcome_in
from orchestrator.store.records import Started, WorkerStarted
from orchestrator.store.run_dir import RunDir
from orchestrator.workers.files.opening import StrangeFileError, open_file
from orchestrator.workers.log import LOG_NAME, read_log
from orchestrator.workers.processes.identity import is_same_process, is_stopped_process, process_state
from orchestrator.workers.processes.tree import has_mark
from orchestrator.workers.protocol import LogLine, SessionSeen


def open_live_output(run_dir: RunDir, start: Started, stream: str) -> BinaryIO | None:
    """The file into which `stream` (stdout, stderr) of the attempt is written just now; None: nothing is there yet.

    It grows. What it holds may be another attempt's of this worker, as long as it is not known that `start` runs (`runs_now`). It
    becomes the attempt's own file by a rename, so whoever has it open sees all of it.
    """
    try:
        return open(open_file(run_dir.worker_folder(start.worker) / stream), "rb")
    except (FileNotFoundError, StrangeFileError):
        return None


def live_output_size(run_dir: RunDir, start: Started, stream: str) -> int:
    """Bytes of the file that `open_live_output` opens; 0: there is none."""
    try:
        return os.lstat(run_dir.worker_folder(start.worker) / stream).st_size
    except OSError:
        return 0


def runs_now(run_dir: RunDir, start: Started) -> bool:
    """Whether an attempt without a recorded end runs: its worker may be at the next one already, and tell of both later."""
    lines = lines_of(run_dir, start.worker, start.sequence)
    # Of a log that is gone nothing is known but what the records tell.
    return lines is None or (bool(lines) and outcome_in(lines) is None)


def logged_sessions(run_dir: RunDir, start: Started) -> list[str]:
    """The sessions that the attempt's agent has told, as its worker's log says; no record may tell them yet."""
    lines = lines_of(run_dir, start.worker, start.sequence) or []
    return [line.session_id for line in lines if isinstance(line, SessionSeen)]


def logs_of_workers(run_dir: RunDir) -> Iterator[tuple[int, list[LogLine]]]:
    """For each worker that the run has had: its number, and what its log has kept. It may tell of more than the records do."""
    for folder in run_dir.worker_folder(0).parent.glob("*/"):
        if folder.name.isdecimal():
            yield int(folder.name), read_log(str(folder / LOG_NAME))


def living_process(worker: WorkerStarted) -> int | None:
    """The pid of a worker whose process is there, be it a zombie; None if it is gone, or no process of this machine."""
    return worker.pid if is_same_process(worker.pid, worker.start_ticks, worker.boot_id) else None


def process_with_mark(mark: str) -> int | None:
    """The pid of a process of the attempt with this mark, or of an attempt nested in it; None: none is there."""
    import psutil

    return next((process.pid for process in psutil.process_iter() if has_mark(process, mark)), None)


class StoppedProcess(NamedTuple):
    """A process of an attempt that was stopped by a signal. `words`: what it is, for people."""

    pid: int
    words: str


def stopped_processes(worker: WorkerStarted | None) -> list[StoppedProcess]:
    """Those of the attempt that `worker` runs: the worker itself, its agent, and what that has started."""
    import psutil

    if worker is None or living_process(worker) is None:
        return []
    found: list[StoppedProcess] = []
    if is_stopped_process(process_state(worker.pid, worker.start_ticks)):
        found.append(StoppedProcess(worker.pid, "its worker, which is continued once"))
    # Gone while it is looked at, or another user's: then nothing is to be said of it.
    with suppress(psutil.Error, OSError):
        tree = psutil.Process(worker.pid).children(recursive=True)
        found += [StoppedProcess(each.pid, each.name()) for each in tree if each.status() == psutil.STATUS_STOPPED]
    return found


def is_over(run_dir: RunDir, start: Started) -> bool:
    """Whether the log of its worker tells that the attempt has ended, or was given back."""
    return logged_outcome(run_dir, start) is not None
