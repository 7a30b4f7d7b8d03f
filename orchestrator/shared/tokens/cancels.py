"""Having the item of another run cancelled for one that replaces it: by its own supervisor, or in the place of one that is gone.

Promise: nobody waits for it; the command goes on by itself when this run ends. It refuses to handle: items of this run (the core
cancels them), what the cancelled item leaves in the token's record (its own run says that).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from orchestrator.shared.tokens.record import TokenRecord

_STREAMS = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0), (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]


class Cancels:
    """Of one run, of items of this home. `failed`: claims whose holders did not hear of it, and so may be asked once more."""

    def __init__(self, home: Path) -> None:
        self.failed: set[str] = set()
        self._home = home
        self._running: dict[int, str] = {}

    def begin(self, record: TokenRecord, by: str) -> None:
        """Have the holder's item cancelled on behalf of `by` (`RUN/ITEM`). Raises OSError if there is no room for a process."""
        argv = [sys.executable, "-m", "orchestrator", "--home", str(self._home)]
        argv += ["cancel", record.holder.run_id, record.holder.item, "--replaced-by", by]
        pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=_STREAMS, setsid=True, setsigmask=())
        self._running[pid] = record.claim
        self.failed.discard(record.claim)

    def reap(self) -> bool:
        """Whether some still run."""
        for pid, claim in list(self._running.items()):
            ended = _ended(pid)
            if ended is not None:
                del self._running[pid]
                if ended:
                    self.failed.add(claim)
        return bool(self._running)


def _ended(pid: int) -> int | None:
    """How the process ended, 0 for well; None while it runs."""
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # an inline attempt's worker is this very process, and reaps all that ends under it
        return 0
    return status if ended else None
