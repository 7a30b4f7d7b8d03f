"""Where the lines of items stand in a run's two files, so that no record has to be kept in memory.

The files stay open, so places hold good even after a newer generation has replaced them.
"""

from __future__ import annotations

from array import array
from pathlib import Path

from orchestrator.store.formats import TODAY, Format
from orchestrator.store.records import Record
from orchestrator.store.source_file import SourceFile

CHECKPOINT = 0
JOURNAL = 1


class Places:
    """Where each item's line stands: `offset * 2 + source` and length, 12 bytes an item; length 0 means none."""

    def __init__(self) -> None:
        self._spots = array("Q")
        self._lengths = array("I")

    def put(self, index: int, source: int, offset: int, length: int) -> None:
        """The line of item `index` stands at `offset` of `source`."""
        missing = index + 1 - len(self._lengths)
        if missing > 0:
            # Doubled, so that items which end in order do not copy the arrays each time.
            missing = max(missing, len(self._lengths))
            self._spots.frombytes(bytes(8 * missing))
            self._lengths.frombytes(bytes(self._lengths.itemsize * missing))
        self._spots[index] = offset << 1 | source
        self._lengths[index] = length

    def copy(self, index: int, other: Places, other_index: int) -> None:
        """The line of item `index` is the one that `other` has for `other_index`, if it has one."""
        if (place := other.get(other_index)) is not None:
            self.put(index, *place)

    def get(self, index: int) -> tuple[int, int, int] | None:
        """(source, offset, length) of the line of item `index`, None if it has none."""
        if index >= len(self._lengths) or not (length := self._lengths[index]):
            return None
        spot = self._spots[index]
        return spot & 1, spot >> 1, length

    @property
    def last(self) -> int:
        """The highest index that has a line; 0 if there is none above it."""
        return max((index for index, length in enumerate(self._lengths) if length), default=0)

    def remove(self, index: int) -> None:
        """Item `index` has no line any more."""
        if index < len(self._lengths):
            self._lengths[index] = 0


class Sources:
    """The two files that places point into. Both have one format. What is asked for again and again is read once."""

    def __init__(self, checkpoint: SourceFile, journal: SourceFile, format_: Format = TODAY) -> None:
        self._files = (checkpoint, journal)
        self._format = format_
        self._last: tuple[tuple[int, int, int], Record] | None = None
        """The record that was read last: who shows an item asks several times in a row what came of it."""

    def path(self, source: int) -> Path:
        """Where one of the two lies."""
        return self._files[source].path

    def moments(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Bytes and time of the last write (nanoseconds) of checkpoint and journal, as they are now."""
        checkpoint, journal = self._files
        return checkpoint.moment(), journal.moment()

    def line(self, place: tuple[int, int, int]) -> bytes:
        """The line at `place`. Raises StateRefusedError."""
        source, offset, length = place
        return self._files[source].read(offset, length)

    def record(self, place: tuple[int, int, int]) -> Record:
        """The record at `place`. Raises StateRefusedError."""
        last = self._last
        if last is not None and last[0] == place:
            return last[1]
        record = self._format.decode_record(self.line(place), self._files[place[0]].path)
        self._last = place, record
        return record
