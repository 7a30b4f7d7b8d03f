"""Which runs a home has, which of them are children of which, and how a user names one. Takes no lock and changes nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from orchestrator.errors import StateRefusedError, UserError
from orchestrator.store.checkpoint import read_header
from orchestrator.store.home import require_entry, runs_folder
from orchestrator.store.run_dir import RunDir, is_run_id
from orchestrator.system.wording import cut
from orchestrator.workers.wording import first_in_words


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
    above = run_dir.beside(parent.partition("/")[0])
    return above.run_id if above.exists else None


def outermost(run_dir: RunDir) -> RunDir:
    """The run that a child run goes on with: its parent, or the parent of that, and so on; a run that is none's itself."""
    parent = parent_of(run_dir)
    return run_dir if parent is None else outermost(run_dir.beside(parent))


def list_unborn(home: Path) -> list[RunDir]:
    """What SIGKILL left of runs that never began or were half removed, and runs that begin just now."""
    return [run_dir for run_dir in _folders(home) if run_dir.path.is_dir() and not run_dir.exists]


def _folders(home: Path) -> list[RunDir]:
    folder = runs_folder(home)
    try:
        return [RunDir(folder / name) for name in os.listdir(folder)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error


def _born(home: Path) -> Iterable[tuple[float, RunDir]]:
    for run_dir in _folders(home):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield _created_at(run_dir), run_dir


def _created_at(run_dir: RunDir) -> float:
    try:
        return read_header(run_dir.checkpoint).created_at
    except StateRefusedError:
        # A damaged run is listed: the command that opens it says what is wrong.
        try:
            return run_dir.checkpoint.lstat().st_mtime
        except NotADirectoryError:
            raise
        except OSError:  # it is lost, or the folder cannot be entered, or is a link that leads nowhere
            return run_dir.path.lstat().st_mtime


def find_run(home: Path, reference: str | None) -> RunDir:
    """The run that `reference` names: an id, a unique prefix of one, a jobs file (its newest run); None: the newest.

    Raises UserError that says what could have been meant.
    """
    if reference is None:
        newest = next((run for run in list_runs(home) if parent_of(run) is None), None)
        if newest is None:
            raise UserError(f"there are no runs yet in {home}", "start one: orchestrate run FILE")
        return newest
    if is_run_id(reference) and (exact := RunDir.of(home, reference)).exists:
        return _entered(exact)
    # From here on every run is looked at: an exact id, which scripts use, has not come so far.
    runs = list_runs(home)
    named = {run.run_id: run for run in runs if reference and run.run_id.startswith(reference)}
    # The id of a child run begins with its parent's id: a prefix of both means the parent.
    candidates = [run_id for run_id, run in named.items() if len(named) == 1 or parent_of(run) not in named]
    if len(candidates) == 1:
        return _entered(RunDir.of(home, candidates[0]))
    if candidates:
        raise UserError(f"{reference!r} could be {len(candidates)} runs: {first_in_words(candidates)}", "give more of the id")
    return _newest_of_file(home, runs, reference)


def _entered(run_dir: RunDir) -> RunDir:
    """Raise UserError if its folder may not be entered: a command could tell nothing of it, not even whether it goes on."""
    require_entry(run_dir.path, run_dir.checkpoint, "run it as the user whose run it is")
    return run_dir


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
