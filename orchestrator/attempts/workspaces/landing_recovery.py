"""The recovery of a landing that was killed: the next one takes it back, without losing what a person has done there since.

Invariant: the mark stands in the checkout's own git folder from before the first change of a landing until after the last.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress

import msgspec

from orchestrator.system.named_files import read_named
from orchestrator.workers.files.syncing import replace_durably, sync_trees
from orchestrator.workers.foreign import ForeignBytesError, decode_struct
from orchestrator.workers.workspaces.git import commit_of, git, identity
from orchestrator.workers.workspaces.pinned import Pinned
from orchestrator.workers.workspaces.staging import LEFT_OUT

MARK_NAME = "orchestrate-landing.json"


class LandingMark(msgspec.Struct, frozen=True):
    """Says that a change is being landed. `head`: the commit that was checked out before."""

    head: str


_decode = msgspec.json.Decoder(LandingMark).decode


def mark_landing(place: Pinned, head: str) -> None:
    """A change is about to be landed on `head`. Survives power loss: what git writes from now on does, too."""
    # Whoever else lands in this repository must be able to read it.
    replace_durably(_mark_path(place), msgspec.json.encode(LandingMark(head)), 0o644)


def unmark_landing(place: Pinned) -> None:
    """The change is landed, or taken back."""
    with suppress(FileNotFoundError):
        os.unlink(_mark_path(place))


def take_back(place: Pinned) -> list[str]:
    """Take back what a killed landing left half done in the checkout; in words what was done. Raises GitFailed, OSError."""
    try:
        mark = decode_struct(_decode, read_named(_mark_path(place)))
    except (FileNotFoundError, ForeignBytesError):
        return []
    # Only where the same commit is checked out as then, or the one that the landing made: anything else is the user's doing.
    told = []
    if mark.head in (commit_of(place, "HEAD"), commit_of(place, "HEAD^1")):
        # All changes of tracked files are kept under a ref: some may be a person's own, made since.
        kept = _kept(place)
        git(place, "reset", "--hard", "--quiet", "HEAD")
        sync_trees([place.folder])
        told.append(f"a landing in {place.folder} was killed: it is taken back" + (f"; what it left is {kept}" if kept else ""))
    unmark_landing(place)
    return told


def _kept(place: Pinned) -> str | None:
    """Keep the tracked files as they are now under a ref. Returns its name, None if nothing is changed."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": f"{folder}/index"}
        # An index of our own: that of the checkout may have conflicts. The names are taken from the checkout's, which has also
        # the files that the landing added, and knows which a sparse checkout leaves out.
        told = [(each[0], each[2:]) for each in git(place, "ls-files", "-t", "-z").split("\0") if each]
        names = [name for tag, name in told if tag != LEFT_OUT or os.path.lexists(os.path.join(place.folder, name))]
        listed = "\0".join(names).encode("utf-8", "surrogateescape")
        git(place, "read-tree", "HEAD", env=env)
        git(place, "update-index", "--add", "--remove", "-z", "--stdin", env=env, given=listed)
        tree = git(place, "write-tree", env=env)
    if tree == git(place, "rev-parse", "HEAD^{tree}"):
        return None
    words = "What a landing that was killed left in the checkout"
    commit = git(place, "commit-tree", "-p", "HEAD", "-m", words, tree, env=identity(place))
    name = f"refs/orchestrate/taken-back/{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    git(place, "update-ref", name, commit)
    return name


def _mark_path(place: Pinned) -> str:
    return os.path.join(place.git_dir, MARK_NAME)
