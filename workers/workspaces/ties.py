"""What ties a worktree to its repository: the file `.git` in it, which is an agent's to write, and the record, which is not.

Promise: git is told what the record says (`Pinned`), and never looks into `.git`. One that is not byte for byte as it was made is
refused in words: whoever enters the workspace would have a git that takes it. One that is gone is put back, for it says nothing
that is not recorded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress

from ..byte_text import bytes_of_text, text_of_bytes
from ..files.opening import read_file
from ..wording import first_in_words
from .git import GitFailed, asked, common_folder, git
from .pinned import Pinned
from .record import WorkspaceRecord, snapshots_of
from .setting_files import setting_files
from .settings import Settled, settled
from .waiting_files import refuse_waiting_files, refuse_waiting_refs

_TIE = "gitdir: "


def record_tie(path: str, record: WorkspaceRecord, common_dir: str) -> None:
    """Have `record` know what ties the worktree at `path`, which git has just made, to its repository. Raises OSError."""
    with open(f"{path}/.git", "rb") as file:
        record.tie = text_of_bytes(file.read())
    record.git_dir = os.path.normpath(os.path.join(path, record.tie.removeprefix(_TIE).removesuffix("\n")))
    record.common_dir = common_dir


def pinned_workspace(path: str, record: WorkspaceRecord, variables: Mapping[str, str]) -> tuple[Pinned, list[str]]:
    """Where git works for the workspace at `path`, a worktree or a copy; in words which settings count as they were before.

    Raises GitFailed, OSError.
    """
    refuse_waiting_files(path)
    if record.kind == "copy":
        # A repository of ours, beside the copy.
        snapshots = snapshots_of(path)
        return Pinned(path, snapshots, snapshots, variables), []
    if not record.git_dir:
        _find_tie(path, record)
    place = Pinned(path, record.git_dir, record.common_dir, variables)
    refuse_waiting_refs(place.common_dir)
    if not os.path.isdir(place.git_dir):
        raise GitFailed(f"{record.source} knows nothing of the worktree {path} any more")
    found = settled(place, record.settings_path)
    place = place.having(found.variables)._replace(excludes=found.excludes)
    _refuse_changed_programs(place, record.base, found.programs)
    return place, _told(record.source, found)


def pinned_checkout(repository: str, settings_path: str = "") -> tuple[Pinned, list[str], dict[str, str]]:
    """Where git works for a checkout of the user's own, whose root is `repository`; git finds its repository, this once.

    `settings_path`: as in a record. In words which settings count as they were before; and the files in it, relative to it, that
    decide what git runs, each with the words for how. Raises GitFailed, OSError.
    """
    common = common_folder(repository)
    refuse_waiting_refs(common)
    place = Pinned(repository, git(repository, "rev-parse", "--absolute-git-dir"), common)
    _refuse_files_elsewhere(repository)
    found = settled(place, settings_path)
    deciding = {name: f"{key} runs" for name, key in found.programs.items()}
    deciding |= dict.fromkeys(setting_files(place), "git reads its settings from")
    return place.having(found.variables), _told(repository, found), deciding


def _refuse_files_elsewhere(repository: str) -> None:
    """Raises GitFailed if the files of the repository are checked out in another folder than that of its `.git`."""
    try:
        top = git(repository, "rev-parse", "--show-toplevel")
    except GitFailed:
        return  # It is called bare: nothing is said of another folder.
    if not os.path.samefile(top, repository):
        raise GitFailed(
            f"core.worktree says that the files are in {top}; what is done here would be undone by the next commit there"
        )


def put_back_tie(path: str, record: WorkspaceRecord) -> None:
    """Make `.git` of the worktree at `path` anew if it is gone. Raises OSError."""
    with suppress(FileExistsError):
        # Never through a link, and never over what stands there.
        descriptor = os.open(f"{path}/.git", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(descriptor, "wb") as file:
            file.write(bytes_of_text(record.tie))


def refuse_other_tie(path: str, record: WorkspaceRecord) -> None:
    """Raises GitFailed if `.git` of the worktree at `path` is another than was made; one that is gone is fine."""
    tie, place = bytes_of_text(record.tie), f"{path}/.git"
    try:
        found = os.lstat(place)
        # The size first: an agent may have made it as large as it likes, or a pipe.
        if stat.S_ISREG(found.st_mode) and found.st_size == len(tie) and read_file(place) == tie:
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise GitFailed(f"{place}: {error.strerror}") from error
    kind = "is a folder" if stat.S_ISDIR(found.st_mode) else "is a link" if stat.S_ISLNK(found.st_mode) else "is another file"
    raise GitFailed(
        f"{place} {kind}, not the file that was made there: git is not asked. The work stays; without that .git try again"
    )


def _refuse_changed_programs(worktree: Pinned, base: str, programs: Mapping[str, str]) -> None:
    """Raises GitFailed if git would run a file of the worktree, for a filter of the user's, that is another than in `base`.

    A filter whose program is found in another way (`make`, `python -m`) is not seen.
    """
    inside = [name for name in programs if not name.startswith(("/", "..")) and os.path.isfile(f"{worktree.folder}/{name}")]
    for name in inside:
        # By what is in the file: git would run the filter to compare it.
        now = git(worktree, "hash-object", "--no-filters", "--", name)
        if now != asked(worktree, "rev-parse", "--verify", "--quiet", f"{base}:{name}"):
            raise GitFailed(f"{programs[name]} runs {name}, which was changed in {worktree.folder}: git is not asked")


def _told(repository: str, found: Settled) -> list[str]:
    """What was changed in the repository since the run began, and what comes of it, in words."""
    told = []
    if found.changed:
        told.append(
            f"settings of {repository} that were changed since the run began do not count: {first_in_words(found.changed)}"
        )
    if found.has_new_attributes:
        told.append(
            f"info/attributes of {repository} was changed since the run began, and git heeds it:"
            " it may show text as binary, or keep a file with other line ends"
        )
    return told


def _find_tie(path: str, record: WorkspaceRecord) -> None:
    """Of a record of an earlier version: the repository knows where its worktree is."""
    common = common_folder(record.source)
    known = os.path.join(common, "worktrees")
    for name in os.listdir(known) if os.path.isdir(known) else ():
        with suppress(OSError):
            told = read_file(os.path.join(known, name, "gitdir")).removesuffix(b"\n")
            # From git 2.48 on it may be relative to the folder that it stands in.
            tie = os.path.normpath(os.path.join(known, name, os.fsdecode(told)))
            if os.path.realpath(os.path.dirname(tie)) == os.path.realpath(path):
                record.git_dir, record.common_dir = os.path.join(known, name), common
                record.tie = f"{_TIE}{record.git_dir}\n"
                return
    raise GitFailed(f"{record.source} knows nothing of the worktree {path}")
