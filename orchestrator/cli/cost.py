"""`orchestrate cost`: what agents have cost, over all runs of this home."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import click

from orchestrator.cli.invocation import Invocation, pass_invocation
from orchestrator.cli.options import age_seconds, json_option
from orchestrator.cli.output import write_json, write_line, write_lines

if TYPE_CHECKING:
    from orchestrator.reading.money.breakdown import By
    from orchestrator.reading.money.ledger import Ledger
    from orchestrator.store.run_history import RunHistory


@click.command("cost")
@click.option("--since", callback=age_seconds, metavar="AGE", help="Only runs that began within this time (20h, 7d).")
@click.option("--by", type=click.Choice(["model", "job", "run", "agent"]), default="model", help="Default: model.")
@json_option
@pass_invocation
def command(invocation: Invocation, *, since: float | None, by: str, as_json: bool) -> int:
    """Tell what agents have cost over all runs, child runs included. Attempts that told no cost are counted apart."""
    from orchestrator.reading.money.breakdown import costs_by

    unreadable: list[str] = []
    oldest = None if since is None else time.time() - since
    rows, total = costs_by(cast("By", by), _histories(invocation, oldest, unreadable))
    if as_json:
        told = [{by: key, **_row(ledger)} for key, ledger in rows.items()]
        write_json({"by": by, "rows": told, "total": total.as_json(), "unreadable": unreadable})
        return 0
    if not rows:
        write_line("no agent was at work")
        return 0
    _print_table(by, rows, total)
    return 0


def _histories(invocation: Invocation, oldest: float | None, unreadable: list[str]) -> Iterator[RunHistory]:
    """The records of each run that began at `oldest` or later (seconds since the epoch; None: of each run).

    A run that cannot be read is told on stderr, and its id is added to `unreadable`.
    """
    from orchestrator.errors import UserError
    from orchestrator.store.checkpoint import read_header
    from orchestrator.store.known_runs import list_runs
    from orchestrator.store.load import read_history
    from orchestrator.system.wording import shown
    from orchestrator.views.outlet import Outlet

    for run_dir in list_runs(invocation.home()):
        try:
            if oldest is None or read_header(run_dir.checkpoint).created_at >= oldest:
                yield read_history(run_dir)
        except (UserError, FileNotFoundError) as error:
            unreadable.append(run_dir.run_id)
            why = error.message if isinstance(error, UserError) else "it was removed just now"
            Outlet(sys.stderr).line(f"run {run_dir.run_id} is not counted: {shown(why, 200)}")


def _row(ledger: Ledger) -> dict[str, Any]:
    told = ledger.as_json()
    return {key: told[key] for key in ("attempts", "cost_usd", "unknown_costs", "usage", "tokens")}


def _print_table(by: str, rows: dict[str, Ledger], total: Ledger) -> None:
    from orchestrator.system.wording import dollars, shown
    from orchestrator.views.tables import aligned

    def cells(name: str, ledger: Ledger) -> list[str]:
        told = ledger.as_json()
        tokens = "" if told["tokens"] is None else f"{told['tokens']:,}"
        cost = "unknown" if ledger.cost_usd is None else dollars(ledger.cost_usd)
        return [shown(name, 60), str(ledger.attempts), cost, str(ledger.unknown or ""), tokens]

    lines = [cells(key, ledger) for key, ledger in rows.items()]
    write_lines(aligned([by.upper(), "ATTEMPTS", "COST", "OF UNKNOWN COST", "TOKENS"], [*lines, cells("all", total)]))
