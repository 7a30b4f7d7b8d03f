"""Tokens of holders that died: what they left is told in their place, or ended, before anybody else starts.

Promise: a token is free to take only once nothing that its dead holder's record and mark lead to lives, and what he came to is
published in his place: a success is never paid for twice, a failure that his run took for final is shared. "The lock is
ours": the caller holds the token's.
It refuses to handle: holders that live (`Holders` tells); processes that shed descriptors, session, mark and parent.
"""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.shared.tokens.holders import Holders
from orchestrator.shared.tokens.record import TokenFiles, TokenRecord, encode_record
from orchestrator.shared.tokens.verdict_records import done_record
from orchestrator.store.durable_file import write_durably
from orchestrator.system.side_threads import SideThreads
from orchestrator.workers.protocol import Outcome


class DeadHolders:
    """Of the tokens that one run asks for."""

    def __init__(self, files: TokenFiles, holders: Holders) -> None:
        self._files = files
        self._holders = holders
        self._endings = SideThreads()
        self._next_ending = 0
        self._ending: dict[int, str] = {}
        self._ended: set[str] = set()

    @property
    def ending(self) -> Collection[str]:
        """Claims whose processes are just being ended."""
        return self._ending.values()

    def clear(self, record: TokenRecord) -> TokenRecord | None:
        """What the record says once nothing of its holder is left; None while his processes are being ended. The lock is ours.

        Raises StateUnwritableError.
        """
        left = self._holders.left_verdict(record)
        if left is not None:
            return self.publish_for(record, *left)
        return None if self.must_end(record) else record

    def must_end(self, record: TokenRecord) -> bool:
        """Whether the holder may have left processes; if so they are being ended, beside the loop, once for each claim."""
        if record.claim in self._ended or not self._holders.may_have_left_processes(record.holder):
            return False
        if record.claim not in self.ending:
            number = self._next_ending
            self._next_ending += 1
            self._ending[number] = record.claim
            self._endings.begin(number, lambda: self._holders.end_processes(record.holder))
        return True

    def publish_for(self, record: TokenRecord, outcome: Outcome, is_success: bool) -> TokenRecord:
        """Tell a verdict in the place of a holder who cannot; what the record says now. The lock is ours.

        Raises StateUnwritableError.
        """
        done = done_record(record, outcome, is_success=is_success)
        write_durably(self._files.record(record.token), encode_record(done))
        return done

    def fileno(self) -> int:
        """Readable when `take` has something to do."""
        return self._endings.fileno()

    def take(self) -> bool:
        """Whether the processes of some are ended now. Raises what an ending raised: then nobody knows."""
        ended = self._endings.take()
        self._ended.update(self._ending.pop(number) for number in ended)
        return bool(ended)

    def close(self) -> None:
        """Wait for what is being ended: seconds at most."""
        self._endings.close()
