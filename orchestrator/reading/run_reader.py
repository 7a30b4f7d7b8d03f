"""A run read from its records: its jobs, the values and outputs of its items, what they are called.

Everything is read from the records; outputs only when they are asked for. Works on a run that goes on, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.jobsfile.model import Job, JobsFile
from orchestrator.store.item_list import ItemList
from orchestrator.store.load import read_history
from orchestrator.store.outcomes import DoneHere, output_of
from orchestrator.store.records import AttemptEnded
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.system.locks.holders import is_locked
from orchestrator.workers.protocol import AttemptClass


def item_id(job_id: str, index: int, *, is_fan_out: bool) -> str:
    """What an item is called: `JOB:INDEX`, or `JOB` without `for_each`."""
    return f"{job_id}:{index}" if is_fan_out else job_id


@dataclass
class RunReader:
    """A run to be read: its folder, its records, its own copy of the jobs file. Holds no lock.

    `history` may be one that a supervisor keeps up to date.
    """

    run_dir: RunDir
    history: RunHistory
    alive: bool | None = None
    """Whether a supervisor holds the run, if the reader knows (it is that supervisor); None: asked each time."""

    @classmethod
    def read(cls, run_dir: RunDir) -> RunReader:
        """What is recorded of the run now. Raises UserError (no such run), StateRefusedError."""
        return cls(run_dir, read_history(run_dir))

    @cached_property
    def jobs_file(self) -> JobsFile:
        """The run's own copy of the jobs file, loaded when first needed."""
        from orchestrator.jobsfile.load import load_text

        header = self.history.header
        config = self.run_dir.config_toml
        return load_text(
            self.run_dir.jobs_toml(header.revision).read_text("utf-8"),
            path=header.jobs_file,
            folder=header.folder,
            user_config=str(config) if config.exists() else None,
        )

    @property
    def is_alive(self) -> bool:
        """Whether a supervisor holds the run."""
        return is_locked(self.run_dir.supervisor_lock) if self.alive is None else self.alive

    def job(self, job_id: str) -> Job:
        """The definition of one job."""
        return self._jobs[job_id]

    def item_name(self, job_id: str, index: int) -> str:
        """`JOB:INDEX` or `JOB`."""
        header = self.history.header
        return item_id(job_id, index, is_fan_out=header.jobs[job_id] if job_id in header.jobs else header.removed[job_id])

    def value(self, job_id: str, index: int) -> Any:
        """The item's value; None for a job without `for_each`."""
        if not self.history.header.jobs[job_id]:
            return None
        return self.values(job_id)[index]

    def values(self, job_id: str) -> ItemList | list[Any]:
        """The item list of a job with `for_each`."""
        revision = self.history.jobs[job_id].list_revision
        lists = self._item_lists
        if (job_id, revision) not in lists:
            lists[job_id, revision] = ItemList(self.run_dir.items(job_id, revision))
        return lists[job_id, revision]

    def suppose_list(self, job_id: str, values: list[Any]) -> None:
        """Read `values` where the job's list of this revision of the run would stand: for who asks what an update would do."""
        self._item_lists[job_id, self.history.header.revision] = values

    def output(self, job_id: str, index: int) -> Any:
        """The output of an item that succeeded, in its job's shape; None of any other: nothing is to be built on half of one.

        Raises CaptureMismatch if it is not what was recorded.
        """
        past = self.history.jobs[job_id]
        if past.gates:
            return self.choice(job_id, index)
        ended = None if past.is_void(index) else past.last_end(index)
        return None if ended is None else self.output_of_end(job_id, ended)

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
        last = self.history.open_starts.get((job_id, index)) or past.unended.get(index) or past.last_end(index)
        if last is None or not last.workspace:
            return None
        path = self.run_dir.workspace(last.workspace)
        return str(path) if path.is_dir() else None

    def child(self, run_id: str) -> RunReader:
        """The child run with that id. Raises UserError, StateRefusedError."""
        return RunReader.read(self.run_dir.beside(run_id))

    def done_with(self, token: str) -> DoneHere | None:
        """What an item of this run that has succeeded with `token` came to."""
        found = self.history.done_tokens.get(token)
        if found is None:
            return None
        ended = self.history.jobs[found[0]].last_end(found[1])
        return None if ended is None else DoneHere(self.item_name(*found), ended.payload, ended.outcome)

    def count(self, job_id: str) -> int:
        """How many items the job has (0 for a fan-out that is not listed yet)."""
        count = self.history.jobs[job_id].count
        if count is not None:
            return count
        return 0 if self.history.header.jobs[job_id] else 1

    def output_of_end(self, job_id: str, ended: AttemptEnded) -> Any:
        """The output of the attempt that `ended`, in its job's shape; None unless it succeeded. Raises CaptureMismatch."""
        if ended.outcome.attempt_class is not AttemptClass.OK:
            return None
        return output_of(ended.outcome, self.job(job_id).output, self.run_dir)

    @cached_property
    def _jobs(self) -> dict[str, Job]:
        return {job.id: job for job in self.jobs_file.jobs}

    @cached_property
    def _item_lists(self) -> dict[tuple[str, int], ItemList | list[Any]]:
        return {}
