"""Cancelling an item of another run, for an item of this run that replaces it: `orchestrate cancel` as a process of its own.

The command asks the other run's supervisor, or cancels in the place of one that is gone.
Promise: this run never waits for the command, which goes on by itself when the run ends.
It refuses to handle: items of this run (the core cancels them); what the cancelled item leaves in the token's record (its own
run writes that).
"""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.shared.tokens.record import TokenRecord
from orchestrator.system.own_command import own_argv
from orchestrator.system.passed_variables import OUR_OWN, passed_of

_STREAMS = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0), (os.POSIX_SPAWN_DUP2, 0, 1), (os.POSIX_SPAWN_DUP2, 0, 2)]


class Cancels:
    """The cancels that one run has asked for. `failed`: claims whose holders have not heard of it, and may be asked once more."""

    def __init__(self, home: Path) -> None:
        self.failed: set[str] = set()
        self._home = home
        self._running: dict[int, str] = {}

    def begin_cancel(self, record: TokenRecord, by: str) -> None:
        """Have the holder's item cancelled on behalf of `by` (`RUN/ITEM`). Raises OSError if there is no room for a process."""
        holder = record.holder
        argv = own_argv("--home", str(self._home), "cancel", holder.run_id, holder.item, "--replaced-by", by)
        # Everybody who runs as the user sees what a process is started with, so it is no more than it needs.
        environment = passed_of(os.environ, OUR_OWN)
        pid = os.posix_spawn(argv[0], argv, environment, file_actions=_STREAMS, setsid=True, setsigmask=())
        self._running[pid] = record.claim
        self.failed.discard(record.claim)

    def reap_commands(self) -> bool:
        """Take in which commands have ended; whether some still run."""
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
    except ChildProcessError:
        # The worker of an inline attempt is this very process: it reaps all that ends under it, and keeps how it ended.
        return 0
    return status if ended else None
