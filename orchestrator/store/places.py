"""Where the lines of items stand in a run's two files, so that no record has to be kept in memory.

The files stay open, so places hold good even after a newer generation has replaced them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from orchestrator.store.formats import TODAY, Format
from orchestrator.store.records import Record
from orchestrator.store.source_file import BLOCK_BYTES, SourceFile

CHECKPOINT = 0
JOURNAL = 1

Place = tuple[int, int, int]
"""Source, offset and length of a line."""

_LENGTH_BITS = 23
_SPOT_BITS = 64 - _LENGTH_BITS
_SPOTS = (1 << _SPOT_BITS) - 1
_ELSEWHERE = (1 << _LENGTH_BITS) - 1
"""The length of a line whose place takes more bits than there are: it stands in a dict."""

_LONGEST_BLOCK = 1024
"""So many records that are not there are told of at once."""


class Places:
    """Where each item's line stands: `offset * 2 + source` and length in 8 bytes an item; 0 means none."""

    def __init__(self) -> None:
        self._places = array("Q")
        self._large: dict[int, Place] = {}

    def __bool__(self) -> bool:
        """Whether any item may have a line; False is certain."""
        return len(self._places) > 0

    def put(self, index: int, source: int, offset: int, length: int) -> None:
        """The line of item `index` stands at `offset` of `source`. `length` 0: it has none (a record that was never written)."""
        places = self._places
        if index >= len(places):
            # Items that end in order do not copy the array each time: it keeps room for more.
            places.frombytes(bytes(8 * (index + 1 - len(places))))
        spot = offset << 1 | source
        if length >= _ELSEWHERE or spot > _SPOTS:
            self._large[index] = source, offset, length
            spot, length = 0, _ELSEWHERE
        places[index] = length << _SPOT_BITS | spot if length else 0

    def put_all(self, first: int, source: int, offsets: Sequence[int], lengths: Sequence[int]) -> None:
        """As `put` for each of the items from `first` on."""
        last = first + len(offsets) - 1
        self.put(last, source, offsets[-1], lengths[-1])
        if max(lengths) < _ELSEWHERE and offsets[-1] << 1 <= _SPOTS - 1 and min(lengths):
            spots = [length << _SPOT_BITS | offset << 1 | source for offset, length in zip(offsets, lengths, strict=True)]
            self._places[first : last + 1] = array("Q", spots)
        else:
            for index, (offset, length) in enumerate(zip(offsets, lengths, strict=True), first):
                self.put(index, source, offset, length)

    def copy(self, index: int, other: Places, other_index: int) -> None:
        """The line of item `index` is the one that `other` has for `other_index`, if it has one."""
        if (place := other.get(other_index)) is not None:
            self.put(index, *place)

    def get(self, index: int) -> Place | None:
        """(source, offset, length) of the line of item `index`, None if it has none."""
        if index >= len(self._places) or not (place := self._places[index]):
            return None
        length, spot = place >> _SPOT_BITS, place & _SPOTS
        return self._large[index] if length == _ELSEWHERE else (spot & 1, spot >> 1, length)

    @property
    def last(self) -> int:
        """The highest index that has a line; 0 if there is none above it."""
        return max((index for index, place in enumerate(self._places) if place), default=0)

    def remove(self, index: int) -> None:
        """Item `index` has no line any more."""
        if index < len(self._places):
            self._places[index] = 0


class Sources:
    """The two files that places point into. Both have one format. What is asked for again and again is read once."""

    def __init__(self, checkpoint: SourceFile, journal: SourceFile, format_: Format = TODAY) -> None:
        self._files = (checkpoint, journal)
        self._format = format_
        self._last: tuple[Place, Record] | None = None
        """The record that was read last: who shows an item asks several times in a row what came of it."""

    def path(self, source: int) -> Path:
        """Where one of the two lies."""
        return self._files[source].path

    def moments(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Bytes and time of the last write (nanoseconds) of checkpoint and journal, as they are now."""
        checkpoint, journal = self._files
        return checkpoint.moment(), journal.moment()

    def line(self, place: Place) -> bytes:
        """The line at `place`. Raises StateRefusedError."""
        source, offset, length = place
        return self._files[source].read(offset, length)

    def record(self, place: Place) -> Record:
        """The record at `place`. Raises StateRefusedError."""
        last = self._last
        if last is not None and last[0] == place:
            return last[1]
        record = self._format.decode_record(self.line(place), self._files[place[0]].path)
        self._last = place, record
        return record

    def records(self, places: Iterable[Place | None]) -> Iterator[Record | None]:
        """The record at each of `places`, None for None: of those that stand one behind the other a block is read and decoded at
        once. Raises StateRefusedError."""
        block: list[Place | None] = []
        source, start, end = CHECKPOINT, 0, 0
        for place in places:
            if place is not None:
                begin = place[1]
                if place[0] != source or begin < end or begin + place[2] - start > BLOCK_BYTES:
                    yield from self._block(block, source, start, end)
                    block = []
                    source, start, _ = place
                end = begin + place[2]
            elif len(block) >= _LONGEST_BLOCK:
                yield from self._block(block, source, start, end)
                block = []
            block.append(place)
        yield from self._block(block, source, start, end)

    def _block(self, places: list[Place | None], source: int, start: int, end: int) -> Iterable[Record | None]:
        """The records at places of one file, which all stand between `start` and `end`."""
        there = [place for place in places if place is not None]
        if not there:
            return [None] * len(places)
        file = self._files[source]
        data = file.read(start, end - start)
        lines = [data[begin - start : begin - start + length] for _, begin, length in there]
        records = self._format.decode_records(lines, file.path)
        if len(there) == len(places):
            return records
        following = iter(records)
        return [None if place is None else next(following) for place in places]
