"""Which recorded attempt is played for an attempt of a replay.

Promise: an attempt is played only for what it was asked when it was recorded; else it is told in words what differs. What is
not compared: the prompt of a later attempt (it holds what a check said) and where things lie.

Attempts that only say how the provider or the machine was that day (limits, overload, a lost worker) are left out: a replay
waits for nobody. So the k-th attempt of an item in a replay is the k-th of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.attempts.replay.archive import CapsuleAttempt, read_capsule
from orchestrator.attempts.replay.asked import differences
from orchestrator.system.wording import how_many
from orchestrator.workers.protocol import AttemptClass, EndReason

_OF_THAT_DAY = frozenset(
    {
        AttemptClass.RATE_LIMIT,
        AttemptClass.OVERLOADED,
        AttemptClass.NETWORK,
        AttemptClass.USAGE_LIMIT,
        AttemptClass.LOST,
        AttemptClass.CANCELLED,
        AttemptClass.SHORTAGE,
        AttemptClass.NOT_BEGUN,
        AttemptClass.STATE_ERROR,
        AttemptClass.CANNOT_START,
    }
)

_MOST_COMPARED = 200
"""So many items are looked through for the one that differs least: only to say in words what differs."""

_ENDED_WELL = (None, EndReason.LINGERING)


class NotRecordedError(Exception):
    """The capsule has nothing to play for this attempt. One line in words."""


class Recorded:
    """The attempts of a capsule that was unpacked into `folder` (absolute)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        capsule = read_capsule(folder)
        self.run_id = capsule.run_id
        self._by_item: dict[tuple[str, int], list[CapsuleAttempt]] = {}
        for each in capsule.attempts:
            if each.record.attempt_class not in _OF_THAT_DAY:
                self._by_item.setdefault((each.job, each.index), []).append(each)
        self._by_asked: dict[tuple[str, frozenset[tuple[str, str]]], list[CapsuleAttempt]] = {}
        for (job, _), attempts in self._by_item.items():
            self._by_asked.setdefault((job, frozenset(attempts[0].record.asked.items())), attempts)

    def attempt(self, job: str, index: int, place: int, asked: Mapping[str, str]) -> CapsuleAttempt:
        """What is played for the attempt of that item that follows `place` others of it. Raises NotRecordedError."""
        missing = f"not in the capsule of run {self.run_id}"
        found = self._found(job, index, place, asked)
        if found is None:
            raise NotRecordedError(f"{missing}: {self._nearest(job, index, asked)}")
        if place >= len(found):
            had = how_many(len(found), "attempt")
            raise NotRecordedError(f"{missing}: this would be attempt {place + 1}, and it has {had}")
        if different := _mismatch(found[place], place, asked):
            raise NotRecordedError(f"{missing}: {'; '.join(different)}")
        return found[place]

    def _found(self, job: str, index: int, place: int, asked: Mapping[str, str]) -> list[CapsuleAttempt] | None:
        """The attempts of that item, or of one that was asked the same: the list of items may have changed since.

        In a loop each round asks something else than the first one did. Then the item with the same index counts, if its attempt
        at `place` was asked the same.
        """
        own = self._by_item.get((job, index))
        if own is not None and not _mismatch(own[0], 0, asked):
            return own
        same = self._by_asked.get((job, frozenset(asked.items())))
        if same is None and own is not None and place and not _mismatch(own[0], place, asked):
            return own
        return same

    def _nearest(self, job: str, index: int, asked: Mapping[str, str]) -> str:
        """What differs, in words."""
        own = self._by_item.get((job, index))
        others = [
            attempts
            for (each, _), attempts in self._by_item.items()
            if each == job and attempts is not own and attempts[0].record.asked
        ]
        candidates = ([own] if own is not None else []) + others[:_MOST_COMPARED]
        if not candidates:
            return f"no item of {job} was recorded"
        nearest = min(candidates, key=lambda attempts: len(_mismatch(attempts[0], 0, asked)))
        return "; ".join(_mismatch(nearest[0], 0, asked))

    def agent_at(self, job: str, index: int, place: int) -> str | None:
        """The agent that made that attempt of the item; None if that is not known."""
        attempts = self._by_item.get((job, index), ())
        report = attempts[min(place, len(attempts) - 1)].record.agent if attempts else None
        return report.agent if report is not None else None

    def find(self, job: str, index: int, attempt: int) -> CapsuleAttempt:
        """The recorded attempt of that number."""
        return next(each for each in self._by_item[job, index] if each.attempt == attempt)


def _mismatch(attempt: CapsuleAttempt, place: int, asked: Mapping[str, str]) -> list[str]:
    return differences(attempt.record.asked, asked, besides=("prompt",) if place else ())


def end_of(attempt: CapsuleAttempt) -> tuple[int, int]:
    """(exit code, signal or 0) that the player ends with. For an agent that we ended the player exits with 0: `is_told`."""
    record = attempt.record
    if record.ended_by is not None:
        return 0, 0
    return record.exit_code or 0, record.signal or 0


def is_told(attempt: CapsuleAttempt) -> bool:
    """Whether the class of the attempt is taken over as it was recorded, because no stream tells it.

    So it is where we ended the agent (a timeout, a stall).
    """
    record = attempt.record
    # A failed attempt's changes in a workspace of its own are not recorded: its check must not judge what lies there now.
    is_unseen = record.workspace is not None and record.attempt_class is AttemptClass.CHECK_FAILED
    # Stalled, though it had told a success: it waited for tasks of its own, and the player does not wait.
    return record.ended_by not in _ENDED_WELL or record.attempt_class is AttemptClass.STALLED or is_unseen
