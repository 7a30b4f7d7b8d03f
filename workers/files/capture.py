"""One captured stream of one attempt after another: the file that the agent writes, and what becomes of it.

Promise: the bytes kept are the first bytes written, unchanged; whatever the agent writes, memory stays bounded. The agent
writes straight into a file that only ever grows at its end (O_APPEND), so cutting it back to `max_output` never touches what
came first. A file that stayed empty is used again: most attempts then create and remove nothing.

Promise: what a full disk did not take is known (`may_lack_bytes`), whatever the agent made of its failed write. A file system
takes a write up to the end of a block, so a file that ends elsewhere lacks nothing. Refuses to handle: a disk that is full for
less than the time between two looks (`cut_to`), and has room again when the agent ends.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from ..faultpoints import fault_point
from ..protocol import EMPTY_CAPTURE, INLINE_OUTPUT_BYTES, Capture
from ..wording import size_in_words
from .opening import open_file, stands_at
from .placing import open_anew, place_file
from .room import NO_ROOM
from .syncing import sync_data, sync_folder

_durable_folders: set[str] = set()
"""Folders whose own names this process has made durable; only a cache."""

_SMALLEST_BLOCK_BYTES = 512
"""No file system has smaller blocks: where one refuses more bytes, the size of the file is a multiple of this."""


class CaptureFile:
    """The live file at `path` (absolute). `open` before each attempt, `take_capture` after it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.dropped = 0
        """How many bytes of the running attempt were cut off."""
        self.was_refused = False
        """Whether the disk had no room, at a look while the agent ran, for what comes next."""
        self._descriptor: int | None = None
        self._end_size: int | None = None
        self._mine: os.stat_result | None = None
        """What identifies the open file, once it was asked: that stays the same."""

    def open(self) -> int:
        """The descriptor of an empty file for the agent to write to. Raises OSError."""
        self.dropped = 0
        self.was_refused = False
        self._end_size = None
        if self._descriptor is not None and not stands_at(self._mine or self._look(self._descriptor), self.path):
            # An earlier item has removed it: what is written there now could not be kept.
            self.forget()
        if self._descriptor is None:
            self._descriptor = open_anew(self.path)
        return self._descriptor

    def take_up(self, final_path: str) -> None:
        """Open what stands there of an attempt whose worker was killed, before or after it moved the file to `final_path`.

        It may have to be moved once more: it comes back for that. Raises OSError.
        """
        if not _has_bytes(self.path):
            try:
                os.rename(final_path, self.path)
            except (FileNotFoundError, NotADirectoryError):
                return
        self._descriptor = open_file(self.path, os.O_RDWR | os.O_APPEND)

    def size(self) -> int:
        return 0 if self._descriptor is None else os.fstat(self._descriptor).st_size

    def written(self) -> int:
        """How many bytes were written so far, with those that were cut off. Never less than before."""
        return self.size() + self.dropped

    def read_at(self, offset: int, at_most: int) -> bytes:
        """What stands there, as far as it has come."""
        return b"" if self._descriptor is None else os.pread(self._descriptor, at_most, offset)

    def cut_to(self, limit: int) -> int:
        """Drop what was written beyond `limit` bytes; returns how many bytes may still come."""
        size = self.size()
        if size > limit:
            assert self._descriptor is not None
            os.ftruncate(self._descriptor, limit)
            self.dropped += size - limit
        elif size and not self.dropped and not self.was_refused:
            # Of what is kept. A file that is empty so far is left for the end: most agents write nothing to stderr for hours.
            self.was_refused = not self.has_room(size)
        return max(limit - size, 0)

    def stayed_empty(self) -> bool:
        """Whether nothing was written, as of most commands of a long list. Asked once the attempt has ended, before the cut."""
        return not (self._last_size() or self.dropped or self.was_refused)

    def is_settled(self) -> bool:
        """Whether nothing but a write changes what `cut_to` finds: not, where a full disk may have refused one."""
        size = self.size()
        return self.dropped > 0 or self.was_refused or size == 0 or size % _SMALLEST_BLOCK_BYTES > 0

    def is_disk_full(self) -> bool:
        """Whether nothing more can be written where the file lies."""
        return self._descriptor is not None and _is_full(self._descriptor)

    def size_in_doubt(self, limit: int) -> int:
        """The size of a file that ends where a disk refuses bytes; -1: it lacks none of its first `limit` bytes.

        Asked once the attempt has ended, before the bytes are kept.
        """
        size = self._last_size()
        # Of a file that was cut: the bytes that are kept were all there when the others were cut off.
        is_certain = self._descriptor is None or self.dropped or size > limit or size % _SMALLEST_BLOCK_BYTES
        return -1 if is_certain else size

    def empty(self) -> None:
        """Drop all that was written, if nobody writes any more: what comes next is another's."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
        self.dropped = 0
        self.was_refused = False
        self._end_size = None

    def take_capture(self, final_path: str, limit: int, *, is_sole_writer: bool) -> Capture:
        """What was captured; a file that is not empty moves to `final_path`, a larger one durably. Raises TamperedError,
        OSError.

        `is_sole_writer` False: something may still hold the file, so that it is not used again.
        """
        descriptor = self._descriptor
        if descriptor is None:
            return EMPTY_CAPTURE
        if self._last_size() + self.dropped > 0:
            capture = self._move(descriptor, final_path, limit)
        elif is_sole_writer:
            return EMPTY_CAPTURE
        else:
            # What stands there meanwhile is for the next `open` to clear away.
            if stands_at(self._mine or self._look(descriptor), self.path):
                os.unlink(self.path)
            capture = EMPTY_CAPTURE
        self.forget()
        return capture

    def forget(self) -> None:
        """Let go of the file; the next attempt gets another."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = self._mine = None

    def has_room(self, size: int) -> bool:
        """Whether its disk takes more at the end of a file that has `size` bytes now."""
        if size % _SMALLEST_BLOCK_BYTES:
            return True
        assert self._descriptor is not None
        if _is_full(self._descriptor):
            return False
        # A quota is full before its disk is. One output in 512 ends at such a place by chance, and pays for a look that is exact.
        return size == 0 or _takes_a_file(f"{self.path}.room")

    def _look(self, descriptor: int) -> os.stat_result:
        """What identifies the open file."""
        self._mine = os.fstat(descriptor)
        return self._mine

    def _last_size(self) -> int:
        """As `size`, once the attempt has ended, before the file is cut: asked for once.

        It moves the position in the file, which those that write there share. A number costs a fifth of all that `fstat` tells.
        """
        if self._end_size is None:
            self._end_size = 0 if self._descriptor is None else os.lseek(self._descriptor, 0, os.SEEK_END)
        return self._end_size

    def _move(self, descriptor: int, final_path: str, limit: int) -> Capture:
        fault_point("worker.capture")
        self._shape(descriptor, limit)
        return _kept(descriptor, self.path, final_path, is_cut=self.dropped > 0)

    def _shape(self, descriptor: int, limit: int) -> None:
        """Make of the file what is kept of it."""
        self.cut_to(limit)
        if self.dropped:
            os.write(descriptor, f"\n[orchestrate: output cut at {size_in_words(limit)}]\n".encode())


def may_lack_bytes(captures: Sequence[CaptureFile], limit: int) -> bool:
    """Whether the disk may have refused some of the first `limit` bytes that were written to one of these (of one folder).

    Asked once the attempt has ended, before the bytes are kept.
    """
    size = -1
    for capture in captures:
        if capture.was_refused:
            return True
        size = max(size, capture.size_in_doubt(limit))
    # They lie on one disk: one look at it does for all.
    return size >= 0 and not captures[0].has_room(size)


def keep_bytes(data: bytes, path: str, final_path: str) -> Capture:
    """`data` as if it had been captured at `path` (absolute, in a worker's folder). Raises TamperedError, OSError."""
    if not data:
        return EMPTY_CAPTURE
    with open(open_anew(path), "r+b", buffering=0) as file:
        written = 0
        while written < len(data):
            written += file.write(memoryview(data)[written:])
        return _kept(file.fileno(), path, final_path, is_cut=False)


def _kept(descriptor: int, path: str, final_path: str, *, is_cut: bool) -> Capture:
    """Move the file that is complete now; a large one is made durable."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    place_file(descriptor, path, final_path)
    if size <= INLINE_OUTPUT_BYTES:
        # Durable with its outcome in the journal; the file is only a convenience.
        return Capture(size=size, path=final_path, inline=os.pread(descriptor, size, 0), is_cut=is_cut)
    digest = _sha256(descriptor)
    sync_data(descriptor)
    _sync_names(os.path.dirname(final_path), os.path.commonpath([path, final_path]))
    return Capture(size=size, path=final_path, sha256=digest, is_cut=is_cut)


def _is_full(descriptor: int) -> bool:
    """Whether nothing more can be written there. A file system that does not tell its size is not full."""
    found = os.fstatvfs(descriptor)
    # Room for anybody, as mostly, is room for root.
    if found.f_bavail or not found.f_blocks:
        return False
    return found.f_bfree == 0 or os.geteuid() != 0


def _takes_a_file(path: str) -> bool:
    """Whether a file of one byte, which is removed again, fits there."""
    try:
        with open(open_file(path, os.O_WRONLY | os.O_CREAT), "wb", buffering=0) as file:
            file.write(b"x")
    except OSError as error:
        return error.errno not in NO_ROOM
    finally:
        with suppress(OSError):
            os.unlink(path)
    return True


def _has_bytes(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except FileNotFoundError:
        return False


def _sync_names(folder: str, top: str) -> None:
    """Make the names in `folder` durable, and its own and those of its parents up to `top`, which was there before.

    The parents too when they exist: the process that made them may have had no need to sync them.
    """
    sync_folder(folder)
    while folder != top and folder not in _durable_folders:
        sync_folder(os.path.dirname(folder))
        _durable_folders.add(folder)
        folder = os.path.dirname(folder)


def _sha256(descriptor: int) -> str:
    import hashlib

    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
