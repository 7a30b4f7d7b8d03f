"""Having the item of another run cancelled for one that replaces it: by its own supervisor, or in the place of one that is gone.

Promise: nobody waits for it; the command goes on by itself when this run ends. It refuses to handle: items of this run (the core
cancels them), what the cancelled item leaves in the token's record (its own run says that).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from orchestrator.tokens.record import Holder

_STREAMS = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0), (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]


class Cancels:
    """Of one run, of items of this home."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._running: list[int] = []

    def begin(self, holder: Holder, by: str) -> None:
        """Have the holder's item cancelled on behalf of `by` (`RUN/ITEM`). Raises OSError if there is no room for a process."""
        argv = [sys.executable, "-m", "orchestrator", "--home", str(self._home)]
        argv += ["cancel", holder.run_id, holder.item, "--replaced-by", by]
        self._running.append(os.posix_spawn(sys.executable, argv, os.environ, file_actions=_STREAMS, setsid=True, setsigmask=()))

    def reap(self) -> bool:
        """Whether some still run."""
        self._running = [pid for pid in self._running if not _is_over(pid)]
        return bool(self._running)


def _is_over(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # an inline attempt's worker is this very process, and reaps all that ends under it
        return True
