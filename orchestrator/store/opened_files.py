"""Files of a run that are opened when they are read, of which so many stay open: a run may have more than a process may open.

Promise: what is read is of the file that was opened first, or refused: a path whose file is another one now is not read.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from pathlib import Path

from orchestrator.store.refusals import refused
from orchestrator.store.source_file import SourceFile

MOST_OPEN = 8

AHEAD_BYTES = 1 << 14
"""How much is read at a time of a file that is read piece by piece."""


class OpenedFiles:
    """Of one reader. None is ever written to once it is known here."""

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        self._open: OrderedDict[Path, SourceFile] = OrderedDict()
        """The one that was read last comes last. One that is let go of is closed once nobody reads it."""
        self._known: dict[Path, tuple[int, ...]] = {}
        self._last: tuple[Path, SourceFile] | None = None
        """What was read last. Mostly it is read next, too: the items of a list, one after the other."""
        self._ahead: tuple[Path | None, int, bytes] = None, 0, b""
        """Of which file what is known from which byte on: what stands behind the piece that was read last."""
        self._piece: tuple[Path | None, int, list[bytes]] = None, 0, []
        """The lines of that piece, with the file and the byte where it begins: mostly the next of them is asked for."""

    def lines(self, path: Path, offset: int, length: int) -> list[bytes]:
        """The lines in `length` bytes from `offset` of the file at `path`. Raises as `source`."""
        known, start, lines = self._piece
        if known is path and start == offset:
            return lines
        lines = self._read(path, offset, length).split(b"\n")
        # A large piece is not kept.
        if length < AHEAD_BYTES:
            self._piece = path, offset, lines
        return lines

    def _read(self, path: Path, offset: int, length: int) -> bytes:
        known, start, data = self._ahead
        at = offset - start
        if known is path and at >= 0 and at + length <= len(data):
            return data[at : at + length]
        if length >= AHEAD_BYTES:
            return self.source(path).read(offset, length)
        data = self.source(path).read(offset, AHEAD_BYTES)
        self._ahead = path, offset, data
        return data[:length]

    def source(self, path: Path) -> SourceFile:
        """The file at `path`, to be read now. Raises FileNotFoundError, StateRefusedError: it is another one than before."""
        if self._last is not None and self._last[0] is path:
            return self._last[1]
        source = self._open.get(path)
        if source is not None:
            self._open.move_to_end(path)
            self._last = path, source
            return source
        source = self._opened(path)
        # Somebody has written it anew, or moved another run here: places that were noted before mean nothing in it.
        if self._known.setdefault(path, source.identity()) != source.identity():
            raise refused(path, "is not the file that was read before")
        self._open[path] = source
        self._last = path, source
        if len(self._open) > self._most:
            self._open.popitem(last=False)
        return source

    def _opened(self, path: Path) -> SourceFile:
        try:
            return SourceFile(path)
        except OSError as error:
            if error.errno != errno.EMFILE or not self._open:
                raise
        # No descriptor is left: those that are kept for speed alone make room.
        self._open.clear()
        self._last = None
        return SourceFile(path)
