"""Repositories inside of a workspace: submodules, and what an agent has cloned or begun there.

Of one of them git records only which commit it is at. What was done in it is in no commit and no patch of the item's, and would
be lost with the workspace: so it is looked for. One that the item's base does not have is left out of the item's commit.

Promise: no git works in one of them by its configuration, which may name programs. What leads to its commit is read by hand, and
its files are compared by a folder of git's own that is made for this alone.
"""

from __future__ import annotations

import os
import stat
from tempfile import TemporaryDirectory

from ..lazy_pattern import lazy_pattern
from .git import GitFailed, git
from .git_folders import git_folder, line_of
from .pinned import Pinned

REPOSITORY = "160000"
"""The mode that git gives to one."""

_OBJECT = lazy_pattern(r"[0-9a-f]{40,64}")
_BRANCH = lazy_pattern(r"refs/[^\0]+")


def unknown_repositories(place: Pinned) -> list[str]:
    """The folders in the workspace that are repositories of which its index has nothing. Raises GitFailed, OSError."""
    # Of all that git does not know only a repository is listed as a folder.
    unknown = git(place, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    return [name.rstrip("/") for name in unknown if name.endswith("/")]


def repositories_since(place: Pinned, base: str) -> tuple[list[str], list[str]]:
    """The folders of repositories in the index that `base` (a commit or tree) has nothing of; and those at another commit there.

    Raises GitFailed, OSError.
    """
    # Whatever `.gitmodules` says of them, which is the agent's. By the index alone: else git would work in each.
    whole = ("--raw", "-z", "--no-abbrev", "--no-renames", "--no-ext-diff", "--ignore-submodules=none")
    told = git(place, "diff", "--cached", *whole, base, "--").split("\0")
    changed = [(fields.lstrip(":").split(), name) for fields, name in zip(told[::2], told[1::2], strict=False)]
    found = [(before, name) for (before, after, *_), name in changed if after == REPOSITORY]
    return [name for mode, name in found if mode != REPOSITORY], [name for mode, name in found if mode == REPOSITORY]


def is_untouched(folder: str, commit: str) -> bool:
    """Whether nothing can have been done in `folder` (absolute) of a submodule, which is at `commit` in the item's base."""
    try:
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            return False
        if not os.listdir(folder):
            return True  # as git leaves it
    except FileNotFoundError:
        return True
    except OSError:
        return False
    home = git_folder(folder)
    return home is not None and _head_of(home) == commit and _has_files_of(folder, home, commit)


def _has_files_of(folder: str, home: str, commit: str) -> bool:
    """Whether the files in `folder` are those of the commit, of which `home` has the objects."""
    with TemporaryDirectory() as made:
        # As little as git takes for a repository. Its configuration is nobody's.
        os.mkdir(f"{made}/refs")
        with open(f"{made}/HEAD", "w") as file:
            file.write(f"{commit}\n")
        place = Pinned(folder, made, made, {"GIT_OBJECT_DIRECTORY": f"{home}/objects"})
        try:
            git(place, "read-tree", commit)
            if git(place, "status", "--porcelain", "--ignore-submodules=all"):
                return False
            inner = [each.partition("\t") for each in git(place, "ls-files", "--stage", "-z").split("\0")]
        except GitFailed:  # nothing that git can tell of
            return False
    return all(
        is_untouched(os.path.join(folder, name), about.split()[1]) for about, _, name in inner if about.startswith(REPOSITORY)
    )


def _head_of(home: str) -> str | None:
    """The commit that is checked out; None: nothing that can be read by hand."""
    told = line_of(os.path.join(home, "HEAD"))
    if told is not None and told.startswith("ref: "):
        name = told.removeprefix("ref: ")
        told = line_of(os.path.join(home, name)) if _BRANCH.fullmatch(name) and ".." not in name else None
    return told if told is not None and _OBJECT.fullmatch(told) else None
