"""Large runs, and many runs, written by the store's own writers: to run a million commands takes longer than a bench may."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from orchestrator.reading.run_reader import RunReader
from orchestrator.reading.run_summary import run_summary
from orchestrator.store import records
from orchestrator.store.item_list import write_item_list
from orchestrator.store.kept_summary import keep_summary
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_store import RunStore
from orchestrator.workers.processes.identity import boot_id
from orchestrator.workers.protocol import AttemptClass, Outcome

JOB_ID = "noop"
GROUP = 4096
"""Records that are appended at once."""


def record_run(home: Path, run_id: str, jobs_file: Path, values: Sequence[str], done: int) -> None:
    """A run of `jobs_file`, whose one job is JOB_ID, below `home`: the first `done` of its items have succeeded.

    With less than all, its supervisor is gone and `orchestrate resume RUN` runs the rest.
    """
    run_dir = RunDir.of(home, run_id)
    run_dir.path.mkdir(mode=0o700, parents=True)
    now = time.time()
    header = records.RunHeader(
        run_id=run_id,
        nonce="0123456789ab",
        name="jobs",
        jobs_file=str(jobs_file),
        folder=str(jobs_file.parent),
        created_at=now,
        jobs={JOB_ID: True},
    )
    store = RunStore.create(run_dir, header, jobs_file.read_text())
    for name in ("outputs", "slots", "workers"):
        (run_dir.path / name).mkdir(mode=0o700, exist_ok=True)
    store.append([records.SupervisorStarted(pid=os.getpid(), start_ticks=1, boot_id=boot_id(), at=now)])
    write_item_list(run_dir.items(JOB_ID, 0), values)
    store.append([records.ItemsListed(job=JOB_ID, count=len(values))])
    for first in range(0, done, GROUP):
        store.append([_success(index, values[index], now) for index in range(first, min(first + GROUP, done))])
    if done == len(values):
        store.append([records.JobClosed(job=JOB_ID, status="succeeded")])
        store.append([records.RunEnded(status="completed", at=time.time())])
    store.take_checkpoint()
    store.close()
    # As the end of a session leaves it.
    if done == len(values):
        keep_summary(run_dir, store.history, run_summary(RunReader(run_dir, store.history, alive=False)))


def _success(index: int, label: str, now: float) -> records.AttemptEnded:
    """As a worker tells of a short command: no two have the same times."""
    begun = now + 0.001 * index + 1e-5 * (index % 97)
    outcome = Outcome(
        attempt_class=AttemptClass.OK,
        started_at=begun,
        finished_at=begun + 0.00114831,
        duration_seconds=0.0011477040003228467 + 1e-9 * (index % 9973),
        exit_code=0,
        cpu_seconds=0.000847 + 1e-6 * (index % 89),
        max_rss_bytes=1_983_283,
    )
    return records.AttemptEnded(
        job=JOB_ID,
        index=index,
        attempt=1,
        status=records.Status.SUCCEEDED,
        outcome=outcome,
        label=label,
        payload="ba64cdd8d7dd0808",
    )
