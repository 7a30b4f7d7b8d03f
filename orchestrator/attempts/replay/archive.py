"""The archive of a capsule (`.tar.gz`): written so that the same contents give the same bytes, and read as something foreign.

Format 1 (docs/capsules.md): `capsule.json` first, then the jobs file, the item lists and the files of each attempt. A newer
format is refused. What is read names no place outside of the folder that it is read into, whatever the archive says.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import msgspec

from orchestrator.errors import UserError
from orchestrator.store.formats import format_told
from orchestrator.system.named_files import open_named
from orchestrator.workers.agents.attempt_record import AttemptRecord
from orchestrator.workers.byte_text import encode_json, json_decoder
from orchestrator.workers.files.opening import open_file, read_file
from orchestrator.workers.foreign import LARGEST_BYTES, ForeignBytesError, decode_struct
from orchestrator.workers.lazy_pattern import lazy_pattern
from orchestrator.workers.wording import size_in_words

FORMAT = 1
INDEX = "capsule.json"
FILES = ("told", "stdout", "stderr", "answer", "check", "patch")
"""What of an attempt is kept, where there is any: its prompt, its streams, its answer, its failed check, its changes."""

_NAME = lazy_pattern(
    r"capsule\.json|jobs\.toml|items/[A-Za-z_][A-Za-z0-9_-]*\.jsonl|attempts/[A-Za-z_][A-Za-z0-9_-]*/\d+-\d+/[a-z]+"
)
_PLAIN_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_BLOCK_BYTES = 1 << 20

MOST_MEMBERS = 1_000_000
MOST_MEMBER_BYTES = 8 << 30
MOST_BYTES = 64 << 30
MOST_RATIO = 200
"""How much an archive may become when it is unpacked: files, bytes of one, bytes of all, and bytes of all for each byte that it
has. What agents write packs to a tenth or so; a few kilobytes that are made to fill a disk have a thousand times their size."""
_UNBOUNDED_BYTES = 256 << 20
"""So many may be packed however well: a log of one line over and over is no attack."""


class CapsuleAttempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt. `files`: those of `FILES` that the archive has of it, in `folder`; `sums`: of each its SHA-256, in hex digits.

    Older archives have no `sums`, and what is in them is taken for what was recorded.
    """

    job: str
    index: int
    attempt: int
    record: AttemptRecord
    label: str | None = None
    files: list[str] = []
    sums: dict[str, str] = {}

    @property
    def folder(self) -> str:
        return f"attempts/{self.job}/{self.index}-{self.attempt}"


class Capsule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the archive holds. `attempts` in the order of jobs, items and numbers; `missing`: those of which nothing was kept."""

    format: int
    run_id: str
    name: str
    jobs_file: str
    created_at: float
    inputs: dict[str, Any] = {}
    attempts: list[CapsuleAttempt] = []
    missing: list[str] = []


_decode_capsule: Callable[[bytes], Capsule] = json_decoder(Capsule)


class CapsuleWriter:
    """Writes members, in the order in which they come, onto `target`."""

    def __init__(self, target: IO[bytes]) -> None:
        # Neither names nor times: two archives of the same contents would differ.
        self._zip = gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0)
        self._tar = tarfile.TarFile(fileobj=self._zip, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, name: str, content: IO[bytes], size: int) -> None:
        """One file. Raises OSError."""
        assert _NAME.fullmatch(name), name
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        self._tar.addfile(member, content)

    def add_bytes(self, name: str, content: bytes) -> None:
        """The same for what is in memory."""
        self.add(name, io.BytesIO(content), len(content))

    def close(self) -> None:
        """Nothing more comes. Raises OSError."""
        self._tar.close()
        self._zip.close()


class TooLargeError(Exception):
    """An archive would become larger than any capsule is; in words how."""


class CapsuleReader:
    """Gives the members of an archive, in their order. Only plain files: what else a header may tell (a link, a sparse file, a
    long name, a size in a record of its own) is refused and not obeyed. Nothing is read into memory but what is asked for.

    Methods raise tarfile.TarError, gzip.BadGzipFile, EOFError and zlib.error for what is no archive, or half of one, and
    TooLargeError before anything beyond the bounds above is given.
    """

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._stream = gzip.GzipFile(fileobj=source, mode="rb")
        self._left = self._padding = 0
        self._members = self._bytes = 0

    def next_member(self) -> tarfile.TarInfo | None:
        """The next file, whose content is to be `read`; None: that was the last."""
        while self._left:
            self.read(_BLOCK_BYTES)
        self._take(self._padding)
        header = self._take(tarfile.BLOCKSIZE)
        if not header.strip(b"\0"):
            self._stream.read(_BLOCK_BYTES)  # to its end: only there a damage shows
            return None
        member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        if member.type not in _PLAIN_FILES or member.size < 0:
            raise tarfile.ReadError(f"it holds {member.name!r}, which is no plain file")
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise TooLargeError(f"it holds more than {MOST_MEMBERS} files")
        if member.size > MOST_MEMBER_BYTES:
            raise TooLargeError(f"{member.name!r} is larger than {size_in_words(MOST_MEMBER_BYTES)}")
        self._left, self._padding = member.size, -member.size % tarfile.BLOCKSIZE
        return member

    def read(self, at_most: int) -> bytes:
        """The next bytes of the file; none at its end."""
        data = self._take(min(at_most, self._left))
        self._left -= len(data)
        return data

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise EOFError("it breaks off")
        self._bytes += size
        if self._bytes > MOST_BYTES:
            raise TooLargeError(f"it becomes more than {size_in_words(MOST_BYTES)}")
        if self._bytes > _UNBOUNDED_BYTES and self._bytes > MOST_RATIO * self._source.tell():
            raise TooLargeError(f"it becomes more than {MOST_RATIO} times as large as it is")
        return data


def unpack(archive: Path, folder: Path) -> Capsule:
    """Read a capsule into `folder`, which is made. Raises UserError for what is none, OSError where it cannot be written."""
    try:
        file = open_named(archive)
    except OSError as error:
        raise UserError(f"{archive}: cannot be read: {error.strerror}") from error
    try:
        # The index comes first: it bounds what may follow, so that nothing is written which it does not name.
        with file:
            reader = CapsuleReader(file)
            capsule = _read_index(reader, archive)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _made(folder / INDEX) as index:
                index.write(encode_json(capsule))
            _unpack_files(reader, folder, archive)
        # What was changed on its way is refused as a whole: a replay would show what never was.
        for each in capsule.attempts:
            if changed := _changed_file(folder, each):
                raise UserError(
                    f"{archive}: {each.folder}/{changed} is not what was recorded: it was changed, or is missing",
                    "make the capsule again: orchestrate capsule RUN",
                )
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise UserError(f"{archive}: is no capsule, or a damaged one: {error}") from error
    except TooLargeError as error:
        raise UserError(f"{archive}: is too large for a capsule: {error}", "ask for a capsule of fewer items") from error
    return capsule


def read_capsule(folder: Path) -> Capsule:
    """The index of a capsule that was unpacked there. Raises UserError (of a newer format), OSError, ForeignBytesError."""
    return _decode_index(read_file(folder / INDEX), folder / INDEX)


def _read_index(reader: CapsuleReader, archive: Path) -> Capsule:
    # The index stands first, so that nothing of a newer format is unpacked.
    first = reader.next_member()
    if first is None or first.name != INDEX:
        raise UserError(f"{archive}: is no capsule: it does not begin with {INDEX}")
    try:
        capsule = _decode_index(reader.read(LARGEST_BYTES + 1), archive)
    except ForeignBytesError as error:
        raise UserError(f"{archive}: {INDEX}: it is {error}") from error
    # The index names files: none may lie outside of the folder that the archive is unpacked into.
    for each in capsule.attempts:
        strange = [name for name in each.files if name not in FILES]
        if strange or not _NAME.fullmatch(f"{each.folder}/told"):
            raise UserError(f"{archive}: {INDEX}: it names {strange[0] if strange else each.folder!r}")
    return capsule


def _decode_index(raw: bytes, place: Path) -> Capsule:
    """The index that lies at `place`, read by its format. Raises UserError (a newer one), ForeignBytesError."""
    match format_told(raw):
        case int() as found if found > FORMAT:
            raise UserError(f"{place}: has format {found}, and this version knows {FORMAT}", "install a newer orchestrate")
        case _:  # 1, and what tells none, which the decoder refuses in words
            return decode_struct(_decode_capsule, raw)


def _unpack_files(reader: CapsuleReader, folder: Path, archive: Path) -> None:
    while (member := reader.next_member()) is not None:
        if not _NAME.fullmatch(member.name):
            raise UserError(f"{archive}: is no capsule: it holds {member.name!r}")
        target = folder / member.name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if target.exists():
            raise UserError(f"{archive}: is no capsule: it holds {member.name!r} twice")
        with _made(target) as file:
            while block := reader.read(_BLOCK_BYTES):
                file.write(block)


def _made(path: Path) -> IO[bytes]:
    """A new file. Raises OSError."""
    return open(open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")


def _changed_file(folder: Path, attempt: CapsuleAttempt) -> str | None:
    """The first file of the attempt, unpacked below `folder`, that is not as its sum tells; None: all are. Raises OSError."""
    if attempt.files and not attempt.sums:
        return None
    for name in FILES:
        try:
            with (folder / attempt.folder / name).open("rb") as file:
                found = sum_of(file)
        except FileNotFoundError:
            found = None
        if found != attempt.sums.get(name):
            return name
    return None


def sum_of(content: IO[bytes]) -> str:
    """The SHA-256 of what is left to read, in hex digits. Raises OSError."""
    found = sha256()
    while block := content.read(_BLOCK_BYTES):
        found.update(block)
    return found.hexdigest()
