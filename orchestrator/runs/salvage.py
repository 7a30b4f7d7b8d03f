"""Salvage: a run whose journal is damaged goes on with what is whole of it.

What the journal has lost may stand in the logs of the run's workers, line by line with checksums: an attempt whose start is lost
is put in as started, and the next session finds its outcome there, as after a killed supervisor.
"""

from __future__ import annotations

from orchestrator.engines.onlookers import logs_of_workers
from orchestrator.errors import RunHeldError
from orchestrator.jobsfile.model import WorkflowAction
from orchestrator.reading.run_reader import RunReader
from orchestrator.runs.locking import holding, lock_run
from orchestrator.store.places import CHECKPOINT
from orchestrator.store.records import Started, Status
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.store.salvage import Salvage, read_whole, write_generation
from orchestrator.system.locks.holders import is_locked
from orchestrator.workers.protocol import Begun, Ended


def find_whole(run_dir: RunDir) -> Salvage:
    """All that is whole of the run; takes no lock and changes nothing. Raises FileNotFoundError, StateRefusedError."""
    salvage = read_whole(run_dir)
    _take_from_logs(run_dir, salvage.history)
    return salvage


def lost_lists(run_dir: RunDir, history: RunHistory) -> list[str]:
    """In words, the lists of items that cannot be read any more."""
    reader = RunReader(run_dir, history, alive=False)
    found = ((job_id, reader.lost_list(job_id)) for job_id in history.header.jobs)
    return [f"the list of job {job_id}: {lost.message}" for job_id, lost in found if lost is not None]


def keep_whole(run_dir: RunDir) -> tuple[Salvage, list[str]]:
    """Make what is whole the run; what that is, and the names of the damaged files, which are kept.

    Raises RunHeldError if somebody supervises the run, or an attempt of it runs; StateRefusedError, StateUnwritableError.
    """
    with holding(lock_run(run_dir)):
        # An attempt whose start is lost could not be waited for, and would run beside the next one.
        if any(map(is_locked, run_dir.attempt_locks())):
            raise RunHeldError(f"run {run_dir.run_id}: an attempt of it still runs", "salvage it once that has ended")
        # Read under the lock: nobody has written since.
        salvage = find_whole(run_dir)
        return salvage, write_generation(run_dir, salvage)


def _take_from_logs(run_dir: RunDir, history: RunHistory) -> None:
    """Put in the start of each attempt of which only a worker's log tells, if its item has no later word."""
    found: dict[tuple[str, int], Started] = {}
    for worker, lines in logs_of_workers(run_dir):
        history.next_sequence = max([history.next_sequence, *(line.sequence + 1 for line in lines)])
        outcomes = {line.sequence: line.outcome for line in lines if isinstance(line, Ended)}
        for line in lines:
            start = _start_of(line, worker, history) if isinstance(line, Begun) and line.sequence in outcomes else None
            if start is not None and start.attempt >= found.get((start.job, start.index), start).attempt:
                found[start.job, start.index] = start
    reader = RunReader(run_dir, history, alive=False, tell_lost=lambda _: None)
    for (job_id, index), start in found.items():
        past, job = history.jobs[job_id], reader.job(job_id)
        # Of a round, or a child run, the log does not tell which one it was.
        is_plain = job.repeat is None and not isinstance(job.action, WorkflowAction)
        is_listed = past.count is not None and index < past.count
        if is_plain and is_listed and past.status(index) is Status.PENDING and past.attempts(index) < start.attempt:
            history.apply(start, CHECKPOINT, 0, 0)


def _start_of(line: Begun, worker: int, history: RunHistory) -> Started | None:
    """The start of the attempt that its mark names (`…/RUN.NONCE/ITEM/ATTEMPT`); None: it is none of this run's."""
    words = line.mark.split("/")[-3:]
    if len(words) != 3 or words[0] != history.header.mark or not words[2].isdecimal():
        return None
    job_id, _, index = words[1].partition(":")
    if job_id not in history.header.jobs:
        return None
    place = int(index) if index.isdecimal() else 0
    attempt, at = int(words[2]), history.header.created_at
    return Started(job=job_id, index=place, attempt=attempt, sequence=line.sequence, worker=worker, at=at)
