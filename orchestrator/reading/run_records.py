"""What templates, attempts, results and summaries ask of a run: its records, its jobs, the values and outputs of its items.

`RunReader` reads it from the run's folder; a test may hold another one in memory. A captured output is read by
`read_capture` alone, and only by the methods that say so: all others cost the same however large the outputs are.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

from orchestrator.jobsfile.model import Job, JobsFile
from orchestrator.store.item_list import ItemList
from orchestrator.store.outcomes import check_text
from orchestrator.store.outputs import answer_capture, shape_output
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.workers.protocol import AttemptClass, Capture, Outcome


def item_id(job_id: str, index: int, *, is_fan_out: bool) -> str:
    """What an item is called: `JOB:INDEX`, or `JOB` without `for_each`."""
    return f"{job_id}:{index}" if is_fan_out else job_id


class Records(Protocol):
    """A run as it is recorded. Below what each implementation gives stands what follows from it."""

    run_dir: RunDir
    """Where what belongs to the run has its place; that a path is named does not mean that something is there."""
    history: RunHistory

    @property
    @abstractmethod
    def jobs_file(self) -> JobsFile:
        """The run's own copy of the jobs file."""
        ...

    @property
    @abstractmethod
    def is_alive(self) -> bool:
        """Whether a supervisor holds the run."""
        ...

    @abstractmethod
    def job(self, job_id: str) -> Job:
        """The definition of one job."""
        ...

    @abstractmethod
    def values(self, job_id: str) -> ItemList | list[Any]:
        """The item list of a job with `for_each`."""
        ...

    @abstractmethod
    def read_capture(self, capture: Capture) -> bytes:
        """All bytes of a captured stream. Raises CaptureMismatch if they are not what was recorded."""
        ...

    # What follows.

    def item_name(self, job_id: str, index: int) -> str:
        """`JOB:INDEX` or `JOB`."""
        header = self.history.header
        return item_id(job_id, index, is_fan_out=header.jobs[job_id] if job_id in header.jobs else header.removed[job_id])

    def count(self, job_id: str) -> int:
        """How many items the job has (0 for a fan-out that is not listed yet)."""
        count = self.history.jobs[job_id].count
        if count is not None:
            return count
        return 0 if self.history.header.jobs[job_id] else 1

    def value(self, job_id: str, index: int) -> Any:
        """The item's value; None for a job without `for_each`."""
        if not self.history.header.jobs[job_id]:
            return None
        return self.values(job_id)[index]

    def output(self, job_id: str, index: int) -> Any:
        """The output of an item that succeeded, in its job's shape; None of any other: nothing is to be built on half of one.

        Reads the capture. Raises CaptureMismatch.
        """
        past = self.history.jobs[job_id]
        if past.gates:
            return self.choice(job_id, index)
        ended = None if past.is_void(index) else past.last_end(index)
        return None if ended is None else self.output_of_end(job_id, ended.outcome)

    def output_of_end(self, job_id: str, outcome: Outcome) -> Any:
        """The output of an attempt that ended with `outcome`, in its job's shape; None unless it succeeded.

        Reads the capture. Raises CaptureMismatch.
        """
        return self.shaped_output(self.job(job_id), outcome) if outcome.attempt_class is AttemptClass.OK else None

    def shaped_output(self, job: Job, outcome: Outcome) -> Any:
        """What an attempt of `job` gave, in the job's shape, whatever came of it. Reads the capture.

        Raises CaptureMismatch, BadOutputError (no check has said yet that it has this shape).
        """
        return shape_output(outcome, job.output, self.read_capture(answer_capture(outcome)))

    def check_output(self, job_id: str, index: int) -> str:
        """What the check of the item's last attempt said if it failed, the end of it; else empty.

        Reads the capture. Raises CaptureMismatch.
        """
        ended = self.history.jobs[job_id].last_end(index)
        return "" if ended is None else check_text(self.read_capture(ended.outcome.check))

    def choice(self, job_id: str, index: int) -> str | None:
        """What was chosen at a gate; None before."""
        gate = self.history.jobs[job_id].gates.get(index)
        return gate.answer.choice if gate is not None and gate.answer is not None else None

    def gate_message(self, job_id: str, index: int) -> str:
        """What somebody said with the choice at a gate; else empty."""
        gate = self.history.jobs[job_id].gates.get(index)
        return gate.answer.message if gate is not None and gate.answer is not None else ""

    def workspace(self, job_id: str, index: int) -> str | None:
        """The workspace of the item, as long as it is there."""
        past = self.history.jobs[job_id]
        # The attempt that runs tells best, then the one that never came to its end, then the last that did.
        last = self.history.open_starts.get((job_id, index)) or past.unended.get(index) or past.last_end(index)
        if last is None or not last.workspace:
            return None
        path = self.run_dir.workspace(last.workspace)
        return str(path) if path.is_dir() else None
