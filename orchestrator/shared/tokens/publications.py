"""The verdicts of this run's tokens: each is written under the token's lock, and durable before that lock is let go.

Promise: a verdict replaces only the record of its own claim. An item that took the token over has another claim, and what it
publishes stays.
Invariant: a token is here from its item's end until its lock is let go.
It refuses to handle: who hears of a verdict (`waiters`); how it is written (`publisher`); a lock that another process keeps for
good. At the run's end that verdict stays in the run's records, where the next taker of the token finds it (`dead_holders`).
"""

from __future__ import annotations

import os
import time

from orchestrator.shared.tokens.holdings import Held, Holdings, TakenOver
from orchestrator.shared.tokens.publisher import Publisher
from orchestrator.shared.tokens.record import TokenFiles, TokenRecord
from orchestrator.system.locks.holders import holder_pid
from orchestrator.workers.locks import unlock

FINISH_SECONDS = 1.0
TRY_SECONDS = 0.01


class Publications:
    """The publications of one run."""

    def __init__(self, files: TokenFiles, holdings: Holdings) -> None:
        self._files = files
        self._holdings = holdings
        self._publisher = Publisher()
        self._waiting: list[tuple[Held, TokenRecord]] = []
        """For a lock that another run has for a moment, to look at the token."""
        self._written: dict[str, tuple[str, int]] = {}
        """Token -> the claim whose verdict is being made durable, and the lock that is let go then."""

    @property
    def is_waiting(self) -> bool:
        """Whether `publish_waiting` has something to do."""
        return bool(self._waiting)

    def claim_written(self, token: str) -> str | None:
        """The claim whose verdict is being made durable: until then nobody can take the token."""
        written = self._written.get(token)
        return None if written is None else written[0]

    def publish_record(self, held: Held, record: TokenRecord) -> None:
        """Have `record` published for a token that this run held until now. Raises StateUnwritableError."""
        self._waiting.append((held, record))
        self.publish_waiting()

    def publish_waiting(self) -> None:
        """Publish what waits for a lock that is free by now. Raises StateUnwritableError."""
        self._waiting = [waiting for waiting in self._waiting if not self._try_publish(*waiting)]

    def fileno(self) -> int:
        """Readable when `release_published` has something to do."""
        return self._publisher.fileno()

    def release_published(self) -> None:
        """Let go of the locks whose verdicts are durable. Raises StateUnwritableError."""
        for record in self._publisher.take_published():
            unlock(self._written.pop(record.token)[1])

    def finish(self) -> list[str]:
        """Wait until all is published; what cannot be, because another process keeps the lock, in words.

        Raises StateUnwritableError.
        """
        # A run that looks at a token lets go of its lock at once. Wait that long, not for a process that keeps it.
        deadline = time.monotonic() + FINISH_SECONDS
        while self._waiting and time.monotonic() < deadline:
            time.sleep(TRY_SECONDS)
            self.publish_waiting()
        self._publisher.finish()
        self.release_published()
        return [self._in_words(held) for held, _ in self._waiting]

    def close(self) -> None:
        """Let go without publishing."""
        self._publisher.close()
        for _, lock_fd in self._written.values():
            os.close(lock_fd)

    def _try_publish(self, held: Held, record: TokenRecord) -> bool:
        """Whether the verdict is on its way, or none of ours any more; False if it has to wait for the lock."""
        if held.lock_fd is None:
            try:
                held.lock_fd = self._holdings.try_relock(held)
            except TakenOver:
                return True  # the item that took it over publishes what came of it
            if held.lock_fd is None:
                return False
        self._written[held.token] = (held.claim, held.lock_fd)
        self._publisher.publish_record(self._files.paths(held.token), record)
        return True

    def _in_words(self, held: Held) -> str:
        pid = holder_pid(self._files.lock_path(held.token))
        who = f"process {pid}" if pid else "another process"
        return (
            f"{held.name}: what came of it is not published, for {who} keeps the lock of token {held.token!r}; "
            "it is recorded, and who asks for the token later finds it"
        )
