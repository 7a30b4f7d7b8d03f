"""Tokens of holders that died: before another item starts, their processes are ended and their verdicts are published for them.

Promise: a token is free to take only once nothing lives that the dead holder's record and mark lead to, and once the verdict that
the holder came to is published. So a success is never paid for twice, and a failure that its run took for final is shared.
An answer that the holder's run has not read is held against its schema beside the loop, as its own supervisor would have done.
"The lock is ours" means: the caller holds the lock of the token.
It refuses to handle: holders that live (`holders` tells); processes that shed descriptors, session, mark and parent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from orchestrator.shared.tokens.holders import Holders
from orchestrator.shared.tokens.record import TokenFiles, TokenRecord, encode_record
from orchestrator.shared.tokens.verdict_records import done_record
from orchestrator.store.durable_file import write_durably
from orchestrator.system.side_threads import SideThreads
from orchestrator.workers.protocol import Outcome

_PATIENCE_SECONDS = 5.0
"""How long an end waits for a thread before the loop is held up for it."""


class DeadHolders:
    """The dead holders of the tokens that one run asks for."""

    def __init__(self, files: TokenFiles, holders: Holders) -> None:
        self._files = files
        self._holders = holders
        self._endings = SideThreads(_PATIENCE_SECONDS)
        self._next_ending = 0
        self._ending: dict[int, str] = {}
        self._ended: set[str] = set()
        self._judging: dict[int, str] = {}
        self._judged: dict[str, tuple[Outcome, bool] | Exception | None] = {}
        """By claim what its holder has left, or what was raised as that was judged; once."""

    @property
    def ending(self) -> Collection[str]:
        """Claims of holders whose processes are being ended now, or whose answers are being judged."""
        return {*self._ending.values(), *self._judging.values()}

    def is_judging(self, record: TokenRecord) -> bool:
        """Whether the answer that its holder has left is being held against its schema."""
        return record.claim in self._judging.values()

    def clear_record(self, record: TokenRecord) -> TokenRecord | None:
        """The record once nothing of its dead holder is left; None while its processes are being ended, or its answer is judged.

        The lock is ours. Raises StateUnwritableError, and what `left_verdict` raises.
        """
        if record.schema is not None and record.claim not in self._judged:
            if not self.is_judging(record):
                self._judging[self._begin(lambda: self._judge(record))] = record.claim
            return None
        left = self._judged.pop(record.claim) if record.schema is not None else self._holders.left_verdict(record)
        if isinstance(left, Exception):
            raise left
        if left is not None:
            return self.publish_verdict(record, *left)
        return None if self.must_end_processes(record) else record

    def must_end_processes(self, record: TokenRecord) -> bool:
        """Whether the holder may have left processes that live. If so, ending them begins, beside the loop, once a claim."""
        if record.claim in self._ended or not self._holders.may_have_left_processes(record.holder):
            return False
        if record.claim not in self._ending.values():
            self._ending[self._begin(lambda: self._holders.end_processes(record.holder))] = record.claim
        return True

    def publish_verdict(self, record: TokenRecord, outcome: Outcome, is_success: bool) -> TokenRecord:
        """Publish a verdict in the place of a dead holder; the record as it is then. The lock is ours. Survives power loss.

        Raises StateUnwritableError.
        """
        done = done_record(record, outcome, is_success=is_success)
        write_durably(self._files.record_path(record.token), encode_record(done))
        return done

    def begin_waiting(self, now: float) -> None:
        """Begin ends for which there was no thread, if there is room for one by now. `now`: monotonic seconds."""
        self._endings.begin_waiting(now)

    def fileno(self) -> int:
        """Readable when `take_in_endings` has something to do."""
        return self._endings.fileno()

    def take_in_endings(self) -> bool:
        """Whether the processes of some holder are ended now, or its answer is judged. Raises what an ending raised: then nobody
        knows.
        """
        done = self._endings.take_done()
        self._ended.update(self._ending.pop(number) for number in done if number in self._ending)
        for number in done:
            self._judging.pop(number, None)
        return bool(done)

    def close(self) -> None:
        """Wait until what is being ended has ended: seconds at most."""
        self._endings.close()

    def _begin(self, work: Callable[[], object]) -> int:
        """Have it done beside the loop; its number."""
        number = self._next_ending
        self._next_ending += 1
        self._endings.begin_work(number, work)
        return number

    def _judge(self, record: TokenRecord) -> None:
        # What goes wrong is raised where the item asks, which is told of a shortage of the machine.
        try:
            self._judged[record.claim] = self._holders.left_verdict(record)
        except Exception as error:
            self._judged[record.claim] = error
