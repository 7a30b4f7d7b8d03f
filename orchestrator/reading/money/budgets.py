"""Which budgets hold: those of the jobs file, and those that replaced them since (`orchestrate set`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from orchestrator.core.costs import Bounds
from orchestrator.jobsfile.model import Job, RunSettings
from orchestrator.reading.money.costs import nano_usd
from orchestrator.store.settings_records import BudgetSet

Kind = Literal["budget_usd", "budget_tokens"]

Budgets = Mapping[tuple[str, str], BudgetSet]
"""What was set, by job id ("": the run) and kind."""


def bounds_of(table: Job | RunSettings, job_id: str, budgets: Budgets) -> Bounds:
    """What a job, or the run (`job_id` ""), may cost.

    The jobs file says so, unless a budget was set while the file said the same: an update with another budget counts again.
    """
    dollars, tokens = (_amount(kind, table, job_id, budgets) for kind in ("budget_usd", "budget_tokens"))
    return Bounds(nano_usd=nano_usd(dollars), tokens=None if tokens is None else round(tokens))


def budget_set(kind: Kind, amount: float, job_id: str, table: Job | RunSettings) -> BudgetSet:
    """The record of a budget that replaces what `table` (of the job, or of the run) says now."""
    return BudgetSet(kind=kind, amount=amount, instead_of=getattr(table, kind), job=job_id)


def in_words(record: BudgetSet) -> str:
    """The record for people: `a budget of 40.00 USD`, `a budget of 5.00 USD for port`."""
    amount = f"{record.amount:.2f} USD" if record.kind == "budget_usd" else f"{record.amount:,.0f} tokens"
    return f"a budget of {amount}" + (f" for {record.job}" if record.job else "")


def _amount(kind: str, table: Job | RunSettings, job_id: str, budgets: Budgets) -> float | None:
    written: float | None = getattr(table, kind)
    found = budgets.get((job_id, kind))
    return found.amount if found is not None and found.instead_of == written else written
