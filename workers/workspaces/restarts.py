"""A workspace in which an attempt was at work when the machine lost its power: what it had not synced itself may be empty now.

git does not sync the objects of an agent's commits unless somebody has told it to. After a power cut they are empty files, which
git then takes for what was written: nothing of the same content can be committed any more, and the branch of the item leads to
nothing. So after a restart of the machine such objects go, and a branch that leads to nothing goes back to the last commit that
was synced. The files stay as they are. Which of them are empty is told: nobody else can know whether they are meant to be.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from ..wording import first_in_words
from .git import GitFailed, common_folder, git
from .record import WorkspaceRecord, snapshots_of


def mend_after_restart(path: str, record: WorkspaceRecord, since: str, env: Mapping[str, str]) -> list[str]:
    """Have git work in the workspace at `path` again; in words what a person should know. Raises GitFailed, OSError.

    `since`: the last commit of the branch (or tree of the copy) that was synced. Only while nobody works in the workspace.
    """
    notes: list[str] = []
    match record.kind:
        case "worktree":
            _remove_empty_objects(common_folder(record.source))
            if not _is_whole(path, since, env):
                _go_back(path, record, since, env)
                notes.append(f"its commits were lost when the machine lost its power: {record.branch} is back at {since[:12]}")
        case "copy" if record.base:
            _remove_empty_objects(snapshots_of(path))
        case _:
            return []
    # An index that was lost holds nothing that the files do not: it is made anew.
    try:
        empty = _empty_files(path, env)
    except GitFailed:
        _remove_index(path, env)
        git(path, "read-tree", since, env=env)
        empty = _empty_files(path, env)
    if empty:
        shown = first_in_words(empty)
        notes.append(f"the machine was restarted while it was at work; files of its own that are empty now: {shown}")
    return notes


def _remove_empty_objects(folder: str) -> None:
    """Remove objects that are nothing: git itself never writes an empty file there."""
    objects = os.path.join(folder, "objects")
    for name in os.listdir(objects):
        if len(name) != 2:
            continue  # packs, which git syncs
        with os.scandir(os.path.join(objects, name)) as found:
            empty = [each.path for each in found if each.is_file(follow_symlinks=False) and each.stat().st_size == 0]
        for path in empty:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _is_whole(path: str, since: str, env: Mapping[str, str]) -> bool:
    """Whether all that was committed since is there."""
    try:
        git(path, "rev-list", "--objects", "--quiet", f"{since}..HEAD", env=env)
    except GitFailed:
        return False
    return True


def _go_back(path: str, record: WorkspaceRecord, since: str, env: Mapping[str, str]) -> None:
    """Have the branch at `since`, and checked out; no file changes."""
    common, branch = common_folder(record.source), f"refs/heads/{record.branch}"
    # What leads to commits that are gone: the ref, which git could not even replace, and the logs of where it was.
    own = git(path, "rev-parse", "--git-path", "logs/HEAD", env=env)
    for place in (os.path.join(common, branch), os.path.join(common, "logs", branch), os.path.join(path, own)):
        with suppress(FileNotFoundError):
            os.unlink(place)
    git(path, "symbolic-ref", "HEAD", branch, env=env)
    git(path, "update-ref", branch, since, env=env)
    _remove_index(path, env)
    git(path, "read-tree", since, env=env)


def _remove_index(path: str, env: Mapping[str, str]) -> None:
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(path, git(path, "rev-parse", "--git-path", "index", env=env)))


def _empty_files(path: str, env: Mapping[str, str]) -> list[str]:
    """The files that are empty, and were not there so before."""
    told = git(path, "ls-files", "-z", "--others", "--modified", "--exclude-standard", env=env).split("\0")
    return [name for name in dict.fromkeys(filter(None, told)) if _is_empty(os.path.join(path, name))]


def _is_empty(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) == 0
