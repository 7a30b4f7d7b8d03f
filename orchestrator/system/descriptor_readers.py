"""Which function reads which descriptor: a selector whose registrations follow sets of descriptors that change.

Invariant: a reader is called only for a descriptor that is in its set at that moment, also if an earlier reader of the same turn
has closed it and its number was given to another file since.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable

Reader = Callable[[int], None]


class Readers:
    """Descriptors and their readers. A reader is called with the descriptor that has become readable."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._known: dict[Reader, set[int]] = {}

    def watch_filenos(self, reader: Reader, filenos: Iterable[int]) -> None:
        """Have exactly `filenos` read by `reader`.

        Call this at once after the set has changed: a closed descriptor must be taken out before its number is given out again.
        """
        wanted = set(filenos)
        known = self._known.get(reader, set())
        for fileno in known - wanted:
            self._selector.unregister(fileno)
        for fileno in wanted - known:
            self._selector.register(fileno, selectors.EVENT_READ, reader)
        self._known[reader] = wanted

    def wait_readable(self, timeout_seconds: float) -> bool:
        """Wait until a descriptor is readable, and call the readers of all that are; False if the time was over first."""
        ready = self._selector.select(timeout_seconds)
        for key, _ in ready:
            # An earlier reader of this turn may have taken it out.
            if key.fd in self._known[key.data]:
                key.data(key.fd)
        return bool(ready)

    def close(self) -> None:
        """Forget all descriptors. They stay open."""
        self._selector.close()
