"""What stands beside a workspace, in `PATH.json`: what it was made of, and how far it has come. Written before all else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from ..byte_text import encode_json, json_decoder
from ..files.opening import StrangeFileError, read_file
from ..files.syncing import replace_durably
from ..foreign import ForeignBytesError, decode_struct


class WorkspaceRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`source` as in `WorkspaceTask`; `base` is a commit (worktree), a tree (copy), or empty.

    `is_ready`: made whole and set up. `is_ours`: the branch was made by us, so what is on it is this item's work. `included`:
    paths, relative to the workspace, of what was copied into it and is never committed.
    """

    kind: Literal["worktree", "copy", "temp"]
    source: str
    base: str = ""
    branch: str = ""
    is_ready: bool = False
    is_ours: bool = False
    included: list[str] = []
    merging: bool = False
    """Of a worktree: git merges a new base into its branch just now, and nothing else in it is uncommitted (`new_base.py`)."""
    keep_until: float | None = None
    """Seconds since the epoch; None: as long as the run."""
    boot_id: str = ""
    """The boot of the machine in which an attempt was last at work in it; empty: not known."""
    git_dir: str = ""
    """Of a worktree, as git has made it: where git's own files for it are (absolute); empty: not recorded."""
    common_dir: str = ""
    """Where those of its whole repository are (absolute)."""
    tie: str = ""
    """The content of its file `.git`."""
    settings_path: str = ""
    """Where the run keeps the repository's settings (`settings.py`); empty: nowhere."""


_decode: Callable[[bytes], WorkspaceRecord] = json_decoder(WorkspaceRecord)


def record_path(path: str) -> str:
    """Where the record of the workspace `path` stands."""
    return f"{path}.json"


def snapshots_of(path: str) -> str:
    """The repository beside a copy, by which its changes are found."""
    return f"{path}.git"


def read_record(path: str) -> WorkspaceRecord | None:
    """What is recorded of the workspace `path`; None: nothing that is whole."""
    try:
        return decode_struct(_decode, read_file(record_path(path)))
    except (FileNotFoundError, StrangeFileError, ForeignBytesError):
        return None


def write_record(path: str, record: WorkspaceRecord) -> None:
    """Replaced whole; survives power loss. Raises OSError."""
    replace_durably(record_path(path), encode_json(record))
