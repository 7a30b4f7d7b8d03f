"""The recovery of a landing that was killed: the next one takes it back, without losing what a person has done there since.

Invariant: the mark stands in the state folder from before the first change of a landing until after the last. No mark in the
repository is believed: an agent that commits may write there, and would have us take back what the user is at work on.
It refuses to handle: a landing from another state folder. What that one left is refused as changes of the user's are.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from orchestrator.store.home import landings_folder
from orchestrator.workers.byte_text import encode_json, json_decoder
from orchestrator.workers.files.opening import read_file
from orchestrator.workers.files.syncing import make_folder, replace_durably, sync_trees
from orchestrator.workers.foreign import ForeignBytesError, decode_struct
from orchestrator.workers.workspaces.git import commit_of, git, identity
from orchestrator.workers.workspaces.pinned import Pinned
from orchestrator.workers.workspaces.staging import LEFT_OUT


class LandingMark(msgspec.Struct, frozen=True):
    """Says that a change is being landed. `head`: the commit that was checked out before; `git_dir`: of which checkout."""

    head: str
    git_dir: str


_decode = json_decoder(LandingMark)


def mark_of(home: Path, place: Pinned) -> str:
    """Where in the state folder the mark of landings in the checkout at `place` stands."""
    name = sha256(os.fsencode(os.path.realpath(place.git_dir))).hexdigest()[:32]
    return str(landings_folder(home) / f"{name}.json")


def mark_landing(mark: str, place: Pinned, head: str) -> None:
    """A change is about to be landed on `head`. Survives power loss: what git writes from now on does, too. Raises OSError."""
    make_folder(os.path.dirname(mark), None)
    replace_durably(mark, encode_json(LandingMark(head, place.git_dir)))


def unmark_landing(mark: str) -> None:
    """The change is landed, or taken back."""
    with suppress(FileNotFoundError):
        os.unlink(mark)


def take_back(mark: str, place: Pinned) -> list[str]:
    """Take back what a killed landing left half done in the checkout; in words what was done. Raises GitFailed, OSError."""
    try:
        head = decode_struct(_decode, read_file(mark)).head
    except (FileNotFoundError, ForeignBytesError):
        return []
    # Only where the same commit is checked out as then, or the one that the landing made: anything else is the user's doing.
    told = []
    if head in (commit_of(place, "HEAD"), commit_of(place, "HEAD^1")):
        # All changes of tracked files are kept under a ref: some may be a person's own, made since.
        kept = _kept(place)
        git(place, "reset", "--hard", "--quiet", "HEAD")
        sync_trees([place.folder])
        told.append(f"a landing in {place.folder} was killed: it is taken back" + (f"; what it left is {kept}" if kept else ""))
    unmark_landing(mark)
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
    # What stands there by that name may be a link to a branch of the user's.
    git(place, "update-ref", "--no-deref", name, commit)
    return name
