"""Files in a workspace of an agent's that git would open, and wait for: a FIFO has no end before somebody writes to it.

git opens `.gitignore` and `.gitattributes` wherever they stand and, to know whether a folder is a repository of its own, all that
leads to its commit. What stands there is looked at first, and never opened here.

Promise: what is refused is told by its path. It refuses to handle: what an agent that is at work puts there between the look and
the use; a git that hangs then is given up after its time.
"""

from __future__ import annotations

import os

from ..files.beneath import lies_beneath
from ..files.walking import walk
from .git import GitFailed
from .git_folders import git_folder, waiting_ref, why_not_opened

_OPENED = (".gitignore", ".gitattributes", ".gitmodules")
_LEADING = ("HEAD", "commondir", "config", "config.worktree", "packed-refs", "shallow", "objects/info/alternates")


def refuse_waiting_files(folder: str) -> None:
    """Raises GitFailed for the first such file in the workspace at `folder` (absolute)."""
    waiting: list[str] = []
    repositories: list[str] = []
    for here, folders, names in walk(folder):
        if here == folder:
            # Its own is known byte for byte, or is none of git's here.
            folders[:] = [name for name in folders if name != ".git"]
            names = [name for name in names if name != ".git"]
        waiting += [os.path.join(here, name) for name in _OPENED if name in names]
        if ".git" in folders or ".git" in names:
            repositories.append(here)
            folders[:] = [name for name in folders if name != ".git"]
    for repository in repositories:
        waiting += _of_repository(repository, os.path.realpath(folder))
    for path in waiting:
        is_read_whole = "/objects/" not in path and not path.endswith("/index")
        if words := why_not_opened(path, is_read_whole=is_read_whole):
            raise GitFailed(f"{path} {words}. The work stays; without that file try again")


def refuse_waiting_refs(common_dir: str) -> None:
    """Raises GitFailed for the first ref of a repository that git would wait for: any git looks through them."""
    if words := waiting_ref(common_dir):
        raise GitFailed(words)


def _of_repository(folder: str, root: str) -> list[str]:
    """What git opens of the repository at `folder`: what leads to its commit, and all that an agent may have put beside it.

    `root`: the real path of the workspace.
    """
    home = git_folder(folder)
    if home is None:
        return []
    found = [os.path.join(home, name) for name in _LEADING]
    # Its objects may be a link to another place of the workspace. What lies outside is not the agent's.
    to_see, seen = [os.path.realpath(home)], set[str]()
    while to_see:
        place = to_see.pop()
        if place in seen or not lies_beneath(place, root):
            continue
        seen.add(place)
        for here, folders, names in walk(place):
            found += [os.path.join(here, name) for name in names]
            to_see += [os.path.realpath(path) for name in folders if os.path.islink(path := os.path.join(here, name))]
    return found
