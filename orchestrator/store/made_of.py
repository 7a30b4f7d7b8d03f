"""What files of `creates` were made of, known across runs: a note for each item with `creates_when = "changed"`.

HOME/made/XX/NAME.json, named by the paths of the files. A worker writes it (survives power loss) when it has put the files in
place, and removes it before their command begins, and once more before they take their names, for another run may have made them
meanwhile: as long as nobody knows what they are made of there is no note.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from orchestrator.store.home import made_folder
from orchestrator.system.digests import sha256_hex
from orchestrator.workers.byte_text import bytes_of_text, encode_json, json_decoder
from orchestrator.workers.files.opening import read_file

FORMAT = 1
"""A note of another format counts for nothing: the item runs, and leaves one of this."""


class Source(msgspec.Struct, frozen=True, array_like=True):
    """A source: its path as it was written or matched, by what a change is seen without reading it, and the SHA-256 of its bytes.

    `mtime_ns` 0: it was changed so shortly before that a later change may have left the same time. `digest` is empty for what
    is no plain file.
    """

    path: str
    size: int
    mtime_ns: int
    inode: int
    digest: str


class MadeOf(msgspec.Struct, frozen=True, kw_only=True):
    """`work`: the payload of the item that made the files; `sources`: what it had before it began, sorted by path.

    `files`: the absolute paths of the files; none in notes of the first days.
    """

    work: str
    sources: list[Source]
    files: list[str] = []
    format: int = FORMAT


_decode = json_decoder(MadeOf)


def note_path(home: Path, finals: Iterable[str]) -> Path:
    """Where the note of these files (absolute paths) lies."""
    name = sha256_hex(bytes_of_text("\0".join(finals)))
    return made_folder(home) / name[:2] / f"{name[2:42]}.json"


def read_made_of(path: Path) -> MadeOf | None:
    """The note; None: there is none that can be read."""
    try:
        found: MadeOf = _decode(read_file(path))
    except (OSError, ValueError, msgspec.DecodeError):
        return None
    return found if found.format == FORMAT else None


def notes_of_gone_files(home: Path, oldest: float) -> Iterator[Path]:
    """The notes of files of which none is there any more, that were written before `oldest` (seconds since the epoch)."""
    for path in made_folder(home).glob("??/*.json"):
        with suppress(OSError):
            found = read_made_of(path) if path.stat().st_mtime < oldest else None
            if found is not None and found.files and all(map(_is_gone, found.files)):
                yield path


def _is_gone(path: str) -> bool:
    """Raises OSError if nobody can say: a folder that may not be entered may have it."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    return False


def encode_made_of(made_of: MadeOf) -> bytes:
    """The bytes of the note."""
    return encode_json(msgspec.to_builtins(made_of))
