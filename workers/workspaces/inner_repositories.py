"""Repositories inside of a workspace: submodules, and what an agent has cloned or begun there.

Of one of them git records only which commit it is at. What was done in it is in no commit and no patch of the item's, and would
be lost with the workspace: so it is looked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from .git import GitFailed, commit_of, git

_REPOSITORY = "160000"
"""The mode that git gives to one."""


def begun_repositories(path: str, env: Mapping[str, str]) -> list[str]:
    """The folders in workspace `path` that are repositories without a commit; relative to `path`. Raises GitFailed, OSError."""
    # Of all that git does not know only a repository is listed as a folder.
    unknown = git(path, "ls-files", "--others", "--exclude-standard", "-z", env=env).split("\0")
    folders = [name.rstrip("/") for name in unknown if name.endswith("/")]
    return [name for name in folders if not _has_commit(os.path.join(path, name))]


def _has_commit(folder: str) -> bool:
    try:
        return commit_of(folder, "HEAD") is not None
    except GitFailed:  # nothing that git can tell of
        return False


def unkept_repositories(path: str, base: str, env: Mapping[str, str]) -> list[str]:
    """The folders of the repositories in workspace `path` that were worked in since `base`, a commit or tree; relative to `path`.

    Not those whose new commit a remote of theirs has, with nothing besides. Raises GitFailed, OSError.
    """
    told = git(path, "diff", "--raw", "-z", "--no-renames", "--ignore-submodules=none", base, "--", env=env).split("\0")
    changed = [name for fields, name in zip(told[::2], told[1::2], strict=False) if fields.split()[1] == _REPOSITORY]
    return [name for name in changed if not _is_elsewhere(os.path.join(path, name))]


def _is_elsewhere(folder: str) -> bool:
    try:
        if git(folder, "status", "--porcelain", "--ignore-submodules=none"):
            return False
        return bool(git(folder, "for-each-ref", "--count=1", "--contains", "HEAD", "refs/remotes"))
    except GitFailed:  # nothing that git can tell of
        return False
