"""Repositories inside of a workspace: submodules, and what an agent has cloned or begun there.

Of one of them git records only which commit it is at. What was done in it is in no commit and no patch of the item's, and would
be lost with the workspace: so it is looked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from .git import GitFailed, git

_REPOSITORY = "160000"
"""The mode that git gives to one."""


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
