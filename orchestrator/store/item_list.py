"""A job's item list: one JSON value a line, in item order, and a last line {"count":N,"crc":C}.

Written once, durably, and never changed: `port:3` means the same value for ever. One that grows (`growing_list`) has no last line
yet: a record tells how far it stands. Reading is lazy: in memory is where each group of lines begins, of some hundred bytes on
disk.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.errors import StateRefusedError
from orchestrator.store.captures import CaptureMismatch
from orchestrator.store.durable_file import unwritable, write_in_parts
from orchestrator.store.list_records import ListGrew
from orchestrator.store.opened_files import OpenedFiles
from orchestrator.store.source_file import BLOCK_BYTES, SourceFile
from orchestrator.workers.byte_text import append_json, json_decoder
from orchestrator.workers.files.syncing import sync_folder
from orchestrator.workers.lazy_pattern import lazy_pattern

_LAST_LINE = lazy_pattern(rb'\{"count":(\d{1,18}),"crc":(\d{1,10})\}\n\Z')
_LAST_LINE_BYTES = 64
_GROUP_BYTES = 512
"""A group ends with the first line that makes it so long: a lookup reads no more, but for a value that is longer itself."""

_decode = json_decoder(Any)


class ListLostError(StateRefusedError, CaptureMismatch):
    """A recorded list cannot be read: it is gone, damaged, or no plain file.

    To what needs a value of it this is as an output that was removed (`CaptureMismatch`): that item fails, and no other. A
    command that needs the list itself tells the user.
    """

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


def write_item_list(path: Path, values: Iterable[Any]) -> int:
    """Write `values` to `path`, whose folder is made; how many there were. Survives power loss when it returns.

    Raises StateUnwritableError; an error of `values` propagates as it is. Either way nothing is left at `path`.
    """
    writing = list_in_parts(path, values)
    while True:
        try:
            next(writing)
        except StopIteration as end:
            count: int = end.value
            return count


def list_in_parts(path: Path, values: Iterable[Any]) -> Generator[None, None, int]:
    """As `write_item_list`, a block at a time; closed before its end it leaves nothing at `path`."""
    try:
        # The folder's own name must survive, too, or a durable list would lie in a folder that is gone.
        path.parent.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    count = 0

    def chunks() -> Iterator[bytes]:
        nonlocal count
        crc = 0
        buffer = bytearray()
        # A list of a million values is written a block at a time: memory does not grow with it.
        for value in values:
            append_json(value, buffer)
            buffer += b"\n"
            count += 1
            if len(buffer) >= BLOCK_BYTES:
                crc = zlib.crc32(buffer, crc)
                yield bytes(buffer)
                buffer.clear()
        crc = zlib.crc32(buffer, crc)
        yield bytes(buffer) + last_line(count, crc)

    yield from write_in_parts(path, chunks())
    return count


def last_line(count: int, crc: int) -> bytes:
    """The line behind so many items, the lines of which have this CRC-32."""
    return b'{"count":%d,"crc":%d}\n' % (count, crc)


class ItemList:
    """The values at `path`, read from disk one at a time. Raises ListLostError if the file is missing or damaged.

    The file is opened when it is read, by `opened`, which the lists of a run share: a run may have thousands of them. `grown`:
    how far a list stands that grows; its file is its own.
    """

    def __init__(self, path: Path, opened: OpenedFiles | None = None, grown: ListGrew | None = None) -> None:
        self._path = path
        self._opened = opened or OpenedFiles(1)
        self._count = 0
        self._firsts = array("Q")
        self._offsets = array("Q")
        """Of each group its first item, and where that begins; behind them where the last group ends."""
        self._offsets.append(0)
        self._crc = 0
        self._take_in(grown)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(index)
        group = bisect_right(self._firsts, index) - 1
        try:
            return _decode(self._lines_of(group)[index - self._firsts[group]])
        except FileNotFoundError as error:
            raise ListLostError(f"{self._path}: missing") from error
        except StateRefusedError as error:
            raise ListLostError(error.message) from error
        except (msgspec.DecodeError, ValueError, RecursionError, IndexError) as error:
            # Somebody has written into the file since it was looked at.
            raise ListLostError(f"{self._path}: damaged: item {index} cannot be read") from error

    def __iter__(self) -> Iterator[Any]:
        return self.between(0, self._count)

    def between(self, first: int, end: int) -> Iterator[Any]:
        """The values of the items from `first` on, up to before `end`, of which none is beyond the list."""
        # A group at a time. Where one is damaged, its items are read one by one: the first of them that cannot be read tells.
        while first < end:
            group = bisect_right(self._firsts, first) - 1
            begin = self._firsts[group]
            until = min(self._firsts[group + 1] if group + 1 < len(self._firsts) else self._count, end)
            try:
                lines = self._lines_of(group)[first - begin : until - begin]
                values = _decode(b"[" + b",".join(lines) + b"]")
            except (msgspec.DecodeError, ValueError, RecursionError, FileNotFoundError, StateRefusedError):
                values = []
            yield from values if len(values) == until - first else (self[index] for index in range(first, until))
            first = until

    def grow(self, grown: ListGrew) -> None:
        """Take in the items that the list has since. Raises ListLostError: then it is not to be read any more."""
        self._take_in(grown)

    def _lines_of(self, group: int) -> list[bytes]:
        start = self._offsets[group]
        return self._opened.lines(self._path, start, self._offsets[group + 1] - start)

    def _take_in(self, grown: ListGrew | None) -> None:
        """Note where each group begins, and compare the checksum: a value of a damaged list must not reach an item."""
        path = self._path
        try:
            source = self._opened.source(path)
            count, crc, end = self._told(source) if grown is None else (grown.count, grown.crc, grown.size)
            self._note_groups(source, end)
            is_whole = not end or source.read(end - 1, 1) == b"\n"
        except FileNotFoundError as error:
            raise ListLostError(f"{path}: missing") from error
        except ListLostError:
            raise
        except StateRefusedError as error:
            raise ListLostError(error.message) from error
        if self._crc != crc or self._count != count or not is_whole:
            raise ListLostError(f"{path}: damaged: its checksum does not match")

    def _told(self, source: SourceFile) -> tuple[int, int, int]:
        """Count, checksum and bytes of the items, as the last line tells them: without it the list was cut."""
        size = source.size()
        last = _LAST_LINE.search(source.read(max(size - _LAST_LINE_BYTES, 0), _LAST_LINE_BYTES))
        if last is None:
            raise ListLostError(f"{self._path}: damaged: it is not complete")
        return int(last[1]), int(last[2]), size - len(last[0])

    def _note_groups(self, source: SourceFile, end: int) -> None:
        """Note the groups from where the last one ended to `end`: a group that was read does not grow."""
        position = begin = self._offsets.pop()
        # Block by block, since a list may be larger than memory.
        while position < end and (block := source.read(position, min(BLOCK_BYTES, end - position))):
            self._crc = zlib.crc32(block, self._crc)
            if position == begin:
                self._put_group(begin)
            counted = 0
            while (at := block.find(b"\n", max(begin + _GROUP_BYTES - 1 - position, 0)) + 1) > 0:
                self._count += block.count(b"\n", counted, at)
                counted, begin = at, position + at
                if at < len(block):
                    self._put_group(begin)
            self._count += block.count(b"\n", counted)
            position += len(block)
        self._offsets.append(end)

    def _put_group(self, begin: int) -> None:
        self._firsts.append(self._count)
        self._offsets.append(begin)
