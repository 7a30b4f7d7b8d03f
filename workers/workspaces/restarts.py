"""A workspace in which an attempt was at work when the machine lost its power: what it had not synced itself may be empty now.

git does not sync the objects of an agent's commits unless somebody has told it to. After a power cut they are empty files, which
git then takes for what was written: nothing of the same content can be committed any more, and the branch of the item leads to
nothing. So after a restart of the machine such objects go, and a branch that leads to nothing goes back to the last commit that
was synced. The files stay as they are. Which of them are empty is told: nobody else can know whether they are meant to be.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ..wording import first_in_words
from .git import GitFailed, git
from .pinned import Pinned
from .record import WorkspaceRecord


def mend_after_restart(place: Pinned, record: WorkspaceRecord, since: str) -> list[str]:
    """Have git work in the workspace at `place` again; in words what a person should know. Raises GitFailed, OSError.

    `since`: the last commit of the branch (or tree of the copy) that was synced. Only while nobody works in the workspace.
    """
    notes: list[str] = []
    _remove_empty_objects(place.common_dir)
    if record.kind == "worktree" and not _is_whole(place, since):
        _go_back(place, record, since)
        notes.append(f"its commits were lost when the machine lost its power: {record.branch} is back at {since[:12]}")
    # An index that was lost holds nothing that the files do not: it is made anew.
    try:
        empty = _empty_files(place)
    except GitFailed:
        _remove_index(place)
        git(place, "read-tree", since)
        empty = _empty_files(place)
    if empty:
        shown = first_in_words(empty)
        notes.append(f"the machine was restarted while it was at work; files of its own that are empty now: {shown}")
    return notes


def _remove_empty_objects(common_dir: str) -> None:
    """Remove objects that are nothing: git itself never writes an empty file there."""
    objects = os.path.join(common_dir, "objects")
    for name in os.listdir(objects):
        folder = os.path.join(objects, name)
        if len(name) != 2 or os.path.islink(folder):
            continue  # packs, which git syncs; or what somebody else has put there
        with os.scandir(folder) as found:
            empty = [each.path for each in found if each.is_file(follow_symlinks=False) and each.stat().st_size == 0]
        for path in empty:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _is_whole(place: Pinned, since: str) -> bool:
    """Whether all that was committed since is there."""
    try:
        git(place, "rev-list", "--objects", "--quiet", f"{since}..HEAD")
    except GitFailed:
        return False
    return True


def _go_back(place: Pinned, record: WorkspaceRecord, since: str) -> None:
    """Have the branch at `since`, and checked out; no file changes."""
    common, branch = place.common_dir, f"refs/heads/{record.branch}"
    # What leads to commits that are gone: the ref, which git could not even replace, and the logs of where it was.
    for name in (os.path.join(common, branch), os.path.join(common, "logs", branch), os.path.join(place.git_dir, "logs/HEAD")):
        with suppress(FileNotFoundError):
            os.unlink(name)
    git(place, "symbolic-ref", "HEAD", branch)
    git(place, "update-ref", "--no-deref", branch, since)
    _remove_index(place)
    git(place, "read-tree", since)


def _remove_index(place: Pinned) -> None:
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(place.git_dir, "index"))


def _empty_files(place: Pinned) -> list[str]:
    """The files that are empty, and were not there so before."""
    told = git(place, "ls-files", "-z", "--others", "--modified", "--exclude-standard").split("\0")
    return [name for name in dict.fromkeys(filter(None, told)) if _is_empty(os.path.join(place.folder, name))]


def _is_empty(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) == 0
