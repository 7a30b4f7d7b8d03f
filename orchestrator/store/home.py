"""The home folder: where it lies, that nobody else may read it, and where each thing lies below it.

No other module knows a name that stands below HOME; below a run's own folder `run_dir` does. The layout is drawn in
docs/architecture/state-on-disk.md.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from orchestrator.errors import UserError
from orchestrator.store.durable_file import unwritable
from orchestrator.workers.files.syncing import sync_folder
from orchestrator.workers.protocol import WORKER_FOLDER_VARIABLE

HOME_VARIABLE = "ORCHESTRATE_HOME"

_DEPTH_OF_A_WORKER = 4


def runs_folder(home: Path) -> Path:
    """One folder a run, by its id."""
    return home / "runs"


def home_of(run_path: Path) -> Path:
    """The home that the folder of a run lies in."""
    return run_path.parent.parent


def tokens_folder(home: Path) -> Path:
    """For each token a lock and a record."""
    return home / "tokens"


def pools_folder(home: Path) -> Path:
    """One folder a pool, by its name."""
    return home / "pools"


def pool_folder(home: Path, name: str) -> Path:
    """The locks and the start log of a pool."""
    return pools_folder(home) / name


def limits_folder(home: Path) -> Path:
    """For each account whose usage limit was reached, until when it is parked."""
    return home / "limits"


def agents_folder(home: Path) -> Path:
    """One folder an agent, by its name."""
    return home / "agents"


def agent_folder(home: Path, name: str) -> Path:
    """What the CLI of an agent keeps, a folder a slot."""
    return agents_folder(home) / name


def waits_folder(home: Path) -> Path:
    """What each run waits for, while somebody may wait behind it."""
    return home / "waits"


def made_folder(home: Path) -> Path:
    """Of what files of `creates` were made (`store.made_of`)."""
    return home / "made"


def landings_folder(home: Path) -> Path:
    """For each checkout in which something is landed just now, which commit was checked out before."""
    return home / "landings"


def launch_lock(home: Path) -> Path:
    """Held while a command finds out which run it is to start or to go on with, and takes that run's lock."""
    return home / "launch.lock"


_ANOTHER = "name another folder with --home or ORCHESTRATE_HOME"


def home_folder(option: str | None, *, is_made: bool = True) -> Path:
    """The state directory, readable by its owner only. `is_made`: made if it is missing; a reader takes a missing one for empty.

    Inside an item that is not told of it (an agent's) it is that of the item's own run. Raises UserError, StateUnwritableError.
    """
    named = option or os.environ.get(HOME_VARIABLE) or _home_around()
    home = Path(os.path.abspath(Path(named or _default_home()).expanduser()))
    require_entry(home, runs_folder(home), _ANOTHER)
    if not is_made and not home.exists():
        return home
    # Each folder that is made gets its name synced, or a power loss takes all that is below it.
    missing = [folder for folder in (home, *home.parents) if not os.path.lexists(folder)]
    if missing and not named:
        _refuse_as_root(home, missing[-1].parent)
    try:
        home.mkdir(mode=0o700, parents=True)
        for folder in missing:
            with contextlib.suppress(PermissionError):  # a folder above that we may enter, and not read
                sync_folder(folder.parent)
    except FileExistsError:
        _close_to_others(home)
    except OSError as error:
        raise unwritable(home, error, is_run=False) from error
    return home


def _home_around() -> Path | None:
    """The home of the run that this process is an item's of: so a run that an agent starts shares its slots, pools and tokens."""
    worker = Path(os.environ.get(WORKER_FOLDER_VARIABLE, ""))
    # HOME/runs/RUN/workers/NUMBER
    names = worker.parts[-_DEPTH_OF_A_WORKER:]
    if len(names) < _DEPTH_OF_A_WORKER or not worker.is_absolute() or (names[0], names[2]) != ("runs", "workers"):
        return None
    return worker.parents[_DEPTH_OF_A_WORKER - 1]


def _default_home() -> Path:
    base = os.environ.get("XDG_STATE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "orchestrate"


def _refuse_as_root(home: Path, there: Path) -> None:
    """Raises UserError if this is root, and `there` (the home, or the folder that it would be made in) another user's.

    Root may write anywhere, and would leave files that their owner cannot write any more: `sudo` may keep the HOME of its caller.
    """
    with contextlib.suppress(OSError):
        owner = there.stat().st_uid
        if os.geteuid() == 0 and owner != 0:
            raise UserError(
                f"{home}: {there} belongs to another user ({owner}), and this is root", f"run it as that user, or {_ANOTHER}"
            )


def require_entry(folder: Path, inside: Path, hint: str) -> None:
    """Raises UserError with `hint` if this user may not look whether `inside` is there: the folder is not empty then."""
    try:
        os.lstat(inside)
    except PermissionError as error:
        raise UserError(f"{folder}: cannot be entered: {error.strerror}", hint) from error
    except OSError:  # it is missing, or what is wrong with it is told by whoever opens it
        pass


def _close_to_others(home: Path) -> None:
    hint = _ANOTHER
    try:
        found = home.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise UserError(f"{home} is not a folder, so it cannot hold the state", hint)
        _refuse_as_root(home, home)
        if not found.st_mode & 0o077:
            return
        if found.st_uid != os.geteuid():
            raise UserError(f"{home} belongs to another user and others may read it", hint)
        # Someone's project or /tmp must not lose its permissions because it was named by mistake.
        if not runs_folder(home).is_dir() and any(home.iterdir()):
            raise UserError(f"{home} has other things in it and others may read it: it cannot become the state folder", hint)
        home.chmod(0o700)
    except OSError as error:
        raise unwritable(home, error, is_run=False) from error
