"""Staging: all that stands in a workspace comes into its index, and what is no work of the item's goes out again.

Promise: what counts is the files, not what an index says of them. An agent may have told git to look at a file no more (the bits
assume-unchanged and skip-worktree): its change is staged all the same. A sparse checkout stays one: the files that it leaves out
are not taken for removed, and what an agent writes beside them is staged as anything else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from .git import GitFailed, asked, git
from .inner_repositories import begun_repositories

_WHOLE = ("-c", "core.sparseCheckout=false")
"""Without it git refuses to stage what lies outside of a sparse checkout. What this leaves out has its bits still."""

LEFT_OUT = "S"
"""The tag by which `git ls-files` tells a file with the bit skip-worktree; in lower case: with the bit assume-unchanged, too."""


def stage_all(path: str, env: Mapping[str, str]) -> list[str]:
    """Stage all changes in workspace `path`, but for repositories without a commit, which git cannot stage: their folders.

    Relative to `path`. Raises GitFailed, OSError.
    """
    # First: what git passes over is not staged.
    see_files(path, *unseen_files(path, env), env)
    try:
        git(path, *_WHOLE, "add", "--all", env=env)
        return []
    except GitFailed:
        begun = begun_repositories(path, env)
        if not begun:
            raise
    git(path, *_WHOLE, "add", "--all", "--", ".", *(f":(exclude,top,literal){name}" for name in begun), env=env)
    return begun


def unstage(path: str, pathspecs: list[str], env: Mapping[str, str]) -> None:
    """Take out of the index what is so named. Raises GitFailed, OSError."""
    if pathspecs:
        git(path, *_WHOLE, "rm", "--cached", "-r", "--quiet", "--force", "--ignore-unmatch", "--", *pathspecs, env=env)


def unseen_files(path: str, env: Mapping[str, str] | None = None) -> tuple[list[str], list[str]]:
    """Files that git was told not to look at in the worktree whose root is `path`: assume-unchanged, and skip-worktree.

    Both relative to `path`; not those that a sparse checkout leaves out. Raises GitFailed.
    """
    told = [(each[0], each[2:]) for each in git(path, *_WHOLE, "ls-files", "-v", "-z", env=env).split("\0") if each]
    unchanged = [name for tag, name in told if tag.islower()]
    skipped = [name for tag, name in told if tag.upper() == LEFT_OUT]
    absent = [name for name in skipped if not os.path.lexists(os.path.join(path, name))]
    # In a sparse checkout an absent file has the bit by right; without one somebody has removed what git was not to look at.
    if absent and asked(path, "config", "--type=bool", "core.sparseCheckout", env=env) == "true":
        skipped = sorted(set(skipped).difference(absent))
    return unchanged, skipped


def see_files(path: str, unchanged: Iterable[str], skipped: Iterable[str], env: Mapping[str, str]) -> None:
    """Take their bits away from files that `unseen_files` has told. Raises GitFailed, OSError."""
    for option, names in (("--no-assume-unchanged", unchanged), ("--no-skip-worktree", skipped)):
        if listed := "\0".join(names):
            git(path, *_WHOLE, "update-index", option, "-z", "--stdin", env=env, given=listed.encode("utf-8", "surrogateescape"))
