"""The interface of those who hear what happens to a run: views, `--events`, and whatever exports a run to somewhere else.

A listener is one file that has this class, and one line in `cli/supervising.py` that gives it to `Listeners`. Happenings tell
all that it needs: it reads no state of the run. A listener that may have to wait for somebody (a reader, a network) is given as
a slow one, and is then called on a thread of its own, by one call at a time, in order.
"""

from __future__ import annotations

from typing import Protocol

from orchestrator.views.happenings import Happening


class Listener(Protocol):
    """Hears what happens to a run. Must return at once; what it raises silences it and is noted, and never ends the run.

    `shows_time`: `refresh` does something. A run whose listeners all do nothing there is not woken for it.

    One may have `follows_items = False`: before a gate has asked it need not hear of starts, nor of successes that say nothing.
    A run of which all listeners say so does not tell them.
    """

    @property
    def shows_time(self) -> bool: ...

    def hear(self, happening: Happening) -> None:
        """Take in one happening."""

    def refresh(self, now: float) -> None:
        """Time has passed: durations of what runs have changed. `now`: monotonic seconds. Called soon after a happening,
        and each second."""

    def close(self) -> None:
        """The run is over, or its supervisor leaves: let go of what was opened, and restore the terminal."""
