"""Records in the words of happenings: a supervisor tells its own so, and whoever follows the run from outside."""

from __future__ import annotations

import time

from orchestrator.reading.money.ledger import Ledger
from orchestrator.store.records import Started
from orchestrator.views.happenings import Charged, GateAsked, ItemStarted, OpenQuestion


def item_started(name: str, start: Started) -> ItemStarted:
    """The attempt of the item `name` that this record tells of."""
    return ItemStarted(
        item=name,
        job=start.job,
        label=start.label,
        attempt=start.attempt,
        at=start.at,
        sequence=start.sequence,
        worker=start.worker,
        session_id=start.session,
        agent=start.agent,
        model=start.model,
    )


def asked_elsewhere(name: str, job_id: str, label: str | None, asked: OpenQuestion) -> GateAsked:
    """The item `name` waits for a choice that is not made at this terminal; its child run may ask it."""
    return GateAsked(
        item=name,
        job=job_id,
        label=label,
        question=asked.question,
        options=asked.options,
        is_here=False,
        at=time.time(),
        run_id=asked.run_id,
        gate=asked.gate,
    )


def charged(name: str | None, job_id: str | None, cost_usd: float | None, ledger: Ledger) -> Charged:
    """The item `name` cost `cost_usd` (None: unknown, or no item alone), the run so far `ledger`."""
    return Charged(
        item=name,
        job=job_id,
        cost_usd=cost_usd,
        spent_usd=ledger.cost_usd,
        unknown_costs=ledger.unknown,
        attempts=ledger.attempts,
        at=time.time(),
    )
