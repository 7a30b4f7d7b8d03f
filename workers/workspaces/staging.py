"""Staging: all that stands in a workspace comes into its index, and what is no work of the item's goes out again.

Promise: what counts is the files, not what an index says of them. An agent may have told git to look at a file no more (the bits
assume-unchanged and skip-worktree): its change is staged all the same. A sparse checkout stays one: the files that it leaves out
are not taken for removed, and what an agent writes beside them is staged as anything else. Repositories inside are not entered,
and none is staged that the base does not have. What an item has git ignore by `info/exclude` is staged all the same.
It refuses to handle: an index written by hand, in which a file that was changed has the times of what is there now. The check of
a landing runs on what was staged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from tempfile import NamedTemporaryFile
from typing import NamedTuple

from ..byte_text import bytes_of_text
from .git import GitFailed, asked, git
from .inner_repositories import REPOSITORY, is_untouched, repositories_since, unknown_repositories
from .pinned import Pinned

_WHOLE = ("-c", "core.sparseCheckout=false")
"""Without it git refuses to stage what lies outside of a sparse checkout. What this leaves out has its bits still."""

LEFT_OUT = "S"
"""The tag by which `git ls-files` tells a file with the bit skip-worktree; in lower case: with the bit assume-unchanged, too."""


class Indexed(NamedTuple):
    """What an index says of some of its files, all relative to the root of the worktree.

    `unchanged`, `skipped`: those that git was told not to look at (assume-unchanged, and skip-worktree; not those that a sparse
    checkout leaves out). `repositories`: folders of submodules, and the commit of each.
    """

    unchanged: list[str]
    skipped: list[str]
    repositories: dict[str, str]


def stage_all(place: Pinned, base: str) -> list[str]:
    """Stage all changes in the workspace, which started from `base` (a commit or tree; empty: nothing that has repositories).

    Returns the folders, relative to its root, of the repositories in it that were worked in: what was done there is not staged.
    Raises GitFailed, OSError.
    """
    # First: what git passes over is not staged.
    indexed = indexed_files(place)
    see_files(place, indexed.unchanged, indexed.skipped)
    # Without the submodules: git would ask each of them what was changed in it, by its own configuration.
    begun: list[str] = []
    try:
        _add(place, indexed.repositories)
    except GitFailed:
        # A repository without a commit cannot be staged.
        begun = unknown_repositories(place)
        if not begun:
            raise
        _add(place, [*indexed.repositories, *begun])
    if place.excludes is not None:
        _add_hidden(place, place.excludes)
    if not base:
        return begun
    # What is new is left out again; what is there is looked at without git working in it.
    added, moved = repositories_since(place, base)
    unstage(place, [f":(top,literal){name}" for name in added])
    there = {name: commit for name, commit in indexed.repositories.items() if name not in added}
    worked_in = [name for name, commit in there.items() if not is_untouched(os.path.join(place.folder, name), commit)]
    return sorted({*begun, *added, *moved, *worked_in})


def _add(place: Pinned, left_out: Iterable[str]) -> None:
    excluded = [f":(exclude,top,literal){name}" for name in left_out]
    git(place, *_WHOLE, "add", "--all", *(("--", ".", *excluded) if excluded else ()))


def _add_hidden(place: Pinned, excludes: str) -> None:
    """Stage the files that git passes over only for what was added to `info/exclude` since that had the text `excludes`."""
    listing = ["ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"]
    # Of the settings that count; where none names a file git reads this one.
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    users = asked(place, "config", "--type=path", "core.excludesFile")
    users = os.path.join(home, "git/ignore") if users is None else users
    if users and os.path.isfile(users):
        listing.append(f"--exclude-from={users}")
    # A file, no pipe: git reads as much as the size of it tells.
    with NamedTemporaryFile() as file:
        file.write(bytes_of_text(excludes))
        file.flush()
        hidden = git(place, *listing, f"--exclude-from={file.name}").split("\0")
    # A repository is listed as a folder.
    if names := "\0".join(name for name in hidden if name and not name.endswith("/")):
        added = ("add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul")
        git(place, *_WHOLE, *added, env={"GIT_LITERAL_PATHSPECS": "1"}, given=bytes_of_text(names))


def unstage(place: Pinned, pathspecs: list[str]) -> None:
    """Take out of the index what is so named. Raises GitFailed, OSError."""
    if pathspecs:
        git(place, *_WHOLE, "rm", "--cached", "-r", "--quiet", "--force", "--ignore-unmatch", "--", *pathspecs)


def indexed_files(place: Pinned) -> Indexed:
    """See `Indexed`. Raises GitFailed."""
    unchanged, skipped, repositories = [], [], {}
    for each in filter(None, git(place, *_WHOLE, "ls-files", "-v", "--stage", "-z").split("\0")):
        about, _, name = each.partition("\t")
        tag, mode, commit, _ = about.split()
        if tag.islower():
            unchanged.append(name)
        if tag.upper() == LEFT_OUT:
            skipped.append(name)
        if mode == REPOSITORY:
            repositories[name] = commit
    absent = [name for name in skipped if not os.path.lexists(os.path.join(place.folder, name))]
    # In a sparse checkout an absent file has the bit by right; without one somebody has removed what git was not to look at.
    if absent and asked(place, "config", "--type=bool", "core.sparseCheckout") == "true":
        skipped = sorted(set(skipped).difference(absent))
    return Indexed(unchanged, skipped, repositories)


def see_files(place: Pinned, unchanged: Iterable[str], skipped: Iterable[str]) -> None:
    """Take their bits away from files that `indexed_files` has told. Raises GitFailed, OSError."""
    for option, names in (("--no-assume-unchanged", unchanged), ("--no-skip-worktree", skipped)):
        if listed := "\0".join(names):
            git(place, *_WHOLE, "update-index", option, "-z", "--stdin", given=listed.encode("utf-8", "surrogateescape"))
