"""What an attempt that has just ended has cost, what people are told of it, and of budgets that bound nothing."""

from __future__ import annotations

from functools import partial

import msgspec

from orchestrator.attempts.child_runs import spent_by_child
from orchestrator.attempts.flight import Flight
from orchestrator.core.budget import Unit
from orchestrator.core.costs import Cost
from orchestrator.errors import UserError
from orchestrator.reading.money.costs import (
    NOT_PLAYED,
    charge_of,
    dollars,
    is_charged,
    spent_after_attempt,
    spent_after_child,
    spent_after_replay,
)
from orchestrator.reading.money.ledger import KeptLedger
from orchestrator.reading.run_reader import RunReader
from orchestrator.store.spending_records import Spent
from orchestrator.supervisor.run import Run
from orchestrator.workers.protocol import Outcome

_MUTE: dict[Unit, str] = {
    "nano_usd": "its agent tells no costs, so budget_usd cannot bound it: budget_tokens can, or estimate_usd, as what each costs",
    "tokens": "its agent tells no tokens, so budget_tokens cannot bound it: budget_usd can, with estimate_usd as what each costs",
}


def spent_with(reader: RunReader, flight: Flight, outcome: Outcome) -> Spent | None:
    """What the item has cost with this attempt, which has just ended; None: no agent has worked for it."""
    start = flight.start
    before = reader.history.jobs[start.job].spent(start.index)
    if start.child:
        try:
            told = spent_by_child(reader.run_dir.beside(start.child))
        except UserError:
            # Nobody can read what this attempt has added: what was known before stands.
            return None if before is None else msgspec.structs.replace(before, last_nano_usd=0, last_tokens=0)
        return spent_after_child(before, start.child, told)
    if start.played is not None:
        is_played = outcome.attempt_class not in NOT_PLAYED
        return spent_after_replay(before, outcome) if is_played else before  # else it is played once more
    return spent_after_attempt(
        before,
        outcome,
        agent=start.agent,
        model=start.model,
        is_adopted=flight.is_adopted,
        is_promoted=start.promotions > 0,
    )


def cost_with(flight: Flight, outcome: Outcome, spent: Spent | None) -> Cost | None:
    """What the attempt is charged with. What was played, or a child run in which no agent was at work, cost nothing."""
    if flight.start.played is not None:
        return Cost(nano_usd=0, tokens=0)
    if not flight.start.child:
        return charge_of(outcome, flight.start.agent)
    return Cost(nano_usd=spent.last_nano_usd, tokens=spent.last_tokens) if spent is not None else Cost(nano_usd=0, tokens=0)


class Charges:
    """Of one run. What is told is recorded already."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ledger = KeptLedger(run.history)
        self._warned: set[tuple[str, Unit]] = set()

    def begin(self) -> None:
        """Tell what the run has cost under the supervisors before, if agents were at work."""
        ledger = self._ledger.now()
        if not ledger.is_empty:
            self._run.tell.charged(None, None, None, ledger)

    def attempt_ended(self, flight: Flight, outcome: Outcome, spent: Spent | None) -> None:
        """The end of an attempt, with which its item has cost `spent`, is about to be recorded."""
        if spent is not None and is_charged(flight.start, outcome, spent):
            self._run.recorder.then(partial(self._tell, flight, dollars(spent.last_nano_usd)))

    def _tell(self, flight: Flight, cost_usd: float | None) -> None:
        job_id = flight.job.id
        self._run.tell.charged(flight.name, job_id, cost_usd, self._ledger.now())
        # Of the other jobs nothing has changed.
        for unit in self._run.core.mute_units(flight.item[0]):
            if (job_id, unit) not in self._warned:
                self._warned.add((job_id, unit))
                self._run.tell.note(f"{job_id}: {_MUTE[unit]}")
