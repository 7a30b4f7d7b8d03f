"""The checkpoint: a run's compacted history, one JSON document laid out one record a line.

```
{"format":1,"run":ID,"generation":G,"journal":"journal-G.jsonl","next_sequence":N,"next_worker":N,"counts":{…},"records":[
{"type":"run",…},
…
],"crc":C}
```

Its records fold to the same history as all records before it did: header, last supervisor, workers that still matter, what was
set since, listings, then for each item in (job, index) order what it was asked and answered, its last end, what settled it since,
and its open start, and how its job was closed; the run's last word at the end. Lines of items are copied from the files where
they stand: no outcome is decoded or kept.

`crc` is the CRC-32 of everything before the last line. A damaged checkpoint, or one of a newer format, is refused.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from orchestrator.store.job_history import JobHistory
from orchestrator.store.lines import BLOCK_BYTES, Line, SourceFile, decode_line, decode_lines
from orchestrator.store.places import CHECKPOINT, Places, Sources
from orchestrator.store.records import (
    FORMAT,
    ItemsListed,
    JobClosed,
    JobSpent,
    ListingFailed,
    ListOutdated,
    Record,
    Reopened,
    RunHeader,
    SlotsSet,
    Spent,
    Status,
)
from orchestrator.store.refusals import newer, refused
from orchestrator.store.run_history import RunHistory

_SEPARATOR = b",\n"
_HEAD_END = b',"records":[\n'
_LAST_LINE = re.compile(rb'\n\],"crc":(\d{1,10})\}\n\Z')
_LAST_LINE_BYTES = len('\n],"crc":4294967295}\n')

_encode = msgspec.json.Encoder().encode


class CheckpointHead(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a checkpoint. `counts` has, for each job, how many items have each status (none with 0)."""

    format: int
    run: str
    generation: int
    journal: str
    next_sequence: int
    next_worker: int
    counts: dict[str, dict[Status, int]]


class _Format(msgspec.Struct):
    format: int


_head_decoder = msgspec.json.Decoder(CheckpointHead)
_format_decoder = msgspec.json.Decoder(_Format)


def journal_name(generation: int) -> str:
    """Name of the journal that belongs to checkpoint `generation`."""
    return f"journal-{generation}.jsonl"


class _JobPlaces(msgspec.Struct):
    ends: Places
    settlements: Places
    rounds: dict[int, Places]


class CheckpointWriter:
    """The bytes of a checkpoint of `history`, whose generation will be `generation`; then, where each line stands in it."""

    def __init__(self, history: RunHistory, generation: int) -> None:
        self._history = history
        self._generation = generation
        self._places: dict[str, _JobPlaces] = {}
        self.size = 0

    def chunks(self) -> Iterator[bytes]:
        """The document in pieces of about a block. The history must not change meanwhile."""
        history = self._history
        head = CheckpointHead(
            format=FORMAT,
            run=history.header.run_id,
            generation=self._generation,
            journal=journal_name(self._generation),
            next_sequence=history.next_sequence,
            next_worker=history.next_worker,
            counts={job.id: {s: n for s, n in job.counts().items() if n} for job in history.jobs.values()},
        )
        buffer = bytearray(_encode(head)[:-1] + _HEAD_END)
        crc = 0
        written = 0
        separator = b""
        for line, places, index in self._lines():
            buffer += separator
            if places is not None:
                places.put(index, CHECKPOINT, written + len(buffer), len(line))
            buffer += line
            separator = _SEPARATOR
            if len(buffer) >= BLOCK_BYTES:
                crc = zlib.crc32(buffer, crc)
                written += len(buffer)
                yield bytes(buffer)
                buffer.clear()
        crc = zlib.crc32(buffer, crc)
        buffer += b'\n],"crc":%d}\n' % crc
        self.size = written + len(buffer)
        yield bytes(buffer)

    def adopt(self, sources: Sources) -> None:
        """The checkpoint has been written and `sources` reads it: the history takes it from there from now on."""
        history = self._history
        history.generation = self._generation
        history.sources = sources
        for job in history.jobs.values():
            places = self._places[job.id]
            job.sources = sources
            job.ends = places.ends
            job.settlements = places.settlements
            job.rounds = places.rounds

    def _lines(self) -> Iterator[tuple[bytes, Places | None, int]]:
        """Each line, and the column that will remember its place (for items)."""
        history = self._history
        facts: list[Record] = [history.header]
        if history.supervisor is not None:
            facts.append(history.supervisor)
        facts += history.workers.values()
        if history.slots_set is not None:
            facts.append(SlotsSet(slots=history.slots_set))
        facts += history.budgets_set.values()
        if history.selection != history.header.options.selection:
            facts.append(history.selection)
        for job in history.jobs.values():
            facts += _listing_of(job)
        for fact in facts:
            yield _encode(fact), None, 0
        for job in history.jobs.values():
            yield from self._item_lines(job)
            for retry in job.retries.values():
                yield _encode(retry), None, 0
            if job.closed is not None:
                yield _encode(JobClosed(job=job.id, status=job.closed)), None, 0
        if history.ended is not None:
            yield _encode(history.ended), None, 0

    def _item_lines(self, job: JobHistory) -> Iterator[tuple[bytes, Places | None, int]]:
        new = self._places[job.id] = _JobPlaces(Places(), Places(), {})
        history = self._history
        for index in range(job.known):
            for record in _gate_records(job, index):
                yield _encode(record), None, 0
            end = job.ends.get(index)
            is_told = end is not None
            last_round = 0
            for number in range(1, job.rounds_done(index) + 1):
                rounds = new.rounds.setdefault(index, Places())
                place = job.rounds[index].get(number)
                if place == end:
                    last_round = number
                elif place is not None:
                    yield history.sources.line(place), rounds, number
            if end is not None:
                yield history.sources.line(end), new.ends, index
                if last_round:  # one line, which both point at
                    new.rounds[index].copy(last_round, new.ends, index)
            if (unended := job.unended.get(index)) is not None:
                yield _encode(unended), None, 0
            if (place := job.settlements.get(index)) is not None:
                yield history.sources.line(place), new.settlements, index
                is_told = True
            if (start := history.open_starts.get((job.id, index))) is not None:
                yield _encode(start), None, 0
            if job.status(index) is Status.PENDING and is_told:
                yield _encode(Reopened(job=job.id, indices=[index])), None, 0


def _gate_records(job: JobHistory, index: int) -> Iterator[Record]:
    """What was asked and answered, in an order that folds to the same."""
    gate = job.gates.get(index)
    if gate is None:
        return
    if gate.sent_back is not None:
        yield gate.sent_back
        yield Reopened(job=job.id, indices=[index])
    if gate.question is not None:
        yield gate.question
    if gate.answer is not None:
        yield gate.answer


def _listing_of(job: JobHistory) -> Iterator[Record]:
    """What is known of the job, or of its list, as a whole."""
    if job.spending.former != Spent() or job.spending.paid_twice:
        yield JobSpent(job=job.id, spent=job.spending.former, paid_twice=job.spending.paid_twice)
    if job.chosen is not None:
        yield job.chosen
    if job.count is not None:
        yield ItemsListed(job=job.id, count=job.count, revision=job.list_revision)
    if job.is_outdated:
        yield ListOutdated(job=job.id)
    if job.listing_failed is not None:
        yield ListingFailed(job=job.id, message=job.listing_failed)


def read_head(source: SourceFile) -> tuple[CheckpointHead, int]:
    """The first line and its length in bytes. Raises StateRefusedError: damaged, or of a newer format."""
    line, end, _ = _from(source, 0).partition(b"\n")
    document = line.removesuffix(_HEAD_END[:-1]) + b"}"
    try:
        found = _format_decoder.decode(document).format
        if found > FORMAT:
            raise newer(source.path, found)
        head = _head_decoder.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused(source.path, f"damaged: {error}") from error
    if not end or not line.endswith(_HEAD_END[:-1]) or head.journal != journal_name(head.generation):
        raise refused(source.path, "damaged")
    return head, len(line) + 1


def _from(source: SourceFile, offset: int) -> bytes:
    """What stands at `offset`, at least to the end of the line or of the file."""
    data = b""
    while b"\n" not in data and (more := source.read(offset + len(data), 4096 + len(data))):
        data += more
    return data


def read_header(path: Path) -> RunHeader:
    """Only what the run is: cheap, and without a check of the rest. Raises FileNotFoundError, StateRefusedError."""
    source = SourceFile(path)
    _, start = read_head(source)
    header = decode_line(_from(source, start).partition(b"\n")[0].removesuffix(b","))
    if not isinstance(header, RunHeader):
        raise refused(path, "damaged: it has no header")
    return header


def read_lines(source: SourceFile, start: int) -> Iterator[tuple[Line, int, int]]:
    """(line, offset, length) of each record after the head of `start` bytes. Raises StateRefusedError.

    The checksum is checked before anything is yielded: a damaged number must not be believed, not even for a moment.
    """
    end = _check_whole(source)
    offset = start
    want = BLOCK_BYTES
    while offset < end:
        data = source.read(offset, min(want, end - offset))
        is_last = offset + len(data) >= end
        if not is_last:
            whole = data.rfind(_SEPARATOR)
            if whole < 0:
                want *= 2
                continue
            data = data[:whole]
        lines = data.split(_SEPARATOR)
        for raw, line in zip(lines, decode_lines(lines), strict=True):
            if line is None:
                raise refused(source.path, "has records of an unknown kind: newer?")
            yield line, offset, len(raw)
            offset += len(raw) + len(_SEPARATOR)
        want = BLOCK_BYTES


def _check_whole(source: SourceFile) -> int:
    """Where the records end. Raises StateRefusedError."""
    size = source.size()
    last = _LAST_LINE.search(source.read(max(size - _LAST_LINE_BYTES, 0), _LAST_LINE_BYTES))
    if last is None:
        raise refused(source.path, "damaged: it is not complete")
    end = size - len(last[0])
    crc = 0
    for offset in range(0, end, BLOCK_BYTES):
        crc = zlib.crc32(source.read(offset, min(BLOCK_BYTES, end - offset)), crc)
    if crc != int(last[1]):
        raise refused(source.path, "damaged: its checksum does not match")
    return end
