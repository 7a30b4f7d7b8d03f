"""Which function reads which descriptor: a selector whose registrations follow changing sets of descriptors."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterable

Reader = Callable[[int], None]


class Readers:
    """Descriptors and their readers. A reader is called with the descriptor that is readable."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._known: dict[Reader, set[int]] = {}

    def set(self, reader: Reader, filenos: Iterable[int]) -> None:
        """Have exactly `filenos` read by `reader`. A descriptor that was closed meanwhile must be taken out before its number
        comes back: call this at once after the set has changed."""
        wanted = set(filenos)
        known = self._known.get(reader, set())
        for fileno in known - wanted:
            self._selector.unregister(fileno)
        for fileno in wanted - known:
            self._selector.register(fileno, selectors.EVENT_READ, reader)
        self._known[reader] = wanted

    def wait(self, timeout_seconds: float) -> bool:
        """Call the readers of what is readable; False if nothing was within the time."""
        ready = self._selector.select(timeout_seconds)
        for key, _ in ready:
            if key.fd in self._known[key.data]:  # not taken out by an earlier reader of this turn
                key.data(key.fd)
        return bool(ready)

    def close(self) -> None:
        """Forget all."""
        self._selector.close()
