"""Staging: all that stands in a workspace comes into its index, and what is no work of the item's goes out again."""

from __future__ import annotations

from collections.abc import Mapping

from .git import GitFailed, git
from .inner_repositories import begun_repositories


def stage_all(path: str, env: Mapping[str, str]) -> list[str]:
    """Stage all changes in workspace `path`, but for repositories without a commit, which git cannot stage: their folders.

    Relative to `path`. Raises GitFailed, OSError.
    """
    try:
        git(path, "add", "--all", env=env)
        return []
    except GitFailed:
        begun = begun_repositories(path, env)
        if not begun:
            raise
    git(path, "add", "--all", "--", ".", *(f":(exclude,top,literal){name}" for name in begun), env=env)
    return begun


def unstage(path: str, pathspecs: list[str], env: Mapping[str, str]) -> None:
    """Take out of the index what is so named. Raises GitFailed, OSError."""
    if pathspecs:
        git(path, "rm", "--cached", "-r", "--quiet", "--force", "--ignore-unmatch", "--", *pathspecs, env=env)
