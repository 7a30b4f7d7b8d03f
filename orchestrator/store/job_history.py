"""What the records say of one job and its items.

Memory: about 10 bytes an item. Statuses, attempts and the places of lines stand in arrays; a record itself is read from disk
when somebody asks for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import assert_never

import msgspec

from orchestrator.store.gate_records import GateAnswered, GateAsked
from orchestrator.store.item_columns import ItemColumns
from orchestrator.store.lines import EndLine, Said, SettledLine, decode_line
from orchestrator.store.list_records import ListGrew
from orchestrator.store.places import Places, Sources
from orchestrator.store.records import (
    AttemptEnded,
    ItemsChosen,
    ItemSettled,
    ItemsListed,
    JobClosed,
    ListingFailed,
    ListOutdated,
    Record,
    RetryAsked,
    Started,
    Status,
)
from orchestrator.store.spending import Spending
from orchestrator.store.spending_records import JobSpent, Spent
from orchestrator.workers.protocol import Outcome


class GateHistory(msgspec.Struct):
    """One item of a gate: its last question, the answer to it, and the last answer that sent items back.

    Without a question the gate is to be asked, perhaps anew.
    """

    question: GateAsked | None = None
    answer: GateAnswered | None = None
    sent_back: GateAnswered | None = None


class JobHistory:
    """What the records say of one job's items. `count` is None until its items are listed."""

    def __init__(self, job_id: str, sources: Sources) -> None:
        self.id = job_id
        self.count: int | None = None
        self.chosen: ItemsChosen | None = None
        """Which of its items are selected; None: all."""
        self.list_revision = 0
        """Which file has the item list (`RunDir.items`)."""
        self.growing: ListGrew | None = None
        """How far its list stands, as long as it grows; `count` is then what is known so far."""
        self.is_outdated = False
        """Whether its list is to be evaluated again before anything more of the job starts."""
        self.gone: set[int] = set()
        """Items whose values are no longer in the list."""
        self.listing_failed: str | None = None
        self.closed: str | None = None
        self.skipped_because = ""
        """Why it was closed before it had any items, in words."""
        self.sources = sources
        self.ends = Places()
        self.settlements = Places()
        self.rounds: dict[int, Places] = {}
        """Of an item of a loop: where the end of each of its rounds stands, by the number of the round."""
        self.unended: dict[int, Started] = {}
        """By item: its last start, if the item was settled without an end. It tells how many attempts there were."""
        self.retries: dict[int, RetryAsked] = {}
        """By item: the last request for one more time."""
        self.gates: dict[int, GateHistory] = {}
        """By item, of a gate: its question and the answers."""
        self.spending = Spending()
        self._damaged: set[int] = set()
        """Items that had succeeded, and whose outcome was lost or spoiled since."""
        self._items = ItemColumns()
        self._stale: set[int] = set()

    @property
    def known(self) -> int:
        """Every item that a record tells of has an index below this."""
        return len(self._items)

    def status(self, index: int) -> Status:
        """What item `index` is; `running` means that an attempt started and its end is not recorded."""
        status = self._items.status(index)
        if status is Status.PENDING and self.chosen is not None and not self._is_chosen(index):
            return Status.SKIPPED
        return status

    def is_to_run(self, index: int) -> bool:
        """Whether the item has its turn still before it, or once more, should it be selected."""
        return self._items.status(index) is Status.PENDING

    def attempts(self, index: int) -> int:
        """The number of the last attempt of item `index`, so how many have been started; 0 before the first."""
        return self._items.attempts(index)

    def rounds_done(self, index: int) -> int:
        """How many rounds of a loop item `index` has done (since it began anew the last time)."""
        return self.rounds[index].last if index in self.rounds else 0

    def round_end(self, index: int, number: int) -> AttemptEnded | None:
        """The end of round `number` of item `index`, read from disk; None if it has not done it. Raises StateRefusedError."""
        place = self.rounds[index].get(number) if index in self.rounds else None
        record = self.sources.record(place) if place else None
        assert record is None or isinstance(record, AttemptEnded)
        return record

    def is_stale(self, index: int) -> bool:
        """Whether a succeeded item's inputs have changed since."""
        return index in self._stale

    def is_void(self, index: int) -> bool:
        """Whether the outcome of the item's last attempt is its own no more: it was set back, skipped or refused since."""
        return self.settlements.get(index) is not None and self.status(index) is not Status.SUCCEEDED

    def is_set_back(self, index: int) -> bool:
        """Whether an update set the item back, and it has not had its turn since. Raises StateRefusedError."""
        if self.settlements.get(index) is None or self.status(index) is not Status.PENDING:
            return False
        record = self.record(index)
        return isinstance(record, ItemSettled) and record.status is Status.PENDING

    def counts(self) -> dict[Status, int]:
        """How many items have each status; every status is there."""
        counts = self._items.counts()
        # Until its items are listed, nobody knows how many of them wait for their turn.
        counts[Status.PENDING] = max(counts[Status.PENDING] + (self.count or 0), 0)
        if self.chosen is not None:
            waiting = self._chosen_and_pending()
            counts[Status.SKIPPED] += counts[Status.PENDING] - waiting
            counts[Status.PENDING] = waiting
        return counts

    def indices(self, status: Status) -> Iterator[int]:
        """The items that have `status`, in order."""
        if self.chosen is not None and status in (Status.PENDING, Status.SKIPPED):
            yield from (index for index in range(self.count or 0) if self.status(index) is status)
            return
        yield from self._items.indices(status, self.count or 0)

    def noted_successes(self) -> Iterator[int]:
        """The items that succeeded and of which people should know more (`outcome_in_words` of their last end), in order."""
        return (index for index in self._items.noted() if self._items.status(index) is Status.SUCCEEDED)

    def record(self, index: int) -> AttemptEnded | ItemSettled | None:
        """The last word on item `index`, read from disk. Raises StateRefusedError."""
        place = self.settlements.get(index) or self.ends.get(index)
        record = self.sources.record(place) if place else None
        if record is None and self.chosen is not None and self.status(index) is Status.SKIPPED:
            return ItemSettled(job=self.id, index=index, status=Status.SKIPPED, message=self.chosen.message)
        assert record is None or isinstance(record, AttemptEnded | ItemSettled)
        return record

    def last_end(self, index: int) -> AttemptEnded | None:
        """The last attempt's end, read from disk, also when the item was settled otherwise since. Raises StateRefusedError."""
        place = self.ends.get(index)
        record = self.sources.record(place) if place else None
        assert record is None or isinstance(record, AttemptEnded)
        return record

    def unsettled_ends(self, indices: Iterable[int]) -> Iterator[Record | None]:
        """Of each of these items its `last_end` if that is the last word on it; else None. Many are read from disk at once.

        Raises StateRefusedError.
        """
        settled, ended = self.settlements.get, self.ends.get
        if not self.settlements:
            return self.sources.records(map(ended, indices))
        return self.sources.records(None if settled(index) else ended(index) for index in indices)

    def spent(self, index: int) -> Spent | None:
        """What item `index` has cost so far, read from disk; None if no agent worked for it. Raises StateRefusedError."""
        place = self.ends.get(index) if self.spending.is_known(index) else None
        line = decode_line(self.sources.line(place)) if place else None
        return line.spent if isinstance(line, EndLine) else None

    def started(self, start: Started, *, is_new: bool, is_open: bool) -> None:
        """An attempt is about to begin. `is_new`: the journal tells it, so it is not told once more by a checkpoint.

        `is_open`: the attempt before has no end yet.
        """
        index = start.index
        # Nobody had asked for this attempt: its item had succeeded, or another attempt of it was under way.
        if is_new and start.agent and (is_open or index in self._damaged or self._has_settled(index)):
            self.spending.paid_twice += 1
        self._damaged.discard(index)
        self._items.put(start.index, Status.RUNNING, start.attempt)
        # The first round of a loop forgets the rounds that the item had before it began anew.
        if start.round == 1:
            self.rounds.pop(start.index, None)
        if self.unended:
            self.unended.pop(start.index, None)

    def have_succeeded(
        self, first: int, attempts: Sequence[int], source: int, offsets: Sequence[int], lengths: Sequence[int]
    ) -> None:
        """The items from `first` on succeeded, of which nothing is known yet; of each the number of its attempt, and its line."""
        self._items.put_new(first, Status.SUCCEEDED, attempts)
        self.ends.put_all(first, source, offsets, lengths)

    def attempt_ended(self, record: EndLine | AttemptEnded, source: int, offset: int, length: int) -> None:
        """An attempt ended; its line stands at `offset` of `source`."""
        index = record.index
        # What the end before told is read from its place, so before the place is overwritten.
        if record.spent is not None:
            self.spending.take_end(index, record.spent, self.spent(index))
        self._items.put(index, record.status, record.attempt)
        self._items.put_note(index, is_noted=record.status is Status.SUCCEEDED and tells_more(record.outcome))
        self.ends.put(index, source, offset, length)
        if record.round:
            self.rounds.setdefault(index, Places()).put(record.round, source, offset, length)
        # An end is the last word: what settled the item before counts no more.
        self.settlements.remove(index)
        if self.unended:
            self.unended.pop(index, None)
        if self._stale:
            self._stale.discard(index)

    def settled(self, record: SettledLine | ItemSettled, start: Started | None, source: int, offset: int, length: int) -> None:
        """The item came to a status without an end. `start`: its attempt, if one had begun."""
        index = record.index
        # A paid success that became interrupted lost its output: its next attempt is paid for a second time.
        if record.status is Status.INTERRUPTED and self.spending.is_known(index) and self.status(index) is Status.SUCCEEDED:
            self._damaged.add(index)
        elif record.status is Status.PENDING:
            self._damaged.discard(index)
        self._items.put(index, record.status)
        self.settlements.put(index, source, offset, length)
        # The start stays known, or the next attempt would get its number.
        if start is not None:
            self.unended[index] = start
        if record.stale:
            self._stale.add(index)
        else:
            self._stale.discard(index)
        if record.gone:
            self.gone.add(index)
        else:
            self.gone.discard(index)
        # An update set the item back: from now on the jobs file says what it does, and a gate is asked anew.
        if record.status is Status.PENDING:
            self.retries.pop(index, None)
            if (gate := self.gates.get(index)) is not None:
                gate.question = gate.answer = None

    def _has_settled(self, index: int) -> bool:
        """Whether an agent has done the item well, and nothing has asked for it since."""
        return self.spending.is_known(index) and self.status(index) is Status.SUCCEEDED and index not in self._stale

    @property
    def unselected(self) -> int:
        """How many of its items are not selected, as far as they are known."""
        if self.chosen is None or self.count is None:
            return 0
        return self.count - sum(end - start for start, end in self._ranges)

    @property
    def has_none_chosen(self) -> bool:
        """Whether nothing of it is selected."""
        return self.chosen is not None and not self._ranges

    @property
    def _ranges(self) -> list[tuple[int, int]]:
        return (self.chosen.ranges if self.chosen is not None else None) or []

    def is_selected(self, index: int) -> bool:
        """Whether item `index` was selected when its job was listed."""
        return self.chosen is None or self._is_chosen(index)

    def _is_chosen(self, index: int) -> bool:
        place = bisect_right(self._ranges, index, key=itemgetter(0))
        return place > 0 and index < self._ranges[place - 1][1]

    def _chosen_and_pending(self) -> int:
        return sum(self._items.pending_in(start, end) for start, end in self._ranges)

    def apply(self, record: ItemsListed | ListGrew | ListOutdated | ItemsChosen | ListingFailed | JobSpent | JobClosed) -> None:
        """Take in a fact about the job as a whole."""
        match record:
            case ListGrew():
                self.count, self.growing = record.count, record
            case ItemsListed():
                self.count, self.growing = record.count, None
                self.list_revision = record.revision
                self.is_outdated = False
                self.listing_failed = None
            case ListOutdated():
                self.is_outdated = True
            case ItemsChosen():
                self.chosen = record if record.ranges is not None else None
            case ListingFailed():
                self.listing_failed = record.message
            case JobSpent():
                self.spending.take_former(record.spent, record.paid_twice)
            case JobClosed():
                self.closed = record.status
                self.skipped_because = record.message
            case _:
                assert_never(record)

    def asked(self, record: GateAsked) -> None:
        """A gate's question is out."""
        gate = self.gates.setdefault(record.index, GateHistory())
        gate.question, gate.answer = record, None
        self._items.put(record.index, Status.WAITING)
        self.settlements.remove(record.index)

    def answered(self, record: GateAnswered) -> None:
        """Somebody made the choice."""
        self.gates.setdefault(record.index, GateHistory()).answer = record

    def is_asking(self, index: int) -> bool:
        """Whether a choice is to be made: the question is out, also if nobody supervises the run just now."""
        gate = self.gates.get(index)
        is_open = gate is not None and gate.question is not None and gate.answer is None
        return is_open and self.status(index) in (Status.WAITING, Status.INTERRUPTED)

    def reopened(self, indices: list[int]) -> None:
        """These items run again, from their first round; how many attempts they have had is kept."""
        self.closed = None
        for index in indices:
            self._items.put(index, Status.PENDING)
            self.rounds.pop(index, None)
            self._stale.discard(index)
            self._damaged.discard(index)
            if (gate := self.gates.get(index)) is not None:
                gate.sent_back = gate.answer or gate.sent_back
                gate.question = gate.answer = None


def tells_more(outcome: Said | Outcome) -> bool:
    """Whether there are words of a success for people."""
    agent = outcome.agent
    return bool(outcome.message or (agent is not None and (agent.notes or agent.denials)))
