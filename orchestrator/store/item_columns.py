"""The status and the number of attempts of each item of a job, and whether its end has a note: 5 bytes an item, 6 from the first
note on, and a count for each status.

Nothing is listed here: an index that no record has told of is pending, and has had no attempt.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from orchestrator.store.records import Status

_STATUSES = list(Status)
_CODES: dict[Status, int] = {status: code for code, status in enumerate(_STATUSES)}
_PENDING = _CODES[Status.PENDING]
assert _PENDING == 0, "new places of a column are zero bytes"


class ItemColumns:
    """Of one job."""

    def __init__(self) -> None:
        self._statuses = array("B")
        self._attempts = array("I")
        self._notes = bytearray()
        self._counts = [0] * len(_STATUSES)
        self._end = 0

    def __len__(self) -> int:
        """Every item that a record tells of has an index below this."""
        return self._end

    def status(self, index: int) -> Status:
        return _STATUSES[self._statuses[index]] if index < len(self._statuses) else Status.PENDING

    def attempts(self, index: int) -> int:
        """The number of the item's last attempt; 0 before the first."""
        return self._attempts[index] if index < len(self._attempts) else 0

    def put(self, index: int, status: Status, attempt: int = 0) -> None:
        """The item is `status` now. `attempt`: the number of its last attempt; 0: as before."""
        statuses = self._statuses
        if index >= self._end:
            self._make_room(index + 1)
        code, counts = _CODES[status], self._counts
        counts[statuses[index]] -= 1
        counts[code] += 1
        statuses[index] = code
        if attempt:
            self._attempts[index] = attempt

    def put_new(self, first: int, status: Status, attempts: Sequence[int]) -> None:
        """The items from `first` on, none of which was put before, are `status`; of each the number of its last attempt."""
        end = first + len(attempts)
        self._make_room(end)
        code = _CODES[status]
        self._counts[_PENDING] -= len(attempts)
        self._counts[code] += len(attempts)
        self._statuses[first:end] = array("B", [code]) * len(attempts)
        self._attempts[first:end] = array("I", attempts)

    def _make_room(self, end: int) -> None:
        """The items up to before `end` are put now, or were."""
        self._end = end
        if end > len(self._statuses):
            # A power of two, so that items which come in order do not copy the arrays each time, however many come at once.
            missing = (1 << (end - 1).bit_length()) - len(self._statuses)
            self._statuses.frombytes(bytes(missing))
            self._attempts.frombytes(bytes(self._attempts.itemsize * missing))

    def put_note(self, index: int, *, is_noted: bool) -> None:
        """Whether people should know more of how the item ended. It must have been put."""
        if is_noted and index >= len(self._notes):
            self._notes.extend(bytes(len(self._statuses) - len(self._notes)))
        if index < len(self._notes):
            self._notes[index] = is_noted

    def noted(self) -> Iterator[int]:
        """The items whose end has a note, in order, whatever they are now."""
        index = self._notes.find(1)
        while index >= 0:
            yield index
            index = self._notes.find(1, index + 1)

    def counts(self) -> dict[Status, int]:
        """How many items have each status; that of pending ones is below 0 by how many have left it."""
        return dict(zip(_STATUSES, self._counts, strict=True))

    def indices(self, status: Status, count: int) -> Iterator[int]:
        """The items of a list of `count` that have `status`, in order. Also beyond the list, if they are not pending."""
        code = _CODES[status]
        yield from (index for index, each in enumerate(self._statuses) if each == code and (code or index < count))
        if code == _PENDING:
            yield from range(len(self._statuses), count)

    def pending_in(self, first: int, end: int) -> int:
        """How many of the items from `first` up to before `end` are pending."""
        known = self._statuses
        return known[first:end].count(_PENDING) + max(end - max(first, len(known)), 0)
