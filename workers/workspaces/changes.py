"""What was changed in a workspace: the tree of a copy, and the patch from one state to another."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from ..files.capture import CaptureFile
from ..protocol import EMPTY_CAPTURE, Capture, WorkspaceTask
from ..wording import excess_in_words
from .git import GitFailed, git
from .pinned import Pinned
from .staging import stage_all, unstage

_UNBOUNDED = 1 << 62
_LARGE_BYTES = 64 << 20
"""git itself needs no memory to speak of: for a smaller file it is never that which is too large."""

DIFF = (
    *("diff", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short"),
    *("--ignore-submodules=none", "--src-prefix=a/", "--dst-prefix=b/"),
)
"""A patch that `git apply` takes whatever the user's configuration and `.gitmodules` say; of a tree or with `--cached`."""


def keep_patch(task: WorkspaceTask, live_path: str, between: tuple[str, str], place: Pinned) -> Capture:
    """Keep the patch of the workspace between two commits or trees; empty if they are one. Raises GitFailed, OSError.

    `live_path` (absolute) is where the patch is written first.
    """
    before, after = between
    if before == after:
        return EMPTY_CAPTURE
    file = CaptureFile(live_path)
    try:
        git(place, *DIFF, before, after, "--", stdout=file.open())
        return file.take_capture(task.patch_path, _UNBOUNDED, is_sole_writer=True)
    finally:
        file.forget()


def snapshot_of(place: Pinned, base: str, litter: Sequence[str]) -> tuple[str, list[str]]:
    """The tree of all that is in the copy, but for what is ignored or `litter`; and what `stage_all` left out.

    Raises GitFailed, OSError.
    """
    with suppress(FileNotFoundError):
        # A git that was killed leaves its lock behind.
        os.unlink(f"{place.git_dir}/index.lock")
    inner = stage_all(place, base)
    unstage(place, [f":(top,glob){pattern}" for pattern in litter])
    return git(place, "write-tree"), inner


def failure_in_words(failed: GitFailed, place: Pinned, base: str) -> str:
    """Why git did not keep the changes in the workspace since `base` (a commit or tree): its own words, or which file was too
    large for it. A patch is made in memory, and of no file of 2 GiB: what git says of that names none."""
    if not failed.had_no_memory:
        return str(failed)
    try:
        # What was not staged yet, and what was staged or committed.
        told = git(place, "ls-files", "-z", "--others", "--modified", "--exclude-standard")
        told += "\0" + git(place, "diff", "--cached", "--name-only", "-z", "--no-renames", base, "--")
    except GitFailed:
        return str(failed)
    size, name = max(((_size_of(os.path.join(place.folder, name)), name) for name in told.split("\0") if name), default=(0, ""))
    if size < _LARGE_BYTES:
        return str(failed)
    return (
        f"{name} is too large for git ({excess_in_words(size, 1 << 30)}), which keeps changed files as a patch;"
        " have git ignore it (.gitignore), or write it outside of the workspace"
    )


def _size_of(path: str) -> int:
    with suppress(OSError):
        found = os.lstat(path)
        return found.st_size if stat.S_ISREG(found.st_mode) else 0
    return 0
