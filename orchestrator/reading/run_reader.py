"""A run read from its folder: its records, its own copy of the jobs file, its item lists, its captures.

Everything is read when it is first asked for. Works on a run that goes on, too; takes no lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.jobsfile.model import Job, JobsFile
from orchestrator.reading.run_records import Records
from orchestrator.store.captures import read_capture
from orchestrator.store.item_list import ItemList
from orchestrator.store.load import read_history
from orchestrator.store.opened_files import OpenedFiles
from orchestrator.store.outcomes import DoneHere
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.system.locks.holders import is_locked
from orchestrator.workers.protocol import Capture


@dataclass
class RunReader(Records):
    """A run to be read. `history` may be one that a supervisor or a `RunFollower` keeps up to date."""

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
        """The run's own copy of the jobs file, loaded when first needed. Raises JobsFileError."""
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

    def values(self, job_id: str) -> ItemList | list[Any]:
        """The item list of a job with `for_each`. Raises StateRefusedError: it is missing or damaged."""
        revision = self.history.jobs[job_id].list_revision
        lists = self._item_lists
        if (job_id, revision) not in lists:
            lists[job_id, revision] = ItemList(self.run_dir.items(job_id, revision), self._opened_lists)
        return lists[job_id, revision]

    def suppose_list(self, job_id: str, values: list[Any]) -> None:
        """Read `values` where the job's list of this revision of the run would stand: an update is tried before it is made."""
        self._item_lists[job_id, self.history.header.revision] = values

    def read_capture(self, capture: Capture) -> bytes:
        """All bytes of a captured stream. Raises CaptureMismatch if they are not what was recorded."""
        return read_capture(capture, self.run_dir)

    def child(self, run_id: str) -> RunReader:
        """The child run with that id. Raises UserError, StateRefusedError."""
        return RunReader.read(RunDir(self.run_dir.path.parent / run_id))

    def done_with(self, token: str) -> DoneHere | None:
        """What an item of this run that has succeeded with `token` came to."""
        found = self.history.done_tokens.get(token)
        if found is None:
            return None
        ended = self.history.jobs[found[0]].last_end(found[1])
        return None if ended is None else DoneHere(self.item_name(*found), ended.payload, ended.outcome)

    @cached_property
    def _jobs(self) -> dict[str, Job]:
        return {job.id: job for job in self.jobs_file.jobs}

    @cached_property
    def _opened_lists(self) -> OpenedFiles:
        return OpenedFiles()

    @cached_property
    def _item_lists(self) -> dict[tuple[str, int], ItemList | list[Any]]:
        return {}
