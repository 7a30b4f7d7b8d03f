"""What is recorded of an item when the core says what it is now, and which parts hear of it.

The core speaks of states; what is behind one (an attempt's outcome, the outcome of somebody else's work, a refusal in words) is
kept here from the moment it is known until the core has decided.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, assert_never, get_args

import msgspec

from orchestrator.attempts.flight import Flight
from orchestrator.attempts.preparer import NotStarted
from orchestrator.core.decisions import CloseJob, Settle
from orchestrator.core.states import ENDED_STATES, ItemRef, ItemState
from orchestrator.reading.money.costs import spent_after_replay
from orchestrator.reading.money.ledger import NO_PRICE, price_of_attempt
from orchestrator.shared.tokens.desk import TokenDesk
from orchestrator.store import records
from orchestrator.store.outcomes import ends_before
from orchestrator.store.records import Status
from orchestrator.store.spending_records import Spent
from orchestrator.supervisor.charges import Charges
from orchestrator.supervisor.run import Run
from orchestrator.workers.protocol import Outcome

if TYPE_CHECKING:
    from orchestrator.reading.failure_tails import FailureTails


class Joined(msgspec.Struct, frozen=True):
    """An item whose work is done elsewhere, with what is recorded of it. `words`: who does it."""

    label: str | None
    token: str
    payload: str
    words: str = ""


class SharedOutcome(msgspec.Struct, frozen=True):
    """The outcome of somebody else's attempt, which is this item's too."""

    joined: Joined
    outcome: Outcome
    deduped_from: str


class EndedAttempt(msgspec.Struct, frozen=True):
    """An attempt that ended. `round`: which round of a loop came to its end with it; 0: none. `spent`: of its item so far."""

    flight: Flight
    outcome: Outcome
    round: int
    spent: Spent | None


_STATUS_OF: dict[type[ItemState], Status] = {kind: Status(kind.__name__.lower()) for kind in get_args(ItemState)}

ItemEnd = EndedAttempt | SharedOutcome | NotStarted
"""What stands behind the next state of an item: its own attempt, somebody else's, or that there was none, with the reason."""


class Settled(msgspec.Struct, frozen=True):
    """What an item is now. `ended`: its own attempt, if one just ended; `replaced_by`: who takes its token."""

    status: Status
    ended: EndedAttempt | None
    replaced_by: str | None

    @property
    def outcome(self) -> Outcome | None:
        """What its own attempt came to, if one just ended."""
        return self.ended.outcome if self.ended is not None else None


class Settlements:
    """Of one run. `label`: what an item is called that comes to its end without having been rendered."""

    def __init__(
        self, run: Run, tokens: TokenDesk, charges: Charges, label: Callable[[ItemRef], str | None] = lambda _item: None
    ) -> None:
        self._run = run
        self._label = label
        self._recorder = run.recorder
        self._tokens = tokens
        self._charges = charges
        self._ends: dict[ItemRef, ItemEnd] = {}
        """Parked until the core says what the item is now."""
        self._joining: dict[ItemRef, Joined] = {}
        self._to_tell: set[ItemRef] = set()
        """Items that have joined, and whose wait, or the reason for it, is not recorded yet."""
        self._replaced_by: dict[ItemRef, str] = {}
        self._tails: FailureTails | None = None

    def ended(self, flight: Flight, outcome: Outcome, *, is_round: bool, spent: Spent | None = None) -> None:
        """The attempt of an item ended. `is_round`: and with it a round of its loop. `spent`: what the item has cost with it."""
        self._ends[flight.item] = EndedAttempt(flight, outcome, flight.start.round if is_round else 0, spent)

    def declined(self, item: ItemRef, not_started: NotStarted) -> None:
        """The item was not started, and why."""
        self._ends[item] = not_started

    def joins(self, item: ItemRef, joined: Joined) -> None:
        """The item waits for what comes of work in flight."""
        # An item that asks again once a second, for days, has nothing new to tell.
        if self._joining.get(item) != joined:
            self._joining[item] = joined
            self._to_tell.add(item)

    def shares(self, item: ItemRef, outcome: Outcome, deduped_from: str, joined: Joined | None = None) -> None:
        """The item has this outcome. `joined` may be left out if it has waited for it."""
        self._ends[item] = SharedOutcome(joined or self._joining[item], outcome, deduped_from)

    def joined(self, item: ItemRef) -> Joined | None:
        """What the item waits for, if it has joined something."""
        return self._joining.get(item)

    def replaced(self, item: ItemRef, by: str) -> None:
        """The item is about to be cancelled, because `by` (`RUN/ITEM`) takes its token."""
        self._replaced_by[item] = by

    def settle(self, decision: Settle) -> None:
        """Carry out `Settle`: record what the item is now, and let all who are concerned know."""
        item, state = decision.item, decision.state
        settled = self._record_item(item, state, decision.message)
        if settled.ended is not None:
            self._charges.attempt_ended(settled.ended.flight, settled.ended.outcome, settled.ended.spent)
        if settled.status is Status.WAITING or self._tokens.knows(item):
            told = partial(self._tokens.settle_item, item, settled.status, settled.outcome, settled.replaced_by)
            if settled.status is Status.WAITING:
                # At once: the item may be started again in this very turn, and a lock let go of later would be the new attempt's.
                told()
            else:
                # A token's verdict tells of a record, so the record comes first.
                self._recorder.then(told)
        if isinstance(state, ENDED_STATES) and self._run.core.has_dependents(item[0]):
            self._recorder.ended(item)

    def close_job(self, decision: CloseJob) -> None:
        """Carry out `CloseJob`: nothing more will come of the job."""
        job_id, why = self._run.jobs[decision.job].id, decision.reason
        self._recorder.add(records.JobClosed(job=job_id, status=decision.phase.value, message=why))
        if self._run.core.is_cut(decision.job):
            from orchestrator.reading.unread_items import unread_items

            why = unread_items(self._run.reader, job_id)
        self._run.tell.closed(job_id, decision.phase.value, why)

    def _record_item(self, item: ItemRef, state: ItemState, message: str) -> Settled:
        status = _STATUS_OF[type(state)]
        end = self._ends.pop(item, None)
        own = end if isinstance(end, EndedAttempt) else None
        # An item that waits after an attempt of its own waits for its next one, and no longer for anybody else's.
        is_joining = status is Status.WAITING and own is None
        joined = self._joining.get(item) if is_joining else self._joining.pop(item, None)
        replaced_by = self._replaced_by.pop(item, None) if status is Status.CANCELLED else None
        if replaced_by is not None:
            message = f"replaced by {replaced_by}"
        match end:
            case EndedAttempt():
                # Somebody else's doing is told in its own words, in place of those of the attempt.
                self._record_attempt(end, state, status, message or None)
                if message:
                    self._recorder.add(self._without_attempt(item, status, message, joined, replaced_by))
            # A stop that came just before the verdict ends the item otherwise: then the work of others is not its own.
            case SharedOutcome() if status in (Status.SUCCEEDED, Status.FAILED):
                self._record_shared(item, end, status)
            case NotStarted():
                self._record_refusal(self._without_attempt(item, status, end.message, end, replaced_by), item, status)
            case SharedOutcome() | None if joined is not None and is_joining:
                self._record_wait(item, status, joined)
            case SharedOutcome() | None:
                self._record_refusal(self._without_attempt(item, status, message, joined, replaced_by), item, status)
            case unknown:
                assert_never(unknown)
        return Settled(status, own, replaced_by)

    def _record_refusal(self, record: records.ItemSettled, item: ItemRef, status: Status) -> None:
        self._recorder.add(record)
        self._run.tell.settled(self._run.name(item), record.job, record.label, status, record.message)

    def _record_wait(self, item: ItemRef, status: Status, joined: Joined) -> None:
        """Once for each reason to wait."""
        if item in self._to_tell:
            self._to_tell.discard(item)
            self._recorder.add(self._without_attempt(item, status, joined.words, joined))
            self._run.tell.waits(self._run.name(item), self._run.job(item).id, joined.label, joined.words)

    def _without_attempt(
        self, item: ItemRef, status: Status, message: str, wanted: Joined | NotStarted | None, replaced_by: str | None = None
    ) -> records.ItemSettled:
        """The record of an item that is `status` without an attempt. `wanted`: its label and token, as far as they were known."""
        return records.ItemSettled(
            job=self._run.job(item).id,
            index=item[1],
            status=status,
            message=message,
            label=wanted.label if wanted is not None else self._label(item),
            token=wanted.token if wanted is not None else None,
            payload=wanted.payload if wanted is not None else "",
            replaced_by=replaced_by,
        )

    def _record_shared(self, item: ItemRef, shared: SharedOutcome, status: Status) -> None:
        joined, job_id = shared.joined, self._run.job(item).id
        # Attempt 0: the item made none. Its cost counts as saved.
        ended = records.AttemptEnded(
            job=job_id,
            index=item[1],
            attempt=0,
            status=status,
            outcome=shared.outcome,
            label=joined.label,
            payload=joined.payload,
            token=joined.token,
            deduped_from=shared.deduped_from,
            spent=spent_after_replay(self._run.past(item).spent(item[1]), shared.outcome),
        )
        self._recorder.add(ended)
        self._run.tell.shared(self._run.name(item), ended, shared.deduped_from, self._tail_of(ended))

    def _record_attempt(self, ended: EndedAttempt, state: ItemState, status: Status, why: str | None) -> None:
        # `why`: what is told of its item in place of the outcome's own words.
        flight, start, outcome = ended.flight, ended.flight.start, ended.outcome
        # Before its end is recorded: what its item has cost so far is what it had cost without it.
        before = self._run.past(flight.item).spent(flight.item[1]) if ended.spent is not None else None
        last = self._run.past(flight.item).last_end(flight.item[1]) if start.attempt > 1 else None
        price = price_of_attempt(start, outcome, ended.spent, before) if ended.spent is not None else NO_PRICE
        recorded = records.AttemptEnded(
            job=start.job,
            index=start.index,
            attempt=start.attempt,
            status=status,
            outcome=outcome,
            label=start.label,
            payload=start.payload,
            token=start.token,
            promotions=start.promotions,
            round=ended.round,
            child=start.child,
            folder=start.folder,
            workspace=start.workspace,
            because=start.because,
            is_adopted=flight.is_adopted,
            spent=ended.spent,
            earlier=ends_before(last, start) if last is not None else [],
        )
        self._recorder.add(recorded)
        self._run.tell.attempt_ended(flight, outcome, state, ended.round, price, why, self._tail_of(recorded))

    def _tail_of(self, ended: records.AttemptEnded) -> list[str] | None:
        """The last lines of what a failure wrote; None: there are none."""
        # A success costs nothing more for it.
        if ended.status is not Status.FAILED:
            return None
        if self._tails is None:
            from orchestrator.reading.failure_tails import FailureTails  # A run without a failure needs nothing of it.

            self._tails = FailureTails(self._run.dir, self._run.jobs_file)
        return self._tails.of(ended) or None
