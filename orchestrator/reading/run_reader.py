"""A run read from its folder: its records, its own copy of the jobs file, its item lists, its captures.

Everything is read when it is first asked for. Works on a run that goes on, too; takes no lock.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

from orchestrator.errors import JobsFileError, StateRefusedError
from orchestrator.jobsfile.kept_files import KeptFiles
from orchestrator.jobsfile.model import Job, JobsFile
from orchestrator.reading.run_records import Records
from orchestrator.store.captures import read_capture
from orchestrator.store.item_list import ItemList, ListLostError
from orchestrator.store.list_records import ListGrew
from orchestrator.store.load import read_history
from orchestrator.store.opened_files import OpenedFiles
from orchestrator.store.outcomes import DoneHere
from orchestrator.store.records import RunHeader
from orchestrator.store.run_dir import RunDir
from orchestrator.store.run_history import RunHistory
from orchestrator.system.locks.holders import is_locked
from orchestrator.workers.files.opening import read_file
from orchestrator.workers.protocol import Capture


class RunReader(Records):
    """A run to be read. `history` may be one that a supervisor or a `RunFollower` keeps up to date.

    `alive`: whether a supervisor holds the run, if the reader knows (it is that supervisor); None: asked each time.
    `tell_lost`, for who only shows the run: hears in one line that its copy of the jobs file is lost. Then the records stand in
    for it.
    """

    def __init__(
        self,
        run_dir: RunDir,
        history: RunHistory,
        alive: bool | None = None,
        tell_lost: Callable[[str], None] | None = None,
    ) -> None:
        self.run_dir, self.history, self.alive, self.tell_lost = run_dir, history, alive, tell_lost

    @classmethod
    def read(cls, run_dir: RunDir, tell_lost: Callable[[str], None] | None = None) -> RunReader:
        """What is recorded of the run now. Raises UserError (no such run), StateRefusedError."""
        return cls(run_dir, read_history(run_dir), tell_lost=tell_lost)

    @cached_property
    def jobs_file(self) -> JobsFile:
        """The run's own copy of the jobs file, loaded when first needed. Raises StateRefusedError: it is lost, or another's."""
        try:
            return own_jobs_file(self.run_dir, self.history.header)
        except StateRefusedError as error:
            if self.tell_lost is None:
                raise
            self.tell_lost(f"{error.message}: shown is what the records say, and outputs as text")
        from orchestrator.reading.recorded_jobs import recorded_jobs

        return recorded_jobs(self.history)

    @property
    def is_alive(self) -> bool:
        """Whether a supervisor holds the run."""
        return is_locked(self.run_dir.supervisor_lock) if self.alive is None else self.alive

    def job(self, job_id: str) -> Job:
        """The definition of one job."""
        return self._jobs[job_id]

    def values(self, job_id: str) -> ItemList | list[Any]:
        """The item list of a job with `for_each`. Raises ListLostError: it is missing or damaged, and the way out."""
        past = self.history.jobs[job_id]
        revision = past.list_revision
        found = self._item_lists.get((job_id, revision)) if past.growing is None else self._grown_list(job_id, past.growing)
        if found is None:
            try:
                found = ItemList(self.run_dir.items(job_id, revision), self._opened_lists)
            except ListLostError as error:
                # Remembered: each of its items asks, and a large file would be read for each of them.
                found = error.message
            self._item_lists[job_id, revision] = found
        if isinstance(found, str):
            update = f"orchestrate resume {self.run_dir.run_id} --update lists the items anew and keeps what succeeded"
            raise ListLostError(found, lines_once_more(self.run_dir.run_id) if self.history.header.each else update)
        return found

    def _grown_list(self, job_id: str, grown: ListGrew) -> ItemList | str:
        """The items of a list that grows, as far as they are recorded; a text: why they cannot be read."""
        known, found = self._grown_lists.get(job_id, (None, ""))
        if known != grown:
            try:
                if isinstance(found, ItemList):
                    found.grow(grown)
                else:
                    found = ItemList(self.run_dir.items(job_id, 0), grown=grown)
            except ListLostError as error:
                found = error.message
            self._grown_lists[job_id] = grown, found
        return found

    def lost_list(self, job_id: str) -> ListLostError | None:
        """Why the list of a job that is listed cannot be read; None: it can, or the job has no `for_each`."""
        if self.history.header.jobs[job_id] and self.history.jobs[job_id].count is not None:
            try:
                self.values(job_id)
            except ListLostError as lost:
                return lost
        return None

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
    def _item_lists(self) -> dict[tuple[str, int], ItemList | list[Any] | str]:
        """By job and revision; a text: why the list cannot be read."""
        return {}

    @cached_property
    def _grown_lists(self) -> dict[str, tuple[ListGrew | None, ItemList | str]]:
        """By job what was read of a list that grows, and up to where."""
        return {}


def lines_once_more(run_id: str) -> str:
    """The way out for a run of `each` that has lost its lines, which stand nowhere else."""
    return f"orchestrate resume {run_id} --update < LINES takes its lines once more and keeps what succeeded"


def own_jobs_file(run_dir: RunDir, header: RunHeader) -> JobsFile:
    """The run's own copy of the jobs file. Raises StateRefusedError: it is lost, or another's."""
    from orchestrator.jobsfile.load import load_text

    path = run_dir.jobs_toml(header.revision)
    config = config_of(run_dir, header)
    kept = kept_of(run_dir, header)
    try:
        data = read_file(path)
        # A byte that flipped may well leave a file without mistakes, by which other commands would run.
        if header.jobs_crc not in (None, crc32(data)):
            raise _lost(header, path, "it is not as it was written")
        found = load_text(data.decode(), path=header.jobs_file, folder=header.folder, user_config=config, kept=kept)
    except OSError as error:
        raise _lost(header, path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise _lost(header, path, "it is not UTF-8") from error
    except JobsFileError as error:
        raise _lost(header, path, f"it has mistakes: {error.problems[0]}") from error
    # Jobs are told apart by their order: by another file's order items would be taken for those of another job.
    if [(job.id, job.for_each is not None) for job in found.jobs] != list(header.jobs.items()):
        raise _lost(header, path, "it is the file of another run, for it has other jobs")
    return found


def has_its_copies(run_dir: RunDir, header: RunHeader) -> bool:
    """Whether `own_jobs_file` would find what was written, by checksums alone. A version that told none has its files read."""
    try:
        config_of(run_dir, header)
        kept_of(run_dir, header)
        return header.jobs_crc == crc32(read_file(run_dir.jobs_toml(header.revision)))
    except (OSError, StateRefusedError):
        return False


def config_of(run_dir: RunDir, header: RunHeader) -> str | None:
    """The path of the user's defaults as they were when the run began; None if there were none.

    Raises StateRefusedError: they are lost, or not as they were.
    """
    path = run_dir.config_toml
    try:
        data = read_file(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and header.config_crc is None:
            return None
        raise _lost(header, path, error.strerror or str(error)) from error
    if header.config_crc not in (None, crc32(data)):
        raise _lost(header, path, "it is not as it was written")
    return str(path)


def kept_of(run_dir: RunDir, header: RunHeader) -> KeptFiles | None:
    """What the run has kept of the files that its jobs file needs; None: nothing.

    Raises StateRefusedError: it is lost, or not as it was. Files of now in its place could be an agent's.
    """
    if header.kept_crc is None:
        return None
    from orchestrator.store.kept_files import decode_kept

    path = run_dir.kept_files(header.revision)
    try:
        data = read_file(path)
        if header.kept_crc != crc32(data):
            raise _lost(header, path, "it is not as it was written")
        return decode_kept(data)
    except OSError as error:
        raise _lost(header, path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _lost(header, path, "it is not as it was written") from error


def _lost(header: RunHeader, path: Path, what: str) -> StateRefusedError:
    # An update needs the files that the user has, and none that the run had before.
    is_jobs_file = path.name.startswith(("jobs", "kept"))
    taken = f"{header.jobs_file} as it is now" if is_jobs_file else "the jobs file and your defaults as they are now"
    update = f", or take {taken}: orchestrate resume {header.run_id} --update" if not header.each else ""
    return StateRefusedError(f"{path}: the run's own copy cannot be read: {what}", f"put it back as it was{update}")
