"""What was changed in a workspace: the tree of a copy, and the patch from one state to another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ..files.capture import CaptureFile
from ..protocol import EMPTY_CAPTURE, Capture, WorkspaceTask
from .git import git
from .record import snapshots_of
from .staging import stage_all, unstage

_UNBOUNDED = 1 << 62

DIFF = (
    *("diff", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--submodule=short"),
    *("--src-prefix=a/", "--dst-prefix=b/"),
)
"""A patch that `git apply` takes whatever the user's configuration says."""


def keep_patch(task: WorkspaceTask, live_path: str, between: tuple[str, str], env: Mapping[str, str]) -> Capture:
    """Keep the patch of the workspace between two commits or trees; empty if they are one. Raises GitFailed, OSError.

    `live_path` (absolute) is where the patch is written first.
    """
    before, after = between
    if before == after:
        return EMPTY_CAPTURE
    file = CaptureFile(live_path)
    try:
        git(task.path, *DIFF, before, after, "--", env=env, stdout=file.open())
        return file.take_capture(task.patch_path, _UNBOUNDED, is_sole_writer=True)
    finally:
        file.forget()


def snapshot_of(path: str, env: Mapping[str, str], litter: Sequence[str]) -> tuple[str, list[str]]:
    """The tree of all that is in the copy at `path`, but for what is ignored or `litter`; and what `stage_all` left out.

    Raises GitFailed, OSError.
    """
    with suppress(FileNotFoundError):
        # A git that was killed leaves its lock behind.
        os.unlink(f"{snapshots_of(path)}/index.lock")
    begun = stage_all(path, env)
    unstage(path, [f":(top,glob){pattern}" for pattern in litter], env)
    return git(path, "write-tree", env=env), begun
