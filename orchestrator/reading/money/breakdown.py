"""What agents have cost over many runs, summed by model, job, run or agent (`orchestrate cost`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from orchestrator.reading.money.ledger import Ledger, ledger_of_items
from orchestrator.store.records import RunHeader
from orchestrator.store.run_history import RunHistory
from orchestrator.store.spending_records import AgentSpent, Spent

By = Literal["model", "job", "run", "agent"]

_KEYS: dict[By, Callable[[RunHeader, str, AgentSpent], str]] = {
    "model": lambda _header, _job, spent: spent.model or f"{spent.agent}, its own choice",
    "job": lambda header, job, _spent: f"{header.name}/{job}",
    "run": lambda header, _job, _spent: header.run_id,
    "agent": lambda _header, _job, spent: spent.agent,
}


def costs_by(by: By, histories: Iterable[RunHistory]) -> tuple[dict[str, Ledger], Ledger]:
    """What attempts have cost by model, job (`NAME/JOB`), run or agent, the dearest first; and all of them together.

    A key of which no cost is known comes last. What was saved is told in the sum of all alone.
    """
    parts: dict[str, list[AgentSpent]] = {}
    wholes: list[Spent] = []
    for history in histories:
        for job_id, job in history.jobs.items():
            # A child run is one of `histories` itself: with its parent's sum it would be counted twice.
            wholes.append(msgspec.structs.replace(job.spending.whole(), children={}))
            for spent in wholes[-1].agents:
                parts.setdefault(_KEYS[by](history.header, job_id, spent), []).append(spent)
    ledgers = {key: ledger_of_items([Spent(agents=each)]) for key, each in parts.items()}
    dearest = sorted(ledgers.items(), key=lambda each: (each[1].nano_usd is None, -(each[1].nano_usd or 0), each[0]))
    return dict(dearest), ledger_of_items(wholes)
