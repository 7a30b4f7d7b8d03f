"""Which runs a home has, which of them are children of which, and how a user names one. Takes no lock and changes nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import StateRefusedError, UserError
from orchestrator.store.checkpoint import read_header
from orchestrator.store.home import require_entry, runs_folder
from orchestrator.store.run_dir import RunDir, is_run_id
from orchestrator.system.wording import cut
from orchestrator.workers.wording import first_in_words


class KnownRun(NamedTuple):
    """A run of a home. `parent`: the id of the run of the same home whose child it is; None if it is none's, or its parent is
    gone."""

    run_dir: RunDir
    parent: str | None


def known_runs(home: Path) -> list[KnownRun]:
    """Every run of `home`, newest first (by the time of its creation). Of each no more is read than what it is, once."""
    born = sorted(_born(home), key=lambda each: (each.created_at, each.run_dir.run_id), reverse=True)
    ids = {each.run_dir.run_id for each in born}
    return [KnownRun(each.run_dir, each.parent if each.parent in ids else None) for each in born]


def list_runs(home: Path) -> list[RunDir]:
    """The runs alone."""
    return [each.run_dir for each in known_runs(home)]


class Families:
    """Which runs of a home are children of which."""

    def __init__(self, known: Iterable[KnownRun]) -> None:
        self._below: dict[str, list[RunDir]] = {}
        for each in reversed([*known]):
            if each.parent is not None:
                self._below.setdefault(each.parent, []).append(each.run_dir)

    def below(self, run_id: str, depth: int = 1) -> Iterator[tuple[RunDir, int]]:
        """The child runs of run `run_id`, and theirs, each behind its own, the oldest first; with how deep each stands."""
        # A stack: the children of a run come out before the next run, however deep they are nested.
        waiting = [(run, depth) for run in reversed(self._below.get(run_id, []))]
        while waiting:
            run, at = waiting.pop()
            yield run, at
            waiting += [(child, at + 1) for child in reversed(self._below.get(run.run_id, []))]


def list_children(home: Path, run_id: str) -> list[RunDir]:
    """As `Families.below`."""
    return [run_dir for run_dir, _ in Families(known_runs(home)).below(run_id)]


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


class _Born(NamedTuple):
    run_dir: RunDir
    created_at: float
    parent: str | None


def _born(home: Path) -> Iterable[_Born]:
    for run_dir in _folders(home):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield _birth_of(run_dir)


def _birth_of(run_dir: RunDir) -> _Born:
    try:
        header = read_header(run_dir.checkpoint)
        return _Born(run_dir, header.created_at, None if header.parent is None else header.parent.partition("/")[0])
    except StateRefusedError:
        # A damaged run is listed: the command that opens it says what is wrong.
        try:
            return _Born(run_dir, run_dir.checkpoint.lstat().st_mtime, None)
        except NotADirectoryError:
            raise
        except OSError:  # it is lost, or the folder cannot be entered, or is a link that leads nowhere
            return _Born(run_dir, run_dir.path.lstat().st_mtime, None)


def find_run(home: Path, reference: str | None) -> RunDir:
    """The run that `reference` names: an id, a unique prefix of one, a jobs file (its newest run); None: the newest.

    Raises UserError that says what could have been meant.
    """
    if reference is None:
        newest = next((run for run, parent in known_runs(home) if parent is None), None)
        if newest is None:
            raise UserError(f"there are no runs yet in {home}", "start one: orchestrate run FILE")
        return newest
    if is_run_id(reference) and (exact := RunDir.of(home, reference)).exists:
        return _entered(exact)
    # From here on every run is looked at: an exact id, which scripts use, has not come so far.
    known = known_runs(home)
    runs = [run for run, _ in known]
    named = {run.run_id: parent for run, parent in known if reference and run.run_id.startswith(reference)}
    # The id of a child run begins with its parent's id: a prefix of both means the parent.
    candidates = [run_id for run_id, parent in named.items() if len(named) == 1 or parent not in named]
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
