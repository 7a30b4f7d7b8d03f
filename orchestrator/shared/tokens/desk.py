"""The desk where the items of one run ask for their tokens: the same work is done once, in this run and in all runs of this home.

A token is a lock file and a record. The lock travels with the attempt that does the work. The record says who has the token, or
what came of the work. Each run has a desk, and no process stands above the desks: the lock decides between two of them.

A token that concerns this run is in one of four places, each a module:

* `holdings`: an item of this run works under the token, or keeps it until its next attempt.
* `publications`: the item has ended; its verdict is being made durable while the lock is still held.
* `waiters`: items of this run wait for work that another item does, of this run or of another one.
* `dead_holders`: the last holder is dead, and the processes that it left are being ended.

`asks` answers an item that asks. The desk follows the item from then on, and looks at the tokens that its items wait for.

Promise: no item starts with a token before its last holder is proven gone. A verdict is durable before its lock is let go. An
item that waits holds nothing, and a thousand items that wait for one token cost one look.
Invariant: an item holds one token, or waits for one, or neither. One item at most of this run holds a token.
It refuses to handle: processes that shed descriptors, session, mark and parent after worker and supervisor were killed; a home
that is deleted; what an answer means for the run (the core decides that).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

from orchestrator.core.states import ItemRef
from orchestrator.jobsfile.model import Job
from orchestrator.shared.tokens.answers import Answer, Asking, Joins, Refused, Shared, Told, Unregistered, Wanted
from orchestrator.shared.tokens.asks import Asks, DeskParts
from orchestrator.shared.tokens.holders import Holders
from orchestrator.shared.tokens.record import Holder
from orchestrator.shared.tokens.verdict_records import ended_record
from orchestrator.store.durable_file import unwritable
from orchestrator.store.outcomes import DoneHere
from orchestrator.store.records import Started, Status
from orchestrator.system.locks.lock_file import LOOK_SECONDS, REAL_LOOK_SECONDS
from orchestrator.workers.locks import unlock
from orchestrator.workers.processes.spawn import SHORTAGES
from orchestrator.workers.protocol import Outcome

_TOKENS_A_LOOK = 50
"""With more tokens to look at, looks are rarer in proportion: waiting must cost nothing that could be felt."""


class TokenDesk:
    """The tokens of one run. `ancestors`: marks of the attempts that this run is nested in.

    `done_here(token)`: what the run itself has done under a token. `keep(item, outcome)`: another run's outcome as this item's
    own, or None if its output is gone. `is_fresh`: what other runs have done does not count.
    """

    def __init__(
        self,
        home: Path,
        run_id: str,
        *,
        is_fresh: bool,
        ancestors: Collection[str],
        done_here: Callable[[str], DoneHere | None],
        keep: Callable[[ItemRef, Outcome], Outcome | None],
    ) -> None:
        parts = DeskParts.of_run(home, run_id, keep)
        self._home = home
        self._is_fresh = is_fresh
        self._own = parts.own_session
        self._files = parts.files
        self._holdings = parts.holdings
        self._holders = parts.holders
        self._dead_holders = parts.dead_holders
        self._publications = parts.publications
        self._waiters = parts.waiters
        self._cancels = parts.cancels
        self._asks = Asks(parts, run_id, ancestors, done_here, keep)
        self._next_look: float | None = None

    # Asking.

    def make_asking(self, item: ItemRef, name: str, job: Job, wanted: Wanted) -> Asking:
        """The question of an item that wants its token. `name`: `JOB:INDEX` or `JOB`."""
        return Asking(
            item=item,
            name=name,
            token=wanted.token,
            payload=wanted.payload,
            if_running=job.if_running,
            if_done=job.if_done,
            if_changed=job.if_changed,
            ttl=job.token_ttl,
            is_fresh=self._is_fresh or wanted.makes_file or wanted.is_asked,
            output=job.output,
            schema=wanted.schema,
            is_loop=job.repeat is not None,
            makes_file=wanted.makes_file,
        )

    def ask_this_run(self, asking: Asking) -> Joins | Shared | Refused | Unregistered | None:
        """The answer, if this run knows it without a lock and without a look at what others say; else None.

        Raises OSError for a shortage of the machine.
        """
        answer = self._asks.ask_this_run(asking)
        self._look_soon_if_joined(answer)
        return answer

    def ask_for_token(self, asking: Asking) -> Answer:
        """What the item is to do about its token. Raises StateUnwritableError, and OSError for a shortage of the machine."""
        answer: Answer | None = self._asks.ask_this_run(asking)
        if answer is None:
            answer = self._asks.ask_others(asking)
        self._look_soon_if_joined(answer)
        return answer

    # An item that was granted its token.

    def begin_attempt(self, item: ItemRef, *, attempt: int, worker: int, sequence: int, mark: str) -> None:
        """The item is about to start: note who has the token, before anything of it runs. Raises StateUnwritableError."""
        record = self._holdings.begin_attempt(item, attempt=attempt, worker=worker, sequence=sequence, mark=mark)
        self._waiters.hear_of_start(item, record)

    def give_back(self, item: ItemRef) -> None:
        """The item does not start after all: it was only looked whether it could."""
        freed = self._holdings.give_back(item)
        if freed is not None:
            self._waiters.have_one_ask_again(freed.token)

    def adopt_attempt(self, item: ItemRef, name: str, start: Started) -> None:
        """An attempt of an earlier supervisor runs on. Raises StateUnwritableError."""
        self._holdings.adopt_attempt(item, name, start)

    def knows(self, item: ItemRef) -> bool:
        """Whether the item holds or joined a token."""
        return self._holdings.of_item(item) is not None or self._waiters.knows(item)

    def settle_item(self, item: ItemRef, status: Status, outcome: Outcome | None, replaced_by: str | None) -> None:
        """Take in what the item is now; its records say so already. A holder's verdict is published, a joiner is forgotten.

        `replaced_by` (`RUN/ITEM`): who may have the token first. Raises StateUnwritableError.
        """
        held = self._holdings.of_item(item)
        # The item waits for its next attempt: a holder keeps the token by its record, a joiner stays where it is.
        if status is Status.WAITING:
            if held is not None:
                self._holdings.reserve_token(held)
            return
        if held is None:
            self._waiters.forget_item(item)
            return
        self._holdings.drop_token(held)
        record = None if held.record is None else ended_record(held.record, status, outcome, replaced_by)
        # Tell the joiners of this run at once: they need no disk to hear of it.
        if record is not None and record.state == "done":
            self._waiters.share_verdict(held.token, record)
        else:
            self._waiters.have_one_ask_again(held.token, replaced_by)
        # Let go of the lock last, and of a verdict only once it is durable: another run would do the work again.
        if record is not None:
            self._publications.publish_record(held, record)
            self._look_soon()
        elif held.lock_fd is not None:
            unlock(held.lock_fd)

    # Hearing what comes of tokens.

    def poll(self, now: float) -> list[Told]:
        """What items of this run shall be told. `now`: monotonic seconds. Raises StateUnwritableError."""
        if self._next_look is not None and now >= self._next_look:
            try:
                self._look_at_tokens(now)
            except OSError as error:
                if error.errno not in SHORTAGES:
                    raise unwritable(self._files.folder, error) from error
                self._next_look = now + REAL_LOOK_SECONDS
        return self._waiters.take_told()

    def filenos(self) -> list[int]:
        """Descriptors for `take_in`."""
        return [self._publications.fileno(), self._dead_holders.fileno()]

    def take_in(self, fileno: int) -> None:
        """Take in what was published, and which processes are ended. Raises StateUnwritableError."""
        if fileno == self._publications.fileno():
            self._publications.release_published()
        elif self._dead_holders.take_in_endings():
            # The items behind a dead holder wait for just this, and nothing touches a file to tell them.
            self._waiters.have_all_looked_at_really()
            self._next_look = 0.0

    @property
    def next_look(self) -> float | None:
        """When `poll` is due (monotonic seconds); None if nobody waits. What is to be told already is due at once."""
        return 0.0 if self._waiters.has_told else self._next_look

    def waits(self) -> list[tuple[dict[ItemRef, str], str, Holder]]:
        """For each token that another item has: the items that wait for it with their names, the token, who has it."""
        found = [(token, self._holder_of(token)) for token in self._waiters.tokens()]
        return [(self._waiters.names_of(token), token, holder) for token, holder in found if holder is not None]

    def reserved_items(self) -> list[ItemRef]:
        """Items that keep their token while they do not run."""
        return self._holdings.reserved_items()

    def holder_pids(self, item: ItemRef) -> list[int]:
        """Processes of the holder whose work the item joined."""
        token = self._waiters.token_of(item)
        holder = self._holder_of(token) if token is not None else None
        return self._holders.pids(holder) if holder is not None else []

    def finish_publishing(self) -> list[str]:
        """The run is over: wait until all that came of its tokens is published; what cannot be, in words.

        Raises StateUnwritableError.
        """
        return self._publications.finish()

    def close(self) -> None:
        """Let go without publishing: what runs, runs on, and keeps its token by its own descriptors."""
        self._publications.close()
        self._dead_holders.close()
        self._holdings.close()

    def _holder_of(self, token: str) -> Holder | None:
        own = self._holdings.of_token(token)
        record = own.record if own is not None else self._waiters.record_of(token)
        return record.holder if record is not None and record.state == "held" else None

    # Looking at what others do.

    def _look_at_tokens(self, now: float) -> None:
        """One look at all that this run waits for. Raises StateUnwritableError, OSError."""
        self._publications.publish_waiting()
        self._dead_holders.begin_waiting(now)
        is_cancelling = self._cancels.reap_commands()
        # Each session is asked once a look, however many tokens it holds.
        holders = Holders(self._home, own=self._own, is_one_look=True)
        for token in self._waiters.tokens():
            # A token that this run holds tells its joiners itself (`settle_item`).
            if self._holdings.of_token(token) is None:
                self._waiters.look_at_token(token, holders, self._dead_holders.ending, self._cancels.failed, now)
        self._waiters.tell_delayed()
        pause = LOOK_SECONDS * max(1.0, len(self._waiters) / _TOKENS_A_LOOK)
        is_any_left = self._waiters or self._publications.is_waiting or is_cancelling
        self._next_look = now + pause if is_any_left else None

    def _look_soon_if_joined(self, answer: Answer | None) -> None:
        if isinstance(answer, Joins):
            self._look_soon()

    def _look_soon(self) -> None:
        if self._next_look is None:
            self._next_look = time.monotonic() + LOOK_SECONDS
