"""The directory of one run: what lies where in it, how it is called, and how a new one is made.

A run exists from the moment its directory has a checkpoint.json, which is written last. A directory without one is what a
SIGKILL left of a run that never began: no reader sees it, and its id is free. But if it holds records (`kept_records`), it is a
run that has lost its checkpoint, and whoever reads it is told so.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec

from orchestrator.errors import UserError
from orchestrator.store.durable_file import unwritable
from orchestrator.store.home import home_of, runs_folder
from orchestrator.store.kept_records import REMOVAL_MARK, holds_records, lost_checkpoint
from orchestrator.system.wording import cut
from orchestrator.workers.files.syncing import sync_folder
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.protocol import LIVENESS_LOCK_NAME

CHECKPOINT_NAME = "checkpoint.json"
SUMMARY_NAME = "summary.json"
LONGEST_RUN_ID = 64
_RUN_ID = lazy_pattern(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUFFIX_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_FOLDER_SIZE = 1000
"""Items whose outputs share a folder: large folders are slow in many tools."""


def journal_name(generation: int) -> str:
    """Name of the journal that belongs to checkpoint `generation`."""
    return f"journal-{generation}.jsonl"


class RunDir(msgspec.Struct, frozen=True):
    """The directory of one run, and the paths in it (docs/architecture/state-on-disk.md)."""

    path: Path

    @classmethod
    def of(cls, home: Path, run_id: str) -> RunDir:
        """The directory of run `run_id` in `home`, whether it exists or not."""
        return cls(runs_folder(home) / run_id)

    @property
    def home(self) -> Path:
        return home_of(self.path)

    @property
    def exists(self) -> bool:
        """Whether it is a run: something stands where its checkpoint should, be it one that nobody can read, or it is lost."""
        return os.path.lexists(self.checkpoint) or holds_records(self.path)

    @property
    def has_lost_checkpoint(self) -> bool:
        """Whether it is a run, and nothing stands where its checkpoint should."""
        try:
            self.checkpoint.lstat()
        except FileNotFoundError:
            return self.exists
        except OSError:  # nobody can tell
            return False
        return False

    @property
    def is_half_removed(self) -> bool:
        """Whether a prune has begun to remove the run, and was killed: the rest of it is no run, and no place for another."""
        return os.path.lexists(self.removal_mark) and not os.path.lexists(self.checkpoint)

    def beside(self, run_id: str) -> RunDir:
        """The directory of another run of the same home."""
        return RunDir(self.path.parent / run_id)

    @property
    def run_id(self) -> str:
        return self.path.name

    def jobs_toml(self, revision: int) -> Path:
        """The run's own copy of the jobs file, as it is since the run was updated `revision` times."""
        return self.path / ("jobs.toml" if not revision else f"jobs-{revision}.toml")

    def kept_files(self, revision: int) -> Path:
        """The run's own copy of what its jobs file needs besides itself, as of `jobs_toml`."""
        return self.path / ("kept.json" if not revision else f"kept-{revision}.json")

    @property
    def config_toml(self) -> Path:
        return self.path / "config.toml"

    @property
    def capsule(self) -> Path:
        """The folder of what a replay plays."""
        return self.path / "capsule"

    @property
    def supervisor_lock(self) -> Path:
        return self.path / "supervisor.lock"

    @property
    def supervisor_json(self) -> Path:
        return self.path / "supervisor.json"

    @property
    def secrets(self) -> Path:
        """By what the secrets of its supervisors' environments are known again (`store.known_secrets`)."""
        return self.path / "secrets.json"

    @property
    def log(self) -> Path:
        return self.path / "supervisor.log"

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT_NAME

    @property
    def summary(self) -> Path:
        """What the run came to when its last supervisor ended (`store.kept_summary`)."""
        return self.path / SUMMARY_NAME

    @property
    def removal_mark(self) -> Path:
        """Stands there while the run is removed, from the first step to the last."""
        return self.path / REMOVAL_MARK

    def journal(self, generation: int) -> Path:
        return self.path / journal_name(generation)

    def journals(self) -> list[Path]:
        """The journals that are there: one, and while a checkpoint is taken two."""
        return sorted(self.path.glob("journal-*.jsonl"))

    def items(self, job: str, revision: int) -> Path:
        """The item list that was made for `revision` of the run. An id may have hyphens, and no dots."""
        if "-" in job:
            return self.path / "items" / f"{job}.{revision}.jsonl"
        return self.path / "items" / (f"{job}.jsonl" if not revision else f"{job}-{revision}.jsonl")

    def slot_lock(self, slot: int) -> Path:
        return self.path / "slots" / f"{slot}.lock"

    def attempt_locks(self) -> list[Path]:
        """Without a supervisor, one of these that is held is that of an attempt that runs: of its slot, or of its worker.

        Both, for somebody may have removed one of the folders beside it.
        """
        return [*self.path.glob("slots/*.lock"), *self.path.glob(f"workers/*/{LIVENESS_LOCK_NAME}")]

    @property
    def slot_count(self) -> Path:
        """Says, for the runs that are nested in this one, how many slots there are."""
        return self.path / "slots" / "count"

    def worker_folder(self, worker: int) -> Path:
        return self.path / "workers" / str(worker)

    @property
    def workspaces(self) -> Path:
        """Where items work apart from each other; beside each its record (`workers/workspaces/record.py`)."""
        return self.path / "workspaces"

    @property
    def repository_settings(self) -> Path:
        """Which repository the run works with, and its settings when the run began (`workers/workspaces/settings.py`)."""
        return self.workspaces / "repository.json"

    def workspace(self, name: str) -> Path:
        """The workspace that records call `name`."""
        return self.workspaces / name

    def results(self, job: str) -> Path:
        return self.path / "results" / f"{job}.json"

    def schema(self, digest: str) -> Path:
        """The run's own copy of a JSON Schema, for agents that are given one by its path (`store.schema_copies`)."""
        return self.path / "schemas" / f"{digest}.json"

    def output_paths(self, job: str, index: int, attempt: int) -> tuple[str, str]:
        """Where the captured (stdout, stderr) of an attempt go; index 0 for a job without `for_each`."""
        stem = f"{self.path}/outputs/{job}/{index // _FOLDER_SIZE}/{index}-{attempt}"
        return f"{stem}.stdout", f"{stem}.stderr"


def new_run_id(now: float) -> str:
    """An id that sorts by time: UTC to the second, and four random characters. `now` in seconds since the epoch."""
    suffix = "".join(_SUFFIX_LETTERS[byte % len(_SUFFIX_LETTERS)] for byte in os.urandom(4))
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{suffix}"


def is_run_id(text: str) -> bool:
    """Whether a run could be called so."""
    return _RUN_ID.fullmatch(text) is not None


def check_run_id(run_id: str) -> None:
    """Raise UserError unless `run_id` is safe as the name of a folder."""
    if not is_run_id(run_id) or ".." in run_id:
        raise UserError(
            f"{cut(run_id, 80)!r} cannot be the id of a run",
            "use up to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit, without '..'",
        )


def create_run_dir(home: Path, run_id: str) -> RunDir:
    """Make the directory of a new run (or take over what a killed birth left of one). Survives power loss.

    It becomes a run with `RunStore.create`, under its supervisor lock. Raises UserError (exists), StateUnwritableError.
    """
    check_run_id(run_id)
    run_dir = RunDir.of(home, run_id)
    # Each folder, then its name in the folder above: a run that is told about must be there after a power loss.
    try:
        run_dir.path.parent.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            run_dir.path.mkdir(mode=0o700)
        sync_folder(run_dir.path.parent)
        sync_folder(home)
    except OSError as error:
        raise unwritable(run_dir.path, error, is_run=False) from error
    check_unborn(run_dir)
    return run_dir


def check_unborn(run_dir: RunDir) -> None:
    """Raise UserError if the run exists already, or what is left of one is in the way."""
    if run_dir.has_lost_checkpoint:
        raise lost_checkpoint(run_dir.checkpoint)
    if run_dir.is_half_removed:
        raise UserError(
            f"{run_dir.path}: run {run_dir.run_id} is only half removed, for its prune was ended",
            "orchestrate prune --older-than 30d removes the rest; or choose another id",
        )
    if run_dir.exists:
        raise UserError(
            f"run {run_dir.run_id} exists already", f"go on with it: --run-id {run_dir.run_id} --resume; or choose another id"
        )
