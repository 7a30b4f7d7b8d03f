"""Where the state lies: the home folder, the directories of the runs in it, and how a user names one.

A run exists from the moment its directory has a checkpoint.json, which is written last. A directory without one is what a
SIGKILL left of a run that never began: no reader sees it, and its id is free.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from orchestrator.errors import StateRefusedError, UserError
from orchestrator.store.checkpoint import journal_name, read_header
from orchestrator.store.durable_file import unwritable
from orchestrator.system.wording import cut
from orchestrator.workers.files.syncing import sync_folder

LONGEST_RUN_ID = 64
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SUFFIX_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
_FOLDER_SIZE = 1000
"""Items whose outputs share a folder: large folders are slow in many tools."""


class RunDir(msgspec.Struct, frozen=True):
    """The directory of one run, and the paths in it (docs/architecture.md, "The state on disk")."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    def jobs_toml(self, revision: int) -> Path:
        """The run's own copy of the jobs file, as it is since the run was updated `revision` times."""
        return self.path / ("jobs.toml" if not revision else f"jobs-{revision}.toml")

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
    def log(self) -> Path:
        return self.path / "supervisor.log"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.json"

    def journal(self, generation: int) -> Path:
        return self.path / journal_name(generation)

    def items(self, job: str, revision: int) -> Path:
        """The item list that was made for `revision` of the run. No id of a job has a hyphen."""
        return self.path / "items" / (f"{job}.jsonl" if not revision else f"{job}-{revision}.jsonl")

    def slot_lock(self, slot: int) -> Path:
        return self.path / "slots" / f"{slot}.lock"

    @property
    def slot_count(self) -> Path:
        """Says, for the runs that are nested in this one, how many slots there are."""
        return self.path / "slots" / "count"

    def worker_folder(self, worker: int) -> Path:
        return self.path / "workers" / str(worker)

    @property
    def workspaces(self) -> Path:
        """Where items work apart from each other; beside each its record (`workers/workspaces.py`)."""
        return self.path / "workspaces"

    def workspace(self, name: str) -> Path:
        """The workspace that records call `name`."""
        return self.workspaces / name

    def results(self, job: str) -> Path:
        return self.path / "results" / f"{job}.json"

    def output_paths(self, job: str, index: int, attempt: int) -> tuple[str, str]:
        """Where the captured (stdout, stderr) of an attempt go; index 0 for a job without `for_each`."""
        stem = f"{self.path}/outputs/{job}/{index // _FOLDER_SIZE}/{index}-{attempt}"
        return f"{stem}.stdout", f"{stem}.stderr"


def home_folder(option: str | None, *, is_made: bool = True) -> Path:
    """The state directory, readable by its owner only. `is_made`: made if it is missing; a reader takes a missing one for empty.

    Raises UserError, StateUnwritableError.
    """
    home = Path(os.path.abspath(Path(option or os.environ.get("ORCHESTRATE_HOME") or _default_home()).expanduser()))
    if not is_made and not home.exists():
        return home
    try:
        home.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        _close_to_others(home)
    except OSError as error:
        raise unwritable(home, error, is_run=False) from error
    return home


def _default_home() -> Path:
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "orchestrate"


def _close_to_others(home: Path) -> None:
    hint = "name another folder with --home or ORCHESTRATE_HOME"
    try:
        found = home.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise UserError(f"{home} is not a folder, so it cannot hold the state", hint)
        if not found.st_mode & 0o077:
            return
        if found.st_uid != os.geteuid():
            raise UserError(f"{home} belongs to another user and others may read it", hint)
        # Someone's project or /tmp must not lose its permissions because it was named by mistake.
        if not (home / "runs").is_dir() and any(home.iterdir()):
            raise UserError(f"{home} has other things in it and others may read it: it cannot become the state folder", hint)
        home.chmod(0o700)
    except OSError as error:
        raise unwritable(home, error, is_run=False) from error


def new_run_id(now: float) -> str:
    """An id that sorts by time: UTC to the second, and four random characters. `now` in seconds since the epoch."""
    suffix = "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(4))
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{suffix}"


def check_run_id(run_id: str) -> None:
    """Raise UserError unless `run_id` is safe as the name of a folder."""
    if not _RUN_ID.fullmatch(run_id) or ".." in run_id:
        raise UserError(
            f"{cut(run_id, 80)!r} cannot be the id of a run",
            "use up to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit, without '..'",
        )


def create_run_dir(home: Path, run_id: str) -> RunDir:
    """Make the directory of a new run (or take over what a killed birth left of one). Survives power loss.

    It becomes a run with `RunStore.create`, under its supervisor lock. Raises UserError (exists), StateUnwritableError.
    """
    check_run_id(run_id)
    run_dir = RunDir(home / "runs" / run_id)
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
    """Raise UserError if the run exists already."""
    if run_dir.checkpoint.exists():
        raise UserError(
            f"run {run_dir.run_id} exists already", f"go on with it: --run-id {run_dir.run_id} --resume; or choose another id"
        )


def list_runs(home: Path) -> list[RunDir]:
    """Every run of `home`, newest first (by the time of its creation)."""
    return [run_dir for _, run_dir in sorted(_born(home), key=lambda each: (each[0], each[1].run_id), reverse=True)]


def list_children(home: Path, run_id: str) -> list[RunDir]:
    """The child runs of run `run_id`, and theirs, each behind its own; the oldest first."""
    below: dict[str, list[RunDir]] = {}
    for run_dir in reversed(list_runs(home)):
        parent = parent_of(run_dir)
        if parent is not None:
            below.setdefault(parent, []).append(run_dir)
    found: list[RunDir] = []
    waiting = below.get(run_id, [])[::-1]
    while waiting:
        child = waiting.pop()
        found.append(child)
        waiting += below.get(child.run_id, [])[::-1]
    return found


def parent_of(run_dir: RunDir) -> str | None:
    """The id of the run whose child this is; None if it is none's, or its parent is gone."""
    try:
        parent = read_header(run_dir.checkpoint).parent
    except (StateRefusedError, FileNotFoundError):
        return None
    if parent is None:
        return None
    above = RunDir(run_dir.path.parent / parent.partition("/")[0])
    return above.run_id if above.checkpoint.exists() else None


def outermost(run_dir: RunDir) -> RunDir:
    """The run that a child run goes on with: its parent, or the parent of that, and so on; a run that is none's itself."""
    parent = parent_of(run_dir)
    return run_dir if parent is None else outermost(RunDir(run_dir.path.parent / parent))


def list_unborn(home: Path) -> list[RunDir]:
    """What SIGKILL left of runs that never began, and runs that begin just now."""
    return [run_dir for run_dir in _folders(home) if run_dir.path.is_dir() and not run_dir.checkpoint.exists()]


def _folders(home: Path) -> list[RunDir]:
    try:
        return [RunDir(home / "runs" / name) for name in os.listdir(home / "runs")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{home / 'runs'}: cannot be read: {error.strerror}") from error


def _born(home: Path) -> Iterable[tuple[float, RunDir]]:
    for run_dir in _folders(home):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield _created_at(run_dir), run_dir


def _created_at(run_dir: RunDir) -> float:
    try:
        return read_header(run_dir.checkpoint).created_at
    except StateRefusedError:
        # It is still a run, and whoever opens it is told what is wrong with it.
        return run_dir.checkpoint.stat().st_mtime


def find_run(home: Path, reference: str | None) -> RunDir:
    """The run that `reference` names: an id, a unique prefix of one, a jobs file (its newest run); None: the newest.

    Raises UserError that says what could have been meant.
    """
    if reference is None:
        newest = next((run for run in list_runs(home) if parent_of(run) is None), None)
        if newest is None:
            raise UserError(f"there are no runs yet in {home}", "start one: orchestrate run FILE")
        return newest
    if _RUN_ID.fullmatch(reference) and (exact := RunDir(home / "runs" / reference)).checkpoint.exists():
        return exact
    runs = list_runs(home)
    named = {run.run_id: run for run in runs if reference and run.run_id.startswith(reference)}
    # A child's id begins like its parent's, which is the one that is meant.
    candidates = [run_id for run_id, run in named.items() if len(named) == 1 or parent_of(run) not in named]
    if len(candidates) == 1:
        return RunDir(home / "runs" / candidates[0])
    if candidates:
        shown = ", ".join(candidates[:5]) + (f" and {len(candidates) - 5} more" if len(candidates) > 5 else "")
        raise UserError(f"{reference!r} could be {len(candidates)} runs: {shown}", "give more of the id")
    return _newest_of_file(home, runs, reference)


def _newest_of_file(home: Path, runs: list[RunDir], reference: str) -> RunDir:
    path = os.path.realpath(reference)
    for run in runs:
        with contextlib.suppress(StateRefusedError, FileNotFoundError):
            if read_header(run.checkpoint).jobs_file == path:
                return run
    if os.path.isfile(path):
        raise UserError(f"{reference} has no run yet in {home}", f"start one: orchestrate run {reference}")
    from difflib import get_close_matches

    close = get_close_matches(reference, [run.run_id for run in runs], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "orchestrate list shows the runs"
    raise UserError(f"no run or jobs file {cut(reference, 200)!r}", hint)
