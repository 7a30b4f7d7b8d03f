"""Having the item of another run cancelled for one that replaces it: by its own supervisor, or in the place of one that is gone.

Promise: nothing here blocks; the command goes on by itself when this run ends. It refuses to handle: items of this run (the core
cancels them), what the cancelled item leaves in the token's record (its run says that).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.tokens.record import Holder

if TYPE_CHECKING:
    import subprocess


class Cancels:
    """Of one run, of items of this home."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._running: list[subprocess.Popen[bytes]] = []

    def begin(self, holder: Holder, by: str) -> None:
        """Have the holder's item cancelled on behalf of `by` (`RUN/ITEM`). Raises OSError if there is no room for a process."""
        import subprocess  # 4 ms of a start that few runs need to pay

        argv = [sys.executable, "-m", "orchestrator", "--home", str(self._home)]
        argv += ["cancel", holder.run_id, holder.item, "--replaced-by", by]
        null = subprocess.DEVNULL
        self._running.append(subprocess.Popen(argv, stdin=null, stdout=null, stderr=null, start_new_session=True))

    def reap(self) -> bool:
        """Whether some still run."""
        self._running = [cancel for cancel in self._running if cancel.poll() is None]
        return bool(self._running)

    def close(self) -> None:
        """Wait for what was begun."""
        for cancel in self._running:
            cancel.wait()
