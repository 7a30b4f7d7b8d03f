"""The status and the number of attempts of each item of a job, and whether its end has a note: 2 bytes an item, 3 from the first
note on, and a count for each status.

Nothing is listed here: an index that no record has told of is pending, and has had no attempt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.store.records import Status

_STATUSES = list(Status)
_CODES: dict[Status, int] = {status: code for code, status in enumerate(_STATUSES)}
_PENDING = _CODES[Status.PENDING]
assert _PENDING == 0, "new places of a column are zero bytes"

_MANY = 255
"""So many attempts, or more, are no number in a column: it stands in a dict."""


class ItemColumns:
    """Of one job."""

    def __init__(self) -> None:
        self._statuses = bytearray()
        self._attempts = bytearray()
        self._many_attempts: dict[int, int] = {}
        self._notes = bytearray()
        self._counts = [0] * len(_STATUSES)

    def __len__(self) -> int:
        """Every item that a record tells of has an index below this."""
        return len(self._statuses)

    def status(self, index: int) -> Status:
        return _STATUSES[self._statuses[index]] if index < len(self._statuses) else Status.PENDING

    def attempts(self, index: int) -> int:
        """The number of the item's last attempt; 0 before the first."""
        number = self._attempts[index] if index < len(self._attempts) else 0
        return number if number < _MANY else self._many_attempts[index]

    def put(self, index: int, status: Status, attempt: int = 0) -> None:
        """The item is `status` now. `attempt`: the number of its last attempt; 0: as before."""
        statuses = self._statuses
        if index >= len(statuses):
            self._extend(index + 1)
        code, counts = _CODES[status], self._counts
        counts[statuses[index]] -= 1
        counts[code] += 1
        statuses[index] = code
        if attempt >= _MANY:
            self._many_attempts[index] = attempt
            self._attempts[index] = _MANY
        elif attempt:
            self._attempts[index] = attempt

    def put_new(self, first: int, status: Status, attempts: Sequence[int]) -> None:
        """The items from `first` on, none of which was put before, are `status`; of each the number of its last attempt."""
        if max(attempts) >= _MANY:
            for index, attempt in enumerate(attempts, first):
                self.put(index, status, attempt)
            return
        self._extend(first)
        code = _CODES[status]
        self._counts[_PENDING] -= len(attempts)
        self._counts[code] += len(attempts)
        self._statuses += bytes([code]) * len(attempts)
        self._attempts += bytes(attempts)

    def _extend(self, end: int) -> None:
        """The columns go to before item `end`: those that are new are pending. What comes in order does not copy them each time:
        a bytearray keeps room for more."""
        missing = bytes(end - len(self._statuses))
        self._statuses += missing
        self._attempts += missing

    def put_note(self, index: int, *, is_noted: bool) -> None:
        """Whether people should know more of how the item ended. It must have been put."""
        if is_noted and index >= len(self._notes):
            self._notes.extend(bytes(len(self._statuses) - len(self._notes)))
        if index < len(self._notes):
            self._notes[index] = is_noted

    def noted(self) -> Iterator[int]:
        """The items whose end has a note, in order, whatever they are now."""
        return _places_of(1, self._notes)

    def counts(self) -> dict[Status, int]:
        """How many items have each status; that of pending ones is below 0 by how many have left it."""
        return dict(zip(_STATUSES, self._counts, strict=True))

    def indices(self, status: Status, count: int) -> Iterator[int]:
        """The items of a list of `count` that have `status`, in order. Also beyond the list, if they are not pending."""
        code = _CODES[status]
        yield from (index for index in _places_of(code, self._statuses) if code or index < count)
        if code == _PENDING:
            yield from range(len(self._statuses), count)

    def pending_in(self, first: int, end: int) -> int:
        """How many of the items from `first` up to before `end` are pending."""
        known = self._statuses
        return known.count(_PENDING, first, end) + max(end - max(first, len(known)), 0)


def _places_of(code: int, column: bytearray) -> Iterator[int]:
    """Where `code` stands in `column`, in order."""
    index = column.find(code)
    while index >= 0:
        yield index
        index = column.find(code, index + 1)
