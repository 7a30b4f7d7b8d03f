"""What a person should know of an agent's success: in how far nothing may have been done, or not all of it.

A CLI calls its attempt a success whatever came of it, as long as it could ask its model to the end.
"""

from __future__ import annotations

from .failures import short
from .told import ToldSoFar

_MOST_TROUBLES = 20


class Notes:
    """`trouble` and `mend` as the stream tells; `of_success` at the end."""

    def __init__(self) -> None:
        self._troubles: dict[str, int] = {}

    def trouble(self, words: str) -> None:
        """Something went wrong, for which the attempt need not fail."""
        words = short(words)
        if words in self._troubles or len(self._troubles) < _MOST_TROUBLES:
            self._troubles[words] = self._troubles.get(words, 0) + 1

    def mend(self, words: str) -> None:
        """What went wrong in these words has gone well since."""
        self._troubles.pop(short(words), None)

    def of_success(self, told: ToldSoFar, open_tasks: int) -> list[str]:
        """All notes, in words. `open_tasks`: so many tasks of its own had not ended."""
        notes = [] if told.structured is not None or (told.answer or "").strip() else ["nothing was said"]
        notes += ["it took no turn"] if told.turns == 0 else []
        notes += [words if count == 1 else f"{words} ({count} times)" for words, count in self._troubles.items()]
        return [*notes, f"{open_tasks} of its tasks had not ended"] if open_tasks else notes
