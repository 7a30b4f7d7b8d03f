"""Makes the document of a checkpoint (`checkpoint` shows its shape) from a run's history.

Order of its records: header, last supervisor, workers that still matter, what was set since, listings; then for each item in
(job, index) order what it was asked and answered, its last end, what settled it since, and its open start; then how its job was
closed; the run's last word at the end. Lines of items are copied from the files where they stand: no outcome is decoded or kept.

Nothing is written here: who takes the chunks writes them whole to a new file, and renames it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import msgspec

from orchestrator.store.checkpoint import HEAD_END, SEPARATOR
from orchestrator.store.formats import FORMAT
from orchestrator.store.job_history import JobHistory
from orchestrator.store.lines import CheckpointHead
from orchestrator.store.places import CHECKPOINT, Places, Sources
from orchestrator.store.records import ItemsListed, JobClosed, ListingFailed, ListOutdated, Record, Reopened
from orchestrator.store.run_dir import journal_name
from orchestrator.store.run_history import RunHistory
from orchestrator.store.settings_records import SlotsSet
from orchestrator.store.source_file import BLOCK_BYTES
from orchestrator.store.spending_records import JobSpent, Spent
from orchestrator.workers.byte_text import encode_json


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
        # Each line's place is noted while the document is laid out: the history reads from the checkpoint afterwards.
        buffer = bytearray(encode_json(head)[:-1] + HEAD_END)
        crc = 0
        written = 0
        separator = b""
        for line, places, index in self._lines():
            buffer += separator
            if places is not None:
                places.put(index, CHECKPOINT, written + len(buffer), len(line))
            buffer += line
            separator = SEPARATOR
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
        """(line, places, index): of an item's line also where its place is noted."""
        history = self._history
        # What is known of the run, and of each job as a whole, comes before anything of an item: the fold needs the lists first.
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
            yield encode_json(fact), None, 0
        for job in history.jobs.values():
            yield from self._item_lines(job)
            queued = [start for start in history.queued.values() if start.job == job.id]
            for record in (*job.retries.values(), *queued):
                yield encode_json(record), None, 0
            if job.closed is not None:
                yield encode_json(JobClosed(job=job.id, status=job.closed, message=job.skipped_because)), None, 0
        for told in history.cancelling.values():
            yield encode_json(told), None, 0
        if history.ended is not None:
            yield encode_json(history.ended), None, 0

    def _item_lines(self, job: JobHistory) -> Iterator[tuple[bytes, Places | None, int]]:
        """The lines of one job's items, in an order that folds to the same: each later line may take back an earlier one."""
        new = self._places[job.id] = _JobPlaces(Places(), Places(), {})
        history = self._history
        for index in range(job.known):
            for record in _gate_records(job, index):
                yield encode_json(record), None, 0
            # The ends of a loop's rounds. The last of them may be the item's last end: then one line serves both.
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
                if last_round:
                    new.rounds[index].copy(last_round, new.ends, index)
            # What came of the item since its last end: a start that was settled, a settlement, a start that is open.
            if (unended := job.unended.get(index)) is not None:
                yield encode_json(unended), None, 0
            if (place := job.settlements.get(index)) is not None:
                yield history.sources.line(place), new.settlements, index
                is_told = True
            if (start := history.open_starts.get((job.id, index))) is not None:
                yield encode_json(start), None, 0
            # Its end, or its settlement, would else be its last word again.
            if job.is_to_run(index) and is_told:
                yield encode_json(Reopened(job=job.id, indices=[index])), None, 0


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
    if job.growing is not None:
        yield job.growing
    elif job.count is not None:
        yield ItemsListed(job=job.id, count=job.count, revision=job.list_revision)
    if job.is_outdated:
        yield ListOutdated(job=job.id)
    if job.listing_failed is not None:
        yield ListingFailed(job=job.id, message=job.listing_failed)
