"""Whether an agent has told its end: its terminal event, what came behind that, and the tasks that it waits for.

States, by the events of its stream:

    working --success, failure--> ended --begin--> working
    ended well --progress, retry--> working, for a terminal event that work follows was none
    ended well, while a task is open, or since one told something or closed--> waiting --success--> ended

A CLI may wait, behind its first terminal event, for tasks that it had put into the background; when they close it works on, and
tells another terminal event, which counts.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..protocol.reading import EventMeaning

_MOST_TASKS = 10_000
_LONGEST_NAME = 200


class Ending:
    """`has_ended`: the last word is a terminal event; `has_succeeded`: and that was a success. `open_tasks` by their names."""

    def __init__(self) -> None:
        self.has_ended = False
        self.has_succeeded = False
        self.open_tasks: set[str] = set()
        self._has_heard_of_tasks = False
        self._is_taken_back = False

    @property
    def is_at_work_again(self) -> bool:
        """Whether it works, or may work, behind a success that it has told: the sums told with that are not its last ones."""
        return self._is_taken_back or self.is_waiting

    @property
    def is_waiting(self) -> bool:
        """Whether it has told a success, and may yet work on what its tasks come to."""
        return self.has_succeeded and (bool(self.open_tasks) or self._has_heard_of_tasks)

    def hear(self, means: EventMeaning | None) -> None:
        """What an event means; most say nothing of its end."""
        match means:
            case "success" | "failure":
                self.has_ended = True
                self.has_succeeded = means == "success"
                self._has_heard_of_tasks = self._is_taken_back = False
            case "begin":
                self._take_back()
            case "progress" | "retry" if self.has_succeeded:
                self._take_back()

    def _take_back(self) -> None:
        self._is_taken_back = self._is_taken_back or self.has_succeeded
        self.has_ended = self.has_succeeded = False

    def hear_of_tasks(self, means: EventMeaning, names: Sequence[str]) -> None:
        """What has become of its tasks. What is no name, or one too many, is passed over."""
        known = [name for name in names if 0 < len(name) <= _LONGEST_NAME][:_MOST_TASKS]
        before = len(self.open_tasks)
        match means:
            case "task_opened" if before < _MOST_TASKS:
                self.open_tasks.update(known)
            case "task_closed":
                self.open_tasks.difference_update(known)
            case "tasks_open":
                self.open_tasks = set(known)
        # One that has closed is told to the agent, which has its turn then; one that works will close, also one without a name.
        if self.has_succeeded and (means == "task_opened" or len(self.open_tasks) < before):
            self._has_heard_of_tasks = True
