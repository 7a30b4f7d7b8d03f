"""What a person should know of an agent's success: in how far nothing may have been done, or not all of it.

A CLI calls its attempt a success whatever came of it, as long as it could ask its model to the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..protocol import Usage
from .failures import short
from .told import ToldSoFar

_MOST_TROUBLES = 20
_MOST_TASKS = 1000


class _Trouble(msgspec.Struct):
    """How often it happened; `tasks`: to which of the agent's tasks, where that is told: several events may tell of one."""

    count: int = 0
    tasks: set[str] = msgspec.field(default_factory=set)

    @property
    def times(self) -> int:
        return self.count + len(self.tasks)


class Notes:
    """`trouble` and `mend` as the stream tells; `of_success` at the end."""

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}

    def trouble(self, words: str, tasks: Sequence[str]) -> None:
        """Something went wrong, for which the attempt need not fail. `tasks`: the names of those that it befell."""
        words = short(words)
        if words not in self._troubles and len(self._troubles) >= _MOST_TROUBLES:
            return
        trouble = self._troubles.setdefault(words, _Trouble())
        if not tasks:
            trouble.count += 1
        elif len(trouble.tasks) < _MOST_TASKS:
            trouble.tasks.update(tasks[:_MOST_TASKS])

    def mend(self, words: str) -> None:
        """What went wrong in these words has gone well since."""
        self._troubles.pop(short(words), None)

    def of_success(self, told: ToldSoFar, open_tasks: int) -> list[str]:
        """All notes, in words. `open_tasks`: so many tasks of its own had not ended."""
        notes = [] if told.structured is not None or (told.answer or "").strip() else ["nothing was said"]
        notes += ["it took no turn"] if told.turns == 0 else []
        notes += ["it used no tokens"] if _is_nothing(told.usage) else []
        notes += [words if each.times == 1 else f"{words} ({each.times} times)" for words, each in self._troubles.items()]
        return [*notes, f"{open_tasks} of its tasks had not ended"] if open_tasks else notes


def _is_nothing(usage: Usage | None) -> bool:
    """Whether all that was told is 0: of nothing told that is not known."""
    return usage is not None and not any(msgspec.structs.astuple(usage))
