"""Records for the tests of the store, and a run to put them in."""

from __future__ import annotations

from pathlib import Path

from orchestrator.store.gate_records import GateAnswered, GateAsked
from orchestrator.store.journal import JournalRead
from orchestrator.store.records import (
    AttemptEnded,
    ItemSettled,
    ItemsListed,
    RunHeader,
    Started,
    Status,
    SupervisorStarted,
    WorkerStarted,
)
from orchestrator.store.run_dir import RunDir, create_run_dir
from orchestrator.store.run_store import RunStore
from orchestrator.store.source_file import SourceFile
from orchestrator.workers.protocol import AttemptClass, Capture, Outcome

LISTED = ItemsListed(job="port", count=10)


def header(run_id: str, created_at: float = 1.0, jobs_file: str = "/project/jobs.toml") -> RunHeader:
    return RunHeader(run_id=run_id, nonce="n", name="port", jobs_file=jobs_file, folder="/project", created_at=created_at)


def new_run(
    home: Path,
    run_id: str = "r1",
    created_at: float = 1.0,
    jobs_file: str = "/project/jobs.toml",
    text: str = "[jobs]\n",
) -> RunDir:
    """A run that has just been born, and whose store is closed."""
    home.mkdir(exist_ok=True)
    run_dir = create_run_dir(home, run_id)
    RunStore.create(run_dir, header(run_id, created_at, jobs_file), text).close()
    return run_dir


def read_journal(path: Path, generation: int, run_id: str) -> JournalRead:
    return JournalRead(SourceFile(path), generation, run_id)


def supervisor(pid: int = 100) -> SupervisorStarted:
    return SupervisorStarted(pid=pid, start_ticks=7, boot_id="boot", at=2.0)


def worker(number: int) -> WorkerStarted:
    return WorkerStarted(worker=number, pid=200 + number, start_ticks=8, boot_id="boot")


def started(
    index: int, attempt: int = 1, sequence: int = 0, job: str = "port", worker: int = 0, round_number: int = 0
) -> Started:
    return Started(
        job=job,
        index=index,
        attempt=attempt,
        sequence=sequence,
        worker=worker,
        at=3.0,
        label=f"file {index}",
        round=round_number,
    )


def ended(
    index: int,
    attempt: int = 1,
    status: Status = Status.SUCCEEDED,
    job: str = "port",
    output: bytes = b"out\n",
    round_number: int = 0,
    message: str = "",
) -> AttemptEnded:
    outcome = Outcome(
        attempt_class=AttemptClass.OK if status is Status.SUCCEEDED else AttemptClass.COMMAND_FAILED,
        started_at=3.0,
        finished_at=4.0,
        duration_seconds=1.0,
        exit_code=0 if status is Status.SUCCEEDED else 1,
        message=message,
        stdout=Capture(size=len(output), path="/outputs/0", inline=output),
    )
    return AttemptEnded(
        job=job, index=index, attempt=attempt, status=status, outcome=outcome, label=f"file {index}", round=round_number
    )


def settled(index: int, status: Status = Status.SKIPPED, job: str = "port", stale: bool = False) -> ItemSettled:
    return ItemSettled(job=job, index=index, status=status, message="said so", stale=stale)


def asked(index: int) -> GateAsked:
    return GateAsked(job="ship", index=index, question="Ship it?", options=["approve", "reject"], at=5.0, label=f"file {index}")


def answered(index: int, choice: str) -> GateAnswered:
    return GateAnswered(job="ship", index=index, choice=choice, message="why", at=6.0)
