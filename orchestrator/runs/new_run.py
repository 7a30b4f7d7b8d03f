"""A new run: its directory is made and locked, and all that it needs is written before it exists.

Promise: a run exists from the moment when its first checkpoint stands, which is written last. What a kill leaves before that is
no run: no reader sees it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from orchestrator.errors import StateUnwritableError
from orchestrator.jobsfile.load import user_config
from orchestrator.jobsfile.model import JobsFile
from orchestrator.runs.locking import lock_run, require_descriptors
from orchestrator.runs.run_requests import DEFAULT_OPTIONS
from orchestrator.store.durable_file import unwritable, write_for_next_sync
from orchestrator.store.item_list import write_item_list
from orchestrator.store.kept_files import encode_kept
from orchestrator.store.records import RunHeader
from orchestrator.store.run_dir import RunDir, create_run_dir, new_run_id
from orchestrator.store.run_store import RunStore
from orchestrator.store.settings_records import RunOptions
from orchestrator.store.supervisor_lock import SupervisorLock
from orchestrator.system.named_files import read_named

AGAIN = "free some space there or mend that, then run it again"
"""The hint where a run could not be made: there is nothing to resume."""


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is made of. `inputs`: values of the types that the file declares. `run_id`: None: one is made up.

    `is_each`: the file was made by `orchestrate each`. `lines`: the items of its one job; None: they still come. `parent`
    (`RUN/ITEM`): the item whose child it is. `within`: as of `RunHeader`. `capsule`: the archive that it replays.
    """

    jobs_file: JobsFile
    inputs: dict[str, Any] = {}
    options: RunOptions = DEFAULT_OPTIONS
    run_id: str | None = None
    is_each: bool = False
    lines: Iterable[Any] | None = None
    parent: str | None = None
    within: str
    capsule: str | None = None


class Launched(msgspec.Struct, frozen=True):
    """A run that this process now holds. `store` is open if the run is new."""

    run_dir: RunDir
    lock: SupervisorLock
    store: RunStore | None


def create_run(home: Path, new: NewRun) -> Launched:
    """Make a new run, held by this process. Raises UserError (the id is taken), StateUnwritableError."""
    # Before the directory: a process without descriptors must not leave one behind.
    require_descriptors()
    now = time.time()
    run_dir = create_run_dir(home, new_run_id(now) if new.run_id is None else new.run_id)
    with _unborn(run_dir):
        # Locked before it exists: a reader that sees the run finds its supervisor.
        lock = lock_run(run_dir)
        try:
            header = msgspec.structs.replace(_header(run_dir, new, now), **_write_files(run_dir, new))
            return Launched(run_dir, lock, RunStore.create(run_dir, header, new.jobs_file.text, lock))
        except BaseException:
            lock.release()
            raise


def _write_files(run_dir: RunDir, new: NewRun) -> dict[str, int | None]:
    """Write all that the run reads later, but for its records; what its header tells of that: checksums.

    Raises OSError, StateUnwritableError.
    """
    for name in ("items", "slots", "workers", "outputs"):
        (run_dir.path / name).mkdir(mode=0o700, exist_ok=True)
    # A later resume reads the defaults that hold now, whatever the user changes meanwhile.
    path = user_config()
    config = read_named(path) if path is not None else None
    if config is not None:
        write_for_next_sync(run_dir.config_toml, config)
    kept = encode_kept(new.jobs_file.kept) if new.jobs_file.kept is not None else None
    if kept is not None:
        write_for_next_sync(run_dir.kept_files(0), kept)
    if new.lines is not None:
        write_item_list(run_dir.items("each", 0), new.lines)
    if new.capsule is not None:
        _unpack_capsule(Path(new.capsule), run_dir)
    return {
        "config_crc": crc32(config) if config is not None else None,
        "kept_crc": crc32(kept) if kept is not None else None,
    }


def _header(run_dir: RunDir, new: NewRun, now: float) -> RunHeader:
    return RunHeader(
        run_id=run_dir.run_id,
        nonce=os.urandom(6).hex(),
        name=new.jobs_file.name,
        jobs_file=new.jobs_file.path,
        folder=new.jobs_file.folder,
        created_at=now,
        jobs={job.id: job.for_each is not None for job in new.jobs_file.jobs},
        inputs=new.inputs,
        options=new.options,
        each=new.is_each,
        parent=new.parent,
        within=new.within,
    )


def _unpack_capsule(capsule: Path, run_dir: RunDir) -> None:
    """Unpack what the run replays. Survives SIGKILL, not power loss: then the archive is replayed once more."""
    from orchestrator.attempts.replay.archive import unpack  # only a replay pays for the import of what reads archives

    try:
        unpack(capsule, run_dir.capsule)
    except OSError as error:
        raise unwritable(run_dir.capsule, error) from error


@contextmanager
def _unborn(run_dir: RunDir) -> Iterator[None]:
    """Give an error of writing the hint to run again: there is nothing to resume before the first checkpoint stands."""
    try:
        yield
    except OSError as error:
        raise StateUnwritableError(f"{run_dir.path}: {error.strerror}", AGAIN) from error
    except StateUnwritableError as error:
        if run_dir.exists:
            raise
        raise StateUnwritableError(error.message, AGAIN) from error
