"""What `doctor` examines. Each finding says in words what is and, if that is bad, what a run would suffer from it."""

from __future__ import annotations

import errno
import importlib.metadata
import os
import platform
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator import __version__
from orchestrator.errors import JobsFileError, UserError
from orchestrator.store.home import limits_folder, pools_folder, tokens_folder
from orchestrator.system.wording import counted, how_many, shown, sized
from orchestrator.workers.locks import lock_descriptor
from orchestrator.workers.wording import first_in_words

_LOW_DISK_BYTES = 1 << 30
_DEPENDENCIES = {
    "click": ((8, 1), (9,)),
    "jinja2": ((3, 1), (4,)),
    "msgspec": ((0, 19), (1,)),
    "psutil": ((6,), (8,)),
    "rich": ((13, 7), (16,)),
}
"""From which version on, and before which: as in pyproject.toml."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was examined. `bad`: runs would fail; `note`: worth knowing."""

    level: Literal["ok", "note", "bad"]
    check: str
    message: str


def examine(home: Path) -> list[Finding]:
    """All findings, in the order in which they are shown."""
    return [
        *_program(),
        _privacy(home),
        *_safety(home),
        *(finding for folder in _places(home) for finding in (_writing(folder), _locking(folder))),
        _disk(home),
        _processes(),
        *_agents(),
        *_tokens(home),
        *_pools(home),
        *_limits(home),
        *_interrupted(home),
    ]


def _places(home: Path) -> list[Path]:
    """The home, and those shared folders in it that lie on another file system (a mount, a link): locks may not work there."""
    device = home.stat().st_dev
    shared = [folder for folder in (tokens_folder(home), pools_folder(home), limits_folder(home)) if folder.is_dir()]
    return [home, *(folder for folder in shared if folder.stat().st_dev != device)]


def _program() -> Iterator[Finding]:
    is_new_enough = sys.version_info >= (3, 11)
    yield Finding("ok", "orchestrate", f"{__version__} on {platform.system()} {platform.release()}")
    yield Finding("ok" if is_new_enough else "bad", "python", f"{platform.python_version()} ({sys.executable})")
    for name, (least, beyond) in _DEPENDENCIES.items():
        wanted = ".".join(map(str, least))
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("bad", name, f"is not installed; needed: {wanted} or newer")
            continue
        found = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if found < least:
            yield Finding("bad", name, f"{version} is too old; needed: {wanted} or newer")
        elif found >= beyond:
            yield Finding("note", name, f"{version} is newer than what this was made for: before {'.'.join(map(str, beyond))}")
        else:
            yield Finding("ok", name, version)


def _privacy(home: Path) -> Finding:
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o077:
        return Finding("bad", "privacy", f"{home} has mode {mode:o}: others may read prompts and outputs; chmod 700 it")
    return Finding("ok", "privacy", f"{home} is its owner's only")


def _safety(home: Path) -> Iterator[Finding]:
    from orchestrator.cli.checkup_safety import weaknesses

    found = weaknesses(home)
    for words in found:
        yield Finding("note", "safety", words)
    if not found:
        yield Finding("ok", "safety", "nothing here is known to take away what docs/security.md promises")


def _writing(home: Path) -> Finding:
    probe = home / f".doctor-{os.getpid()}"
    try:
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, b"x" * 4096)
            os.fsync(fd)
        finally:
            os.close(fd)
            os.unlink(probe)
    except OSError as error:
        return Finding("bad", "state folder", f"{home} cannot be written: {error.strerror}; runs would end with exit 74")
    return Finding("ok", "state folder", f"{home} can be written and synced")


def _locking(home: Path) -> Finding:
    """Whether a lock taken through one descriptor is refused to another, and free again when the first is closed."""
    # Two descriptors of one file, as two processes would have them.
    probe = home / f".doctor-{os.getpid()}.lock"
    first = second = -1
    try:
        first = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        second = os.open(probe, os.O_RDWR | os.O_CLOEXEC)
        taken, also = lock_descriptor(first), lock_descriptor(second)
    except OSError as error:
        return Finding("bad", "locks", _lock_error(home, error))
    finally:
        for fd in (first, second):
            if fd >= 0:
                os.close(fd)
        if first >= 0:  # on a read-only file system it is an error to remove even a file that is not there
            probe.unlink(missing_ok=True)
    # A file system that gives one lock twice would let two supervisors write one run.
    if not taken or also:
        return Finding("bad", "locks", f"the file system of {home} gives one lock to two at once: move the home to a local disk")
    return Finding("ok", "locks", f"work on the file system of {home}")


def _lock_error(home: Path, error: OSError) -> str:
    if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
        return (
            f"the file system of {home} has no file locks ({errno.errorcode[error.errno]}; often NFS without its lock daemon): "
            "set ORCHESTRATE_HOME to a folder on a local disk"
        )
    return f"{home}: cannot lock a file: {error.strerror}"


def _disk(home: Path) -> Finding:
    free = shutil.disk_usage(home).free
    said = f"{sized(free)} free at {home}"
    return Finding("ok", "disk", said) if free >= _LOW_DISK_BYTES else Finding("note", "disk", f"{said}: prune, or make room")


def _processes() -> Finding:
    if sys.platform != "linux":
        return Finding("note", "processes", "no subreapers here: what a job detaches is found by its session and its mark only")
    return Finding("ok", "processes", "what a job detaches comes back to its worker")


def _agents() -> Iterator[Finding]:
    """The agent CLIs of this machine. One that is not installed is no trouble until a job names it."""
    from orchestrator.jobsfile.profiles.load import Profiles
    from orchestrator.jobsfile.profiles.versions import installed

    # A profile that is refused is told, and the others are examined all the same.
    profiles = Profiles()
    read = []
    for name in profiles.names():
        try:
            read.append(profiles.get(name))
        except JobsFileError as error:
            yield Finding("bad", name, f"its profile is refused: {shown(error.problems[0])}")
    # One finding for each CLI that is there, and one for all that are not.
    missing = []
    for profile, found in zip(read, installed(read), strict=True):
        tested = ", ".join(profile.tested) or "none"
        if found.program is None:
            missing.append(profile.name)
        elif found.version is None:
            yield Finding("note", profile.name, f"{found.program}: {shown(found.trouble)}")
        elif found.is_tested:
            yield Finding("ok", profile.name, f"{shown(found.version)} ({found.program})")
        else:
            said = f"{shown(found.version)} is not tested (tested: {tested}): what it tells may be read wrongly"
            yield Finding("note", profile.name, said)
    if missing:
        yield Finding("ok", "agents", f"not installed: {', '.join(missing)}")


def _tokens(home: Path) -> Iterator[Finding]:
    from orchestrator.cli.known_tokens import known_tokens

    states: dict[str, int] = {}
    lost = []
    try:
        all_known = list(known_tokens(home))
    except UserError as error:
        yield Finding("bad", "tokens", f"{error.message}: {error.hint}")
        return
    for known in all_known:
        states[known.state] = states.get(known.state, 0) + 1
        if known.record is None:
            yield Finding("bad", "tokens", f"{known.trouble}: items with this token fail; orchestrate tokens forget {known.key}")
        elif known.state == "lost":
            lost.append(f"{shown(known.record.token, 60)} ({known.record.holder.words})")
    if states:
        yield Finding("ok", "tokens", counted(states))
    if lost:
        said = first_in_words(lost)
        yield Finding("note", "tokens", f"lost, as their holders died; who asks next takes the work over: {said}")


def _pools(home: Path) -> Iterator[Finding]:
    """Which runs hold slots of the shared pools. A slot is held if its lock is; the note in its file only says by whom."""
    from orchestrator.system.locks.holders import is_locked
    from orchestrator.system.locks.lock_file import note_of_holder

    for folder in sorted(pools_folder(home).glob("*/")):
        held = [path for path in folder.glob("*.lock") if path.stem.isdigit() and is_locked(path)]
        by = sorted({(note_of_holder(path) or "").partition(" ")[0] for path in held} - {""})
        who = f", by {shown(', '.join(by), 300)}" if by else ""
        yield Finding("ok", "pools", f"{folder.name}: {how_many(len(held), 'slot')} in use{who}")


def _limits(home: Path) -> Iterator[Finding]:
    from orchestrator.shared.limits.parks import Parks, park_words

    for park in Parks(home).parks_in_force():
        yield Finding(
            "note", "limits", f"{shown(park_words(park))}; orchestrate agents --forget-limits {park.account} takes it back"
        )


def _interrupted(home: Path) -> Iterator[Finding]:
    from orchestrator.store.known_runs import list_runs
    from orchestrator.store.load import read_history
    from orchestrator.system.locks.holders import is_locked

    left = []
    for run_dir in list_runs(home):
        # A supervised run goes on: nothing is to be done about it.
        if is_locked(run_dir.supervisor_lock):
            continue
        try:
            ended = read_history(run_dir).ended
        except (UserError, FileNotFoundError) as error:
            yield Finding("note", "runs", f"{run_dir.run_id} cannot be read: {error}")
            continue
        if ended is None or ended.status == "interrupted":
            left.append(run_dir.run_id)
    # One line for all, however many there are: `list` has them one by one.
    if left:
        yield Finding("note", "runs", f"interrupted, and can be resumed: {first_in_words(left)}")
    else:
        yield Finding("ok", "runs", "none is left interrupted")
