"""What came of this run's tokens: each verdict under the token's lock, durable before that is let go.

Promise: a verdict goes out only over the claim that it belongs to, so what somebody published who took the token over stays.
Invariant: a token is here from its item's end until its lock is let go.
It refuses to handle: who hears of it (waiters), how it is written (publisher); a lock that somebody keeps for good: at the run's
end the verdict stays with its records, where who takes the token over finds it (`dead_holders`).
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
    """Of one run."""

    def __init__(self, files: TokenFiles, holdings: Holdings) -> None:
        self._files = files
        self._holdings = holdings
        self._publisher = Publisher()
        self._waiting: list[tuple[Held, TokenRecord]] = []
        """For the lock: somebody looked at the token just then."""
        self._written: dict[str, tuple[str, int]] = {}
        """Token -> the claim whose verdict is being made durable, and the lock that is let go then."""

    @property
    def is_waiting(self) -> bool:
        """Whether `try_again` has something to do."""
        return bool(self._waiting)

    def claim_written(self, token: str) -> str | None:
        """The claim whose verdict is being made durable: until then nobody can take the token."""
        written = self._written.get(token)
        return None if written is None else written[0]

    def publish(self, held: Held, record: TokenRecord) -> None:
        """`record` says what came of a token that this run held until now."""
        self._waiting.append((held, record))
        self.try_again()

    def try_again(self) -> None:
        """Publish what waits for a lock that is free by now. Raises StateUnwritableError."""
        self._waiting = [waiting for waiting in self._waiting if not self._try_publish(*waiting)]

    def fileno(self) -> int:
        """Readable when `take` has something to do."""
        return self._publisher.fileno()

    def take(self) -> None:
        """Let go of what is durable. Raises StateUnwritableError."""
        for record in self._publisher.take():
            unlock(self._written.pop(record.token)[1])

    def finish(self) -> list[str]:
        """Wait until all is published; what cannot be, because somebody keeps the lock, in words. Raises StateUnwritableError."""
        deadline = time.monotonic() + FINISH_SECONDS
        while self._waiting and time.monotonic() < deadline:
            time.sleep(TRY_SECONDS)
            self.try_again()
        self._publisher.finish()
        self.take()
        return [self._in_words(held) for held, _ in self._waiting]

    def close(self) -> None:
        """Let go without publishing."""
        self._publisher.close()
        for _, lock_fd in self._written.values():
            os.close(lock_fd)

    def _try_publish(self, held: Held, record: TokenRecord) -> bool:
        """False if it has to wait."""
        if held.lock_fd is None:
            try:
                held.lock_fd = self._holdings.try_relock(held)
            except TakenOver:
                return True  # whoever did tells what came of it
            if held.lock_fd is None:
                return False
        self._written[held.token] = (held.claim, held.lock_fd)
        self._publisher.publish(self._files.paths(held.token), record)
        return True

    def _in_words(self, held: Held) -> str:
        pid = holder_pid(self._files.lock(held.token))
        who = f"process {pid}" if pid else "another process"
        return (
            f"{held.name}: what came of it is not published, for {who} keeps the lock of token {held.token!r}; "
            "it is recorded, and who asks for the token later finds it"
        )
