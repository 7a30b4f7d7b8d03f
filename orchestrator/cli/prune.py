"""`orchestrate prune --older-than 30d`: remove old runs with all they kept, and forget old tokens."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.noting import tell_note
from orchestrator.cli.options import age_seconds, json_option
from orchestrator.cli.output import write_json, write_line
from orchestrator.errors import ExitCode, RunHeldError, StateRefusedError, StateUnwritableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.store.run_dir import RunDir
    from orchestrator.workers.files.config_expiry import Forgotten

_UNBORN = "never began"
_HALF_REMOVED = "half removed"
_UNREADABLE = "unreadable"
_LOST = "without a checkpoint"
_UNFINISHED = ("failed", "interrupted", "paused", "running", _LOST)


@click.command("prune")
@click.option(
    "--older-than", callback=age_seconds, required=True, metavar="AGE", help="What ended longer ago than this (30d, 12h)."
)
@click.option("--keep-failed", is_flag=True, help="Leave the runs that failed or can be resumed.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@pass_invocation
def command(invocation: Invocation, *, older_than: float, keep_failed: bool, dry_run: bool, as_json: bool) -> int:
    """Remove old runs, with their outputs and workspaces, and forget old tokens and sessions. Branches with commits stay.

    A run that goes on, a token in flight, and what this version cannot read are never removed (a run without its checkpoint is),
    nor a session of an agent that a run which is left could go on in. Folders of agents that hold no session any more go, too.
    """
    from orchestrator.attempts.workspaces.expiry import forget_deleted
    from orchestrator.cli.known_tokens import forget_older
    from orchestrator.control.permits import refuse_in_attempts
    from orchestrator.store.known_runs import Families, known_runs, list_unborn
    from orchestrator.system.wording import how_many, sized
    from orchestrator.workers.files.copying import bytes_on_disk

    if not dry_run:
        refuse_in_attempts("prune")
    oldest = time.time() - older_than
    removed: list[dict[str, Any]] = []
    blocked: list[str] = []
    home = invocation.home()
    # What a killed prune had begun is finished, whatever its age.
    unborn = [
        (run_dir, _HALF_REMOVED if run_dir.is_half_removed else _UNBORN)
        for run_dir in list_unborn(home)
        if run_dir.is_half_removed or run_dir.path.stat().st_mtime < oldest
    ]
    # A child run goes with its parent: it holds the results of the parent's items.
    known = known_runs(home)
    families = Families(known)
    alone = [run_dir for run_dir, parent in known if parent is None]
    for run_dir, status in [*((run_dir, _status_if_old(run_dir, oldest)) for run_dir in alone), *unborn]:
        if status is None or (keep_failed and status in _UNFINISHED):
            continue
        # All or nothing: one child that must stay keeps its parent. Children go first, so that a kill in between leaves no
        # child whose parent is gone.
        children = [(child, _status(child)) for child, _ in reversed([*families.below(run_dir.run_id)])]
        if not all(_could_be_removed(*child) for child in children):
            continue
        for each, word in [*children, (run_dir, status)]:
            size = bytes_on_disk(str(each.path))
            if not (_could_be_removed(each, word) if dry_run else _remove(each, blocked)):
                break
            removed.append({"run_id": each.run_id, "token": None, "agent": None, "status": word, "bytes": size})
            if not as_json:
                write_line(f"{'would remove' if dry_run else 'removed'} {each.run_id} ({word}, {sized(size)})")
    # Repositories still list the worktrees that went with their runs.
    if not dry_run:
        _tell(forget_deleted(home, _folders(home)))
    tokens = forget_older(home, older_than, is_dry=dry_run)
    notes = _forget_notes(home, oldest, is_dry=dry_run)
    agents = _forget_agents_state(home, oldest, {each["run_id"] for each in removed}, is_dry=dry_run)
    if as_json:
        nothing = {"run_id": None, "token": None, "agent": None, "bytes": 0}
        forgotten = ({**nothing, "token": each.token, "status": each.state} for each in tokens)
        sessions = ({**nothing, "agent": name, "status": f"session {each}"} for name, found in agents for each in found.sessions)
        slots = (
            {**nothing, "agent": name, "status": each.path, "bytes": each.size} for name, found in agents for each in found.slots
        )
        made = ({**nothing, "status": f"note {path}", "bytes": size} for path, size in notes)
        write_json([*removed, *forgotten, *made, *sessions, *slots])
    else:
        total = sum(each["bytes"] for each in removed)
        write_line(f"{how_many(len(removed), 'run')}, {sized(total)}{' would be freed' if dry_run else ' freed'}")
        forgotten_words = [how_many(len(tokens), "token")] if tokens else []
        forgotten_words += [f"{how_many(len(notes), 'note')} of made files that are gone"] if notes else []
        for words in [*forgotten_words, *_words_of_agents(agents)]:
            write_line(f"{words}{' would be' if dry_run else ''} forgotten")
    return int(ExitCode.STATE_UNWRITABLE) if blocked else 0


def _forget_notes(home: Path, oldest: float, *, is_dry: bool) -> list[tuple[str, int]]:
    """What is forgotten of what files were made of that are gone: the path of each note and its bytes. Raises
    StateUnwritableError."""
    from orchestrator.store.made_of import notes_of_gone_files

    found = []
    for path in notes_of_gone_files(home, oldest):
        try:
            found.append((str(path), path.stat().st_size))
            if not is_dry:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StateUnwritableError(f"{path}: cannot be removed: {error.strerror}", "mend that, then prune again") from error
    return found


def _words_of_agents(agents: list[tuple[str, Forgotten]]) -> Iterator[str]:
    """What is forgotten of what agents keep, a line each."""
    from orchestrator.system.wording import how_many, sized

    for name, found in agents:
        freed = sized(sum(each.size for each in found.slots))
        yield f"{name}: {how_many(len(found.sessions), 'session')} and {how_many(len(found.slots), 'folder')} ({freed})"


def _forget_agents_state(home: Path, oldest: float, gone: set[str], *, is_dry: bool) -> list[tuple[str, Forgotten]]:
    """What is forgotten of what agents keep, by the name of the agent. Raises StateUnwritableError."""
    from orchestrator.attempts.agent.expiry import forget_agents_state

    notes: list[str] = []
    try:
        found = list(forget_agents_state(home, oldest, gone, notes, is_dry=is_dry))
    except OSError as error:
        raise StateUnwritableError(
            f"{error.filename}: cannot be removed: {error.strerror}", "mend that, then prune again"
        ) from error
    _tell(notes)
    return [(name, forgotten) for name, forgotten in found if forgotten.sessions or forgotten.slots]


def _status_if_old(run_dir: RunDir, oldest: float) -> str | None:
    """The status of a run that did nothing since `oldest` (seconds since the epoch); None for any other, or an unreadable one.

    A newer version may read what this one cannot; but no version reads a run that has lost its checkpoint.
    """
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.reading.seen_statuses import run_status
    from orchestrator.store.load import read_history
    from orchestrator.system.locks.holders import is_locked

    try:
        is_lost = run_dir.has_lost_checkpoint
        told_by = run_dir.journals() if is_lost else [run_dir.checkpoint]
        files = [each for each in (*told_by, run_dir.supervisor_lock) if os.path.lexists(each)]
        # A folder that cannot be entered tells no time, and stays.
        last_change = max((each.lstat().st_mtime for each in files), default=time.time())
        if last_change >= oldest:
            return None
        if is_lost:
            return None if is_locked(run_dir.supervisor_lock) else _LOST
        history = read_history(run_dir)
    except (StateRefusedError, FileNotFoundError):
        return None
    if (history.ended.at if history.ended is not None else last_change) >= oldest:
        return None
    return run_status(RunReader(run_dir, history))


def _status(run_dir: RunDir) -> str:
    """The status of a child run, whatever its age. A child that cannot be read stays, and its parent with it."""
    from orchestrator.reading.run_reader import RunReader
    from orchestrator.reading.seen_statuses import run_status

    try:
        return run_status(RunReader.read(run_dir))
    except StateRefusedError:
        return _UNREADABLE


def _could_be_removed(run_dir: RunDir, status: str) -> bool:
    """Whether `_remove` would remove the run; takes no lock, for a lock held for a look could turn a resume away."""
    return status not in ("running", _UNREADABLE) and not _has_to_stay(run_dir)


def _has_to_stay(run_dir: RunDir) -> bool:
    """Whether the run is elsewhere, or an attempt of it still runs; and a note if so.

    Workers outlive their supervisor: their files must not go under them.
    """
    from orchestrator.system.locks.holders import is_locked

    # What a link leads to lies in no home, and may be anything.
    if run_dir.path.is_symlink():
        tell_note(f"{run_dir.run_id} is left: {run_dir.path} is a link to {os.readlink(run_dir.path)}; remove both by hand")
        return True
    runs = any(map(is_locked, run_dir.attempt_locks()))
    if runs:
        tell_note(f"{run_dir.run_id} is left: an attempt of it still runs")
    return runs


def _remove(run_dir: RunDir, blocked: list[str]) -> bool:
    """Remove the run, under its supervisor lock. False if it is supervised, or one of its attempts still runs.

    False, too, if a file in it may not be removed: that is told, and the run's id added to `blocked`.

    Raises StateUnwritableError: what is left is no run any more, or still a whole one.
    """
    # Nobody can resume the run while it goes.
    from orchestrator.attempts.workspaces.expiry import remove_all
    from orchestrator.store.supervisor_lock import SupervisorLock
    from orchestrator.workers.faultpoints import fault_point
    from orchestrator.workers.files.copying import remove_folder
    from orchestrator.workers.files.syncing import sync_folder

    # Before the lock, which is a file in the folder of the run.
    if _has_to_stay(run_dir):
        return False
    lock = SupervisorLock(run_dir)
    try:
        lock.try_acquire(timeout_seconds=0)
    except RunHeldError:
        return False
    try:
        if _has_to_stay(run_dir):
            return False
        # The mark first: after a kill half-way the rest is no run, and the next prune removes it. Of a run it is the checkpoint
        # itself, so that no version takes the rest for one.
        try:
            run_dir.checkpoint.rename(run_dir.removal_mark)
        except FileNotFoundError:
            run_dir.removal_mark.touch(0o600)
        sync_folder(run_dir.path)
        fault_point("prune.marked")
        _tell(remove_all(run_dir))
        # The mark last: what is left without it would be a run that has lost its checkpoint.
        for path in run_dir.path.iterdir():
            if path != run_dir.removal_mark:
                remove_folder(str(path))
        remove_folder(str(run_dir.path))
    except PermissionError as error:
        # A file of another user, as containers leave them: it holds up no other run.
        words = f"{error.filename or run_dir.path} cannot be removed: {error.strerror}; remove it by hand, then prune again"
        tell_note(f"{run_dir.run_id} is left: {words}")
        blocked.append(run_dir.run_id)
        return False
    except OSError as error:
        raise StateUnwritableError(
            f"{error.filename or run_dir.path}: cannot be removed: {error.strerror}", "mend that, then prune again"
        ) from error
    finally:
        lock.release()
    return True


def _folders(home: Path) -> set[str]:
    """Folders whose repositories may list workspaces of runs: this folder, and those of the runs that are left."""
    from orchestrator.store.checkpoint import read_header
    from orchestrator.store.known_runs import list_runs

    found = {os.getcwd()}
    for run_dir in list_runs(home):
        with contextlib.suppress(StateRefusedError, FileNotFoundError):
            found.add(read_header(run_dir.checkpoint).folder)
    return found


def _tell(notes: list[str]) -> None:
    for words in notes:
        tell_note(words)
