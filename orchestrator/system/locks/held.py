"""The locks of one attempt, from its admission to its end: whoever carries them sees no descriptor.

Promise: each lock is let go exactly once, by the process that has it then. An engine either hands the locks over to the process
that runs the attempt, or keeps them until the attempt has ended.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from orchestrator.workers.locks import unlock


class HeldLocks:
    """`own`: descriptors of locks that end with the attempt. `kept`: of those that outlive it (a token's, which its desk has).

    Inside a `with` they are to be sent or copied. Behind it the locks are the receiver's: ours are closed without unlocking, also
    if the block raises, for a lock that nobody received is freed by that.
    """

    def __init__(self, own: Sequence[int], kept: Sequence[int] = ()) -> None:
        self._own = list(own)
        self._kept = list(kept)

    @property
    def kept_count(self) -> int:
        """How many of the locks, the last ones of all, outlive the attempt."""
        return len(self._kept)

    def __enter__(self) -> list[int]:
        return [*self._own, *self._kept]

    def __exit__(self, *_: object) -> None:
        while self._own:
            os.close(self._own.pop())

    def let_go(self) -> None:
        """Unlock what ends with the attempt, and wake those who wait for it: for an engine that has kept the locks."""
        while self._own:
            unlock(self._own.pop())
