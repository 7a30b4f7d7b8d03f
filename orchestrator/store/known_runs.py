"""Which runs a home has, which of them are children of which, and how a user names one. Takes no lock and changes nothing."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import StateRefusedError, UserError
from orchestrator.store.home import require_entry, runs_folder
from orchestrator.store.run_dir import CHECKPOINT_NAME, RunDir, is_run_id
from orchestrator.system.wording import cut
from orchestrator.workers.wording import first_in_words

_SHORTEST_END = 4
"""Characters of the end of an id that name the run: an id that is made from the time ends in so many random ones."""


class KnownRun(NamedTuple):
    """A run of a home. `parent`: the id of the run of the same home whose child it is; None if it is none's, or its parent is
    gone."""

    run_dir: RunDir
    parent: str | None


class Birth(NamedTuple):
    """When a run was created; `RUN/ITEM`, the item of another run whose child it is; its jobs file and its name, None: it is
    damaged."""

    created_at: float
    parent: str | None = None
    jobs_file: str | None = None
    name: str | None = None

    @property
    def above(self) -> str | None:
        """The id of the run whose child it is."""
        return None if self.parent is None else self.parent.partition("/")[0]


def recorded_birth(run_dir: RunDir) -> Birth:
    """As the header of a run tells it. Raises FileNotFoundError, StateRefusedError."""
    from orchestrator.store.checkpoint import read_header

    header = read_header(run_dir.checkpoint)
    return Birth(header.created_at, header.parent, header.jobs_file, header.name)


def known_runs(home: Path, birth_of: Callable[[RunDir], Birth] = recorded_birth) -> list[KnownRun]:
    """Every run of `home`, newest first (by the time of its creation). Of each no more is read than `birth_of` reads, once."""
    born = _born(_folders(home), birth_of)
    return [KnownRun(run_dir, birth.above if birth.above in born else None) for run_dir, birth in _newest_first(born)]


def list_runs(home: Path, is_asked_for: Callable[[RunDir], bool] | None = None) -> list[RunDir]:
    """The runs alone, newest first; nothing is read of one that is not asked for."""
    folders = _folders(home) if is_asked_for is None else filter(is_asked_for, _folders(home))
    return [run_dir for run_dir, _ in _newest_first(_born(folders, recorded_birth))]


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
        parent = recorded_birth(run_dir).parent
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


def _born(folders: Iterable[RunDir], birth_of: Callable[[RunDir], Birth]) -> dict[str, tuple[RunDir, Birth]]:
    """Those of the folders that are runs, by their ids."""
    found: dict[str, tuple[RunDir, Birth]] = {}
    for run_dir in folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found[run_dir.run_id] = run_dir, _birth(run_dir, birth_of)
    return found


def _birth(run_dir: RunDir, birth_of: Callable[[RunDir], Birth]) -> Birth:
    """Also of a damaged run. Raises FileNotFoundError, NotADirectoryError: it is none."""
    try:
        return birth_of(run_dir)
    except StateRefusedError:
        # A damaged run is listed: the command that opens it says what is wrong.
        try:
            return Birth(run_dir.checkpoint.lstat().st_mtime)
        except NotADirectoryError:
            raise
        except OSError:  # it is lost, or the folder cannot be entered, or is a link that leads nowhere
            return Birth(run_dir.path.lstat().st_mtime)


def _newest_first(born: dict[str, tuple[RunDir, Birth]]) -> list[tuple[RunDir, Birth]]:
    return sorted(born.values(), key=lambda each: (each[1].created_at, each[0].run_id), reverse=True)


def _newest(home: Path, is_meant: Callable[[RunDir, Birth], bool]) -> RunDir | None:
    """The newest run that is meant; None: there is none. No run is read that was last written to before that one began."""
    found: tuple[float, str] | None = None
    for written_at, run_dir in sorted(((_written_at(each), each) for each in _folders(home)), key=itemgetter(0), reverse=True):
        # Files have the time of a clock that is some milliseconds late.
        if found is not None and written_at + 1 < found[0]:
            break
        for run_id, (_, birth) in _born([run_dir], recorded_birth).items():
            if is_meant(run_dir, birth):
                found = max(found or (birth.created_at, run_id), (birth.created_at, run_id))
    return None if found is None else RunDir.of(home, found[1])


def _written_at(run_dir: RunDir) -> float:
    """When a checkpoint of the run was last written: after its birth. Without one it has to be looked at."""
    try:
        return os.lstat(f"{run_dir.path}/{CHECKPOINT_NAME}").st_mtime
    except OSError:
        return math.inf


def find_run(home: Path, reference: str | None) -> RunDir:
    """The run that `reference` names; None: the newest that is no run's child.

    An id; a beginning or an end of one that no other run has; a jobs file, or a name, of which the newest run is meant. Raises
    UserError that says what could have been meant.
    """
    if reference is None:
        newest = _newest(home, lambda run, birth: birth.above is None or not run.beside(birth.above).exists)
        if newest is None:
            raise UserError(f"there are no runs yet in {home}", "start one: orchestrate run FILE")
        return newest
    if is_run_id(reference) and (exact := RunDir.of(home, reference)).exists:
        return _entered(exact)
    if (named := _named_in_part(home, reference)) is not None:
        return _entered(named)
    path = os.path.realpath(reference)
    is_file = os.path.isfile(path)
    # A file that is there is meant as a file: runs of others may be called like it.
    newest = _newest(home, lambda _, birth: birth.jobs_file == path or (birth.name == reference and not is_file))
    if newest is not None:
        return newest
    if is_file:
        raise UserError(f"{reference} has no run yet in {home}", f"start one: orchestrate run {reference}")
    from difflib import get_close_matches

    born = _born(_folders(home), recorded_birth)
    names = dict.fromkeys(birth.name for _, birth in born.values() if birth.name is not None)
    close = get_close_matches(reference, [*born, *names], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "orchestrate list shows the runs"
    raise UserError(f"no run or jobs file {cut(reference, 200)!r}", hint)


def _named_in_part(home: Path, reference: str) -> RunDir | None:
    """The run whose id begins, or else ends, with `reference`. Raises UserError if that could be several."""
    for is_meant in (str.startswith, str.endswith if len(reference) >= _SHORTEST_END else None):
        if is_meant is None or not reference:
            continue
        named = _born((run for run in _folders(home) if is_meant(run.run_id, reference)), recorded_birth)
        # The id of a child run begins with its parent's id: a beginning of both means the parent.
        found = [run for run, birth in _newest_first(named) if len(named) == 1 or birth.above not in named]
        if len(found) > 1:
            told = first_in_words([run.run_id for run in found])
            raise UserError(f"{reference!r} could be {len(found)} runs: {told}", "give more of the id")
        if found:
            return found[0]
    return None


def _entered(run_dir: RunDir) -> RunDir:
    """Raise UserError if its folder may not be entered: a command could tell nothing of it, not even whether it goes on."""
    require_entry(run_dir.path, run_dir.checkpoint, "run it as the user whose run it is")
    return run_dir
