"""Answers of agents that are held against their schemas beside the loop: one may take for ever, and the others are not its own.

Promise: each is told once. A few are judged at once, each in a process of its own; the others wait, the oldest first. Where the
supervisor ends before, nothing is lost: the attempt has no end in the records, and its outcome is in the log of its worker.
"""

from __future__ import annotations

import select
from collections import deque
from collections.abc import Callable, Iterator

from orchestrator.jobsfile.answer_schema import JUDGE_CPU_SECONDS
from orchestrator.system.judged_apart import Judgement

Told = tuple[int, bytes | None]
"""The number of what was judged, and what its judge has told; None: it was ended before."""


class Judgements:
    """Of one run. So many are under way at once."""

    def __init__(self, most_at_once: int) -> None:
        self._most_at_once = most_at_once
        # One descriptor for all of them: numbers of pipes come again, and whoever watches those would not see it.
        self._poll = select.epoll()
        self._under_way: dict[int, tuple[int, Judgement]] = {}
        """By descriptor: its number, and what tells it."""
        self._waiting: deque[tuple[int, Callable[[], bytes]]] = deque()
        self._told: deque[Told] = deque()

    def begin(self, number: int, judge: Callable[[], bytes]) -> None:
        """Have `judge` called, in a process of its own; `number` is told with what it returns."""
        self._waiting.append((number, judge))
        self._begin_waiting()

    def fileno(self) -> int:
        """Readable when `take_told` has something to read."""
        return self._poll.fileno()

    def take_told(self) -> Iterator[Told]:
        """What has been told by now. Call it when `fileno` is readable."""
        for fileno, _ in self._poll.poll(0):
            if self._under_way[fileno][1].take_in():
                yield self._end(fileno)

    @property
    def next_look(self) -> float | None:
        """When `end_late` is due (monotonic seconds); None: nothing is under way."""
        if self._told:
            return 0.0
        return min((judgement.deadline for _, judgement in self._under_way.values()), default=None)

    def end_late(self, now: float) -> Iterator[Told]:
        """End what takes too long, and tell it; and what was judged without a process, for want of room."""
        while self._told:
            yield self._told.popleft()
        for fileno in [fileno for fileno, (_, judgement) in self._under_way.items() if judgement.deadline <= now]:
            yield self._end(fileno)

    def close(self) -> None:
        """End what is under way: nobody is there to hear of it."""
        self._waiting.clear()
        for fileno in list(self._under_way):
            self._end(fileno)
        self._poll.close()

    def _end(self, fileno: int) -> Told:
        self._poll.unregister(fileno)
        number, judgement = self._under_way.pop(fileno)
        told = judgement.end()
        self._begin_waiting()
        return number, told

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._under_way) < self._most_at_once:
            number, judge = self._waiting[0]
            try:
                judgement = Judgement(judge, JUDGE_CPU_SECONDS)
            except OSError:
                # No room for a process just now. One that ends makes room; without one the answer is judged all the same.
                if self._under_way:
                    return
                self._told.append((number, _judged_here(judge)))
            else:
                self._under_way[judgement.fileno()] = number, judgement
                self._poll.register(judgement, select.EPOLLIN)
            self._waiting.popleft()


def _judged_here(judge: Callable[[], bytes]) -> bytes | None:
    try:
        return judge()
    except Exception:
        return None  # it broke off, as it would have in a process of its own
