"""Records of one turn of the loop, written as one group, and what may be done only after that.

Promise: nothing handed to `then` is done before the records added so far stand in the journal (survives SIGKILL); `durable`
tells of ended items only once their group survives power loss.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from orchestrator.core.states import ItemRef
from orchestrator.store.gate_records import GateAnswered
from orchestrator.store.list_records import ListGrew
from orchestrator.store.records import AttemptEnded, ItemsListed, JobClosed, Record, Reopened, RetryAsked
from orchestrator.store.run_store import RunStore
from orchestrator.workers.faultpoints import fault_point
from orchestrator.workers.protocol import AttemptClass

_READ = frozenset({JobClosed, ItemsListed, ListGrew, GateAnswered, Reopened, RetryAsked})
"""Records of which templates may read."""


class Recorder:
    """Collects records, commits them as groups, and follows their durability."""

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._records: list[Record] = []
        self._actions: list[Callable[[], None]] = []
        self._ended: list[ItemRef] = []
        self._is_read = False
        """Whether a start may read what was added and is not committed: a template, or which child run or session goes on."""
        self._awaiting: deque[tuple[int, list[ItemRef]]] = deque()

    def add(self, record: Record) -> None:
        """Have `record` written with the next commit."""
        self._records.append(record)
        if isinstance(record, AttemptEnded):
            outcome = record.outcome
            told = record.round or record.child or record.folder or outcome.check.size or outcome.unproven
            if told or outcome.attempt_class is AttemptClass.LOST:
                self._is_read = True
        elif type(record) in _READ:
            self._is_read = True

    def then(self, action: Callable[[], None]) -> None:
        """Do this after the next commit, in order."""
        self._actions.append(action)

    def ended(self, item: ItemRef) -> None:
        """An item that others may depend on ended with a record added in this turn."""
        self._ended.append(item)

    def commit(self, *, is_synced_next: bool = False) -> None:
        """Write the group, then act. Raises StateUnwritableError; the actions are then not done.

        `is_synced_next`: the caller makes it durable right away, and the thread need not.
        """
        # An action may add records of its own (an attempt that cannot be sent): they are one more group.
        while self._records or self._actions:
            has_records = bool(self._records)
            if has_records:
                # Taken first: after a failed write nothing of this group may be written once more.
                records, self._records = self._records, []
                self._is_read = False
                fault_point("supervisor.deciding")
                group = self._store.append(records)
                fault_point("supervisor.recorded")
                # What these items give to others may be read once this group is durable.
                if self._ended:
                    self._awaiting.append((group, self._ended))
                    self._ended = []
            actions, self._actions = self._actions, []
            for action in actions:
                action()
                fault_point("supervisor.acted")
            # Behind the sends: the thread that is woken by this would take the interpreter from them.
            if has_records and not is_synced_next:
                self._store.request_sync(is_awaited=bool(self._awaiting))

    def catch_up(self) -> None:
        """Commit what a start may read in the history: ends of jobs, rounds, child runs and agents of this very turn."""
        if self._is_read:
            self.commit()

    def make_durable(self) -> None:
        """Commit, and wait until what was added so far survives power loss. What is written does not grow with the run."""
        self.commit(is_synced_next=True)
        self._store.make_durable()

    def take_checkpoint(self) -> None:
        """Commit, and make everything durable in a new generation."""
        self.commit(is_synced_next=True)
        self._store.take_checkpoint()

    def end_session(self) -> None:
        """Commit, and make everything durable for the time in which nobody supervises the run."""
        self.commit(is_synced_next=True)
        self._store.end_session()

    def durable(self) -> tuple[ItemRef, ...]:
        """Ended items whose records have become durable since the last call. Raises StateUnwritableError."""
        through = self._store.durable_through()
        items: list[ItemRef] = []
        while self._awaiting and self._awaiting[0][0] <= through:
            items += self._awaiting.popleft()[1]
        return tuple(items)
