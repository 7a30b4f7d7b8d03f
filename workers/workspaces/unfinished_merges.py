"""A merge that an agent has begun in a worktree and not finished: a commit of all that stands there would have its conflicts.

An agent that has resolved a conflict may not have told git so. So the files are looked at: one without conflict markers, or that
was removed, counts as resolved. What has no markers to tell by (binary files, one side removed) is resolved only for git.
"""

from __future__ import annotations

import os
import re

from ..lazy_pattern import lazy_pattern
from ..wording import first_in_words
from .git import GitFailed, git
from .pinned import Pinned

_MARKER = lazy_pattern(rb"^(<{7,}|>{7,}|\|{7,}) ", re.MULTILINE)
_LARGEST_BYTES = 64 << 20
_BOTH_SIDES = {"2", "3"}


def refuse_unfinished_merge(worktree: Pinned) -> None:
    """Raises GitFailed, with the files that are in conflict, if there are any in the worktree."""
    if names := unresolved_files(worktree):
        raise GitFailed(f"a merge was begun in the workspace and is not finished; in conflict: {first_in_words(names)}")


def unresolved_files(worktree: Pinned) -> list[str]:
    """The files of the worktree that are in conflict still. Raises GitFailed."""
    stages: dict[str, set[str]] = {}
    for told in filter(None, git(worktree, "ls-files", "--unmerged", "-z").split("\0")):
        about, _, name = told.partition("\t")
        stages.setdefault(name, set()).add(about.split()[2])
    return [name for name, sides in stages.items() if not _is_resolved(os.path.join(worktree.folder, name), sides)]


def _is_resolved(path: str, sides: set[str]) -> bool:
    if not os.path.lexists(path):
        return True
    if not sides >= _BOTH_SIDES or os.path.islink(path) or not os.path.isfile(path):
        return False
    # It may have any size, and no content: none of that is merged by its lines.
    if os.path.getsize(path) > _LARGEST_BYTES:
        return False
    with open(path, "rb") as file:
        content = file.read()
    return b"\0" not in content and _MARKER.search(content) is None
